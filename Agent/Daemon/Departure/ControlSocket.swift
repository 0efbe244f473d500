import Foundation
import ProtocolModel

/// A socket of this host alone, closed when nobody holds it any more. Its calls block.
final class ControlSocket: Sendable {
    enum Problem: Error, Equatable, CustomStringConvertible {
        /// Nobody listens there.
        case nobodyListens(path: String)
        case ended
        /// It took the question, and says nothing.
        case silent(after: Duration)
        case failed(operation: String, path: String, code: Int32)

        var description: String {
            switch self {
            case .nobodyListens(let path): "no agent listens at \(path)"
            case .ended: "the agent ended before it was done; ask again"
            case .silent(let limit):
                "the agent gave no last answer within \(limit.components.seconds) s, so that nobody knows what became of it; ask again, "
                    + "or restart the agent (guests run on)"
            case .failed(let operation, let path, EACCES), .failed(let operation, let path, EPERM):
                "could not \(operation) \(path): only root may"
            case .failed(let operation, let path, let code):
                "could not \(operation) \(path): \(String(cString: strerror(code)))"
            }
        }
    }

    static func path(in data: String) -> String { data + "/control.sock" }

    private let descriptor: Int32
    private let path: String

    private init(_ descriptor: Int32, _ path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { close(descriptor) }

    // MARK: Opening

    /// Listens in a folder that this process has to itself; what another left there is replaced.
    static func listen(in data: String) throws(Problem) -> ControlSocket {
        let socket = try make(path(in: data))
        unlink(socket.path)
        try socket.withAddress(in: data) { address, length in bind(socket.descriptor, address, length) }
            .orThrow("make", socket.path)
        try chmod(socket.path, 0o600).orThrow("protect", socket.path)
        try Glibc.listen(socket.descriptor, 8).orThrow("listen at", socket.path)
        return socket
    }

    /// - Parameter limit: an agent that takes nobody in for so long is told as such.
    static func connect(in data: String, within limit: Duration = .seconds(30)) throws(Problem) -> ControlSocket {
        let socket = try make(path(in: data))
        socket.limitReading(to: limit)
        let code = try socket.withAddress(in: data) { address, length in
            Glibc.connect(socket.descriptor, address, length)
        }
        if code == ENOENT || code == ECONNREFUSED { throw .nobodyListens(path: socket.path) }
        if code == EAGAIN { throw .silent(after: limit) }
        try code.orThrow("reach the agent at", socket.path)
        return socket
    }

    private static func make(_ path: String) throws(Problem) -> ControlSocket {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .failed(operation: "open", path: path, code: errno) }
        return ControlSocket(descriptor, path)
    }

    /// Calls with the socket's address. An address holds 107 bytes and a path may be longer, so that it is named by way of
    /// the open folder.
    private func withAddress(
        in data: String, _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) throws(Problem) -> Int32 {
        let folder = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else {
            if errno == ENOENT { return ENOENT }
            throw .failed(operation: "open", path: data, code: errno)
        }
        defer { close(folder) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let name = Array("/proc/self/fd/\(folder)/control.sock".utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                call($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        return code == 0 ? 0 : errno
    }

    // MARK: Talking

    /// The next who calls; `nil` where nobody did within the time.
    func accept(within limit: Duration) -> ControlSocket? {
        var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&waiting, 1, Int32(limit.milliseconds)) > 0 else { return nil }
        let caller = Glibc.accept(descriptor, nil, nil)
        guard caller >= 0 else { return nil }
        _ = fcntl(caller, F_SETFD, FD_CLOEXEC)
        return ControlSocket(caller, path)
    }

    /// Who is at the other end, as the kernel says.
    var peer: uid_t? {
        // Linux's `struct ucred`, which Swift does not see.
        var credentials: (process: pid_t, user: uid_t, group: gid_t) = (0, .max, .max)
        let size = MemoryLayout.size(ofValue: credentials)
        var length = socklen_t(size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0, Int(length) == size else {
            return nil
        }
        return credentials.user
    }

    /// Whether nobody is at the other end any more.
    var isAbandoned: Bool {
        var look = pollfd(fd: descriptor, events: 0, revents: 0)
        return poll(&look, 1, 0) > 0 && look.revents & Int16(POLLHUP | POLLERR) != 0
    }

    /// How long a single call may wait for the other end.
    func limitReading(to limit: Duration) {
        var time = timeval(tv_sec: Int(limit.milliseconds / 1000), tv_usec: Int(limit.milliseconds % 1000) * 1000)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    }

    func send(_ bytes: [UInt8]) throws(Problem) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw .failed(operation: "write to", path: path, code: errno) }
            rest = rest.dropFirst(count)
        }
    }

    /// Gives each line to `body` until that says false, the other end closes, or a line is longer than `limit`.
    ///
    /// - Parameter time: for all of them; `nil`: as long as each call may wait.
    func readLines(limit: Int, within time: Duration? = nil, _ body: ([UInt8]) throws -> Bool) throws {
        let began = ContinuousClock.now
        var kept: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            while let end = kept.firstIndex(of: UInt8(ascii: "\n")) {
                let line = Array(kept[..<end])
                kept.removeFirst(end + 1)
                guard try body(line) else { return }
            }
            guard kept.count <= limit else { throw Problem.failed(operation: "read from", path: path, code: EMSGSIZE) }
            if let time {
                let left = time - (.now - began)
                guard left > .zero else { throw Problem.silent(after: time) }
                // None would be no limit.
                limitReading(to: max(left, .milliseconds(1)))
            }
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count < 0 && errno == EINTR { continue }
            if count < 0 && errno == EAGAIN, time != nil { continue }
            guard count > 0 else {
                if count == 0 { throw Problem.ended }
                throw Problem.failed(operation: "read from", path: path, code: errno)
            }
            kept += buffer[..<count]
        }
    }
}

extension Int32 {
    /// - Parameter self: 0, or an error number, or -1 with the error in `errno`.
    fileprivate func orThrow(_ operation: String, _ path: String) throws(ControlSocket.Problem) {
        guard self != 0 else { return }
        throw .failed(operation: operation, path: path, code: self < 0 ? errno : self)
    }
}
