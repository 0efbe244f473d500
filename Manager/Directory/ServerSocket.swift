import Dispatch
import Glibc
import ProtocolModel
import Synchronization

/// A TCP connection to a server, and the end of the time that it has.
///
/// libldap bounds some of its waits and not others: a TLS handshake with a server that keeps silent has no end. So the time is
/// kept outside: at its end the socket is shut down, and whatever waits for it returns.
final class ServerSocket: Sendable {
    enum Failure: Error, Equatable {
        case unreachable(String)
        case slow
    }

    let descriptor: Int32
    private let deadline: Uptime
    /// Whether the descriptor is still ours to shut down, and whether that was done.
    private let state = Mutex((isOpen: true, isShut: false))

    /// Connects. The resolver's time counts, but only the system's own settings bound it.
    ///
    /// - Parameter deadline: by the clock that `now` reads.
    init(host: String, port: Int, deadline: Uptime, now: @Sendable () -> Uptime) throws(Failure) {
        self.deadline = deadline
        descriptor = try Self.connect(host, port, deadline, now)
        let nanoseconds = max(0, Int((deadline - now()).milliseconds)) * 1_000_000
        DispatchQueue.global().asyncAfter(deadline: .now() + .nanoseconds(nanoseconds)) { [weak self] in self?.shut() }
    }

    /// Whether the time ended before the connection did.
    var isLate: Bool { state.withLock { $0.isShut } }

    /// Says that the descriptor is about to be closed by its owner: from here on its number may be another's.
    func release() { state.withLock { $0.isOpen = false } }

    private func shut() {
        state.withLock { state in
            guard state.isOpen else { return }
            state.isShut = true
            shutdown(descriptor, Int32(SHUT_RDWR))
        }
    }

    private static func connect(
        _ host: String, _ port: Int, _ deadline: Uptime, _ now: () -> Uptime
    ) throws(Failure) -> Int32 {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var first: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &first)
        guard code == 0 else { throw .unreachable(String(cString: gai_strerror(code))) }
        defer { freeaddrinfo(first) }
        var failure = Failure.unreachable("its name has no address")
        var next = first
        while let entry = next {
            let milliseconds = (deadline - now()).milliseconds
            guard milliseconds > 0 else { throw .slow }
            do throws(Failure) {
                return try connect(entry.pointee, milliseconds: Int32(clamping: milliseconds))
            } catch {
                failure = error
            }
            next = entry.pointee.ai_next
        }
        throw failure
    }

    private static func connect(_ address: addrinfo, milliseconds: Int32) throws(Failure) -> Int32 {
        let kind = address.ai_socktype | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(address.ai_family, kind, address.ai_protocol)
        guard descriptor >= 0 else { throw .unreachable(reason(errno)) }
        let failure = wait(for: descriptor, address, milliseconds)
        guard failure == nil else {
            close(descriptor)
            throw failure ?? .slow
        }
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
        return descriptor
    }

    private static func wait(for descriptor: Int32, _ address: addrinfo, _ milliseconds: Int32) -> Failure? {
        if Glibc.connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 { return nil }
        guard errno == EINPROGRESS else { return .unreachable(reason(errno)) }
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        let answer = poll(&entry, 1, milliseconds)
        guard answer != 0 else { return .slow }
        guard answer > 0 else { return .unreachable(reason(errno)) }
        var failure: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &length)
        return failure == 0 ? nil : .unreachable(reason(failure))
    }

    private static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
}
