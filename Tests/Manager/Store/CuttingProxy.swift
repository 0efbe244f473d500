import Foundation
import Glibc
import Synchronization

/// A wire between a client and a server on this host, which a test can cut at a chosen statement.
final class CuttingProxy: Sendable {
    enum Cut {
        /// The server never hears of the statement.
        case before
        /// The server has answered it; the client never hears so.
        case after
    }

    let port: Int
    private let listener: Int32
    private let target: Int
    private let plan = Mutex<(statement: String, cut: Cut, times: Int)?>(nil)
    private let isOpen = Mutex(true)
    private let sockets = Mutex<[Int32]>([])

    init(to target: Int) {
        self.target = target
        (listener, port) = Self.listen()
        Thread.detachNewThread { [self] in accept() }
    }

    /// Cuts the next `times` connections at the first statement that begins so.
    func cut(_ cut: Cut, at statement: String, times: Int = 1) {
        plan.withLock { $0 = (statement, cut, times) }
    }

    /// How many cuts are still to come.
    var cutsLeft: Int { plan.withLock { $0?.times ?? 0 } }

    /// Ends all connections, and refuses new ones until `open`.
    func close() {
        isOpen.withLock { $0 = false }
        for socket in sockets.withLock({ $0 }) { shutdown(socket, Int32(SHUT_RDWR)) }
    }

    func open() { isOpen.withLock { $0 = true } }

    private func accept() {
        while true {
            let client = Glibc.accept(listener, nil, nil)
            guard client >= 0 else { return }
            let server = isOpen.withLock { $0 } ? Self.connect(to: target) : -1
            guard server >= 0 else {
                Glibc.close(client)
                continue
            }
            sockets.withLock { $0 += [client, server] }
            // One thread a direction. A descriptor is never closed, so that its number is not another's meanwhile.
            let wire = Wire(client: client, server: server)
            Thread.detachNewThread { [self] in wire.up(plan: takeCut) }
            Thread.detachNewThread { wire.down() }
        }
    }

    private func takeCut(_ bytes: [UInt8]) -> Cut? {
        plan.withLock { plan in
            guard let wanted = plan, wanted.times > 0 else { return nil }
            // Length (3 bytes), sequence, command 3 (COM_QUERY), text.
            guard bytes.count > 5, bytes[4] == 3, bytes[5...].starts(with: wanted.statement.utf8) else { return nil }
            plan?.times -= 1
            return wanted.cut
        }
    }

    private final class Wire: Sendable {
        let client: Int32
        let server: Int32
        private let holdsAnswers = Mutex(false)

        init(client: Int32, server: Int32) {
            self.client = client
            self.server = server
        }

        func up(plan: ([UInt8]) -> Cut?) {
            while let bytes = CuttingProxy.read(client) {
                switch plan(bytes) {
                case nil: CuttingProxy.write(bytes, to: server)
                case .before:
                    end()
                    return
                case .after:
                    holdsAnswers.withLock { $0 = true }
                    CuttingProxy.write(bytes, to: server)
                }
            }
            end()
        }

        func down() {
            while let bytes = CuttingProxy.read(server) {
                if holdsAnswers.withLock({ $0 }) { break }
                CuttingProxy.write(bytes, to: client)
            }
            end()
        }

        private func end() {
            shutdown(client, Int32(SHUT_RDWR))
            shutdown(server, Int32(SHUT_RDWR))
        }
    }

    private static func read(_ socket: Int32) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let count = recv(socket, &bytes, bytes.count, 0)
        return count > 0 ? Array(bytes.prefix(count)) : nil
    }

    private static func write(_ bytes: [UInt8], to socket: Int32) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = Array(rest).withUnsafeBytes {
                send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    private static func loopback(_ port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    private static func connect(to port: Int) -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = loopback(port)
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else {
            Glibc.close(descriptor)
            return -1
        }
        return descriptor
    }

    private static func listen() -> (Int32, Int) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = loopback(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = bind(descriptor, $0, length)
                _ = Glibc.listen(descriptor, 64)
                _ = getsockname(descriptor, $0, &length)
            }
        }
        return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
    }
}
