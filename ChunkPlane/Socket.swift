import Foundation
import Glibc

/// Stream sockets: made, set up and waited for. Descriptors are non-blocking, so that each wait has a deadline of its
/// own and a peer that sends a byte now and then gains nothing.
enum Socket {
    /// Splits `host:port` or `[host]:port`.
    static func split(_ address: String) throws(TransferError) -> (host: String, port: String) {
        guard let colon = address.lastIndex(of: ":") else { throw .address(address) }
        var host = String(address[..<colon])
        let port = String(address[address.index(after: colon)...])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard UInt16(port) != nil, !host.isEmpty else { throw .address(address) }
        return (host, port)
    }

    /// Tries each address of the host until one answers, all within the deadline, and until `isCancelled`.
    static func connect(
        _ address: String, deadline: ContinuousClock.Instant, isCancelled: () -> Bool = { false }
    ) throws(TransferError) -> Int32 {
        let (host, port) = try split(address)
        let candidates = try resolve(host: host, port: port, passive: false, address: address)
        defer { freeaddrinfo(candidates) }
        var reason = "no address"
        var next: UnsafeMutablePointer<addrinfo>? = candidates
        while let candidate = next {
            next = candidate.pointee.ai_next
            let descriptor = open(candidate)
            guard descriptor >= 0 else { continue }
            let answer = Glibc.connect(descriptor, candidate.pointee.ai_addr, candidate.pointee.ai_addrlen)
            if answer == 0 || (errno == EINPROGRESS && finishConnect(descriptor, deadline, isCancelled)) {
                setUp(descriptor)
                return descriptor
            }
            reason = errorText(errno)
            close(descriptor)
            if isCancelled() { throw .interrupted }
        }
        throw .unreachable(address: address, reason: reason)
    }

    /// A listening socket and the port that it got.
    static func listen(_ address: String, backlog: Int32) throws(TransferError) -> (descriptor: Int32, port: UInt16) {
        let (host, port) = try split(address)
        let candidate = try resolve(host: host, port: port, passive: true, address: address)
        defer { freeaddrinfo(candidate) }
        let descriptor = open(candidate)
        guard descriptor >= 0 else { throw .listen(address: address, reason: errorText(errno)) }
        var yes: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        guard bind(descriptor, candidate.pointee.ai_addr, candidate.pointee.ai_addrlen) == 0,
            Glibc.listen(descriptor, backlog) == 0
        else {
            let reason = errorText(errno)
            close(descriptor)
            throw .listen(address: address, reason: reason)
        }
        return (descriptor, boundPort(descriptor))
    }

    /// The next connection with its peer's address; `nil` when the listening socket was shut down.
    static func accept(_ listener: Int32) -> Int32? {
        while true {
            let descriptor = Glibc.accept(listener, nil, nil)
            if descriptor >= 0 {
                _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
                _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
                setUp(descriptor)
                return descriptor
            }
            switch errno {
            case EINTR, ECONNABORTED, EPROTO: continue
            case EAGAIN:
                var entry = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
                guard poll(&entry, 1, -1) >= 0 || errno == EINTR else { return nil }
            case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                // Out of descriptors: closing connections give some back; until then the queue of the kernel waits.
                usleep(50_000)
            default: return nil
            }
        }
    }

    /// Waits until the descriptor is ready; false at the deadline.
    static func wait(_ descriptor: Int32, for events: Int32, until deadline: ContinuousClock.Instant) -> Bool {
        while true {
            let left = deadline - .now
            guard left > .zero else { return false }
            let milliseconds = Int32(
                clamping: left.components.seconds * 1000 + 1 + left.components.attoseconds / 1_000_000_000_000_000)
            var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            let answer = poll(&entry, 1, milliseconds)
            if answer > 0 { return true }
            if answer < 0, errno != EINTR { return true }
        }
    }

    /// The peer's address for the log.
    static func peerName(_ descriptor: Int32) -> String {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        let answer = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                getpeername(descriptor, address, &length) == 0
                    && getnameinfo(address, length, &host, socklen_t(host.count), nil, 0, NI_NUMERICHOST) == 0
            }
        }
        guard answer else { return "unknown" }
        return String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func resolve(
        host: String, port: String, passive: Bool, address: String
    ) throws(TransferError) -> UnsafeMutablePointer<addrinfo> {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)
        var list: UnsafeMutablePointer<addrinfo>?
        let answer = getaddrinfo(host, port, &hints, &list)
        guard answer == 0, let list else {
            throw .unreachable(address: address, reason: String(cString: gai_strerror(answer)))
        }
        return list
    }

    private static func open(_ candidate: UnsafeMutablePointer<addrinfo>) -> Int32 {
        socket(
            candidate.pointee.ai_family,
            candidate.pointee.ai_socktype | Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue),
            candidate.pointee.ai_protocol)
    }

    private static func finishConnect(
        _ descriptor: Int32, _ deadline: ContinuousClock.Instant, _ isCancelled: () -> Bool
    ) -> Bool {
        while !wait(descriptor, for: POLLOUT, until: min(deadline, .now + .milliseconds(100))) {
            guard .now < deadline, !isCancelled() else {
                errno = ETIMEDOUT
                return false
            }
        }
        var failure: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &length)
        errno = failure
        return failure == 0
    }

    /// Small requests go out at once; a peer whose host died is noticed within about a minute even when idle.
    private static func setUp(_ descriptor: Int32) {
        func set(_ level: Int32, _ option: Int32, _ value: Int32) {
            var value = value
            setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
        }
        set(Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        set(SOL_SOCKET, SO_KEEPALIVE, 1)
        set(Int32(IPPROTO_TCP), TCP_KEEPIDLE, 30)
        set(Int32(IPPROTO_TCP), TCP_KEEPINTVL, 10)
        set(Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
    }

    private static func boundPort(_ descriptor: Int32) -> UInt16 {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard getsockname(descriptor, address, &length) == 0 else { return 0 }
                // The port stands at the same place for IPv4 and IPv6.
                return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                    UInt16(bigEndian: $0.pointee.sin_port)
                }
            }
        }
    }

    static func errorText(_ number: Int32) -> String { String(cString: strerror(number)) }
}
