import Foundation
import Synchronization

/// Answers every connection on a loopback address with the same bytes, as a guest would.
final class LoopbackServer: Sendable {
    enum Answer {
        /// At once.
        case says(String)
        /// After a request has come.
        case page(String)
        case silence
    }

    struct Failure: Error {
        var number = errno
    }

    let port: UInt16
    private let listener: Int32
    private let count = Mutex(0)

    /// How many connections came.
    var connections: Int { count.withLock { $0 } }

    init(_ answer: Answer, address: String = "127.0.0.1") throws {
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        guard listener >= 0, inet_pton(AF_INET, address, &name.sin_addr) == 1 else { throw Failure() }
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let (listener, size) = (listener, length)
        let isBound = withUnsafeMutablePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(listener, address, size) == 0 && listen(listener, 8) == 0
                    && getsockname(listener, address, &length) == 0
            }
        }
        guard isBound else { throw Failure() }
        port = UInt16(bigEndian: name.sin_port)
        let thread = Thread { [self] in serve(answer) }
        thread.start()
    }

    /// Ends the thread.
    func close() { shutdown(listener, Int32(SHUT_RDWR)) }

    private func serve(_ answer: Answer) {
        while true {
            let peer = accept(listener, nil, nil)
            guard peer >= 0 else { break }
            count.withLock { $0 += 1 }
            var buffer = [UInt8](repeating: 0, count: 4096)
            switch answer {
            case .says(let text): send(peer, text, text.utf8.count, Int32(MSG_NOSIGNAL))
            case .page(let text):
                recv(peer, &buffer, buffer.count, 0)
                send(peer, text, text.utf8.count, Int32(MSG_NOSIGNAL))
            // Until the other side gives up.
            case .silence: recv(peer, &buffer, buffer.count, 0)
            }
            Foundation.close(peer)
        }
        Foundation.close(listener)
    }
}
