import Glibc
import ProcessThreads

/// Finds the addresses of a host's name.
public protocol HostResolver: Sendable {
    /// - Returns: all of them; none where there is no such host.
    func addresses(of host: String) async throws -> [NetworkAddress]
}

/// The host's own resolver, on a thread of its own: it may take as long as name servers like.
public struct SystemResolver: HostResolver {
    private let threads = BlockingThreads(name: "resolve", threads: 2, limit: 64)

    public init() {}

    public func addresses(of host: String) async throws -> [NetworkAddress] {
        try await threads.run {
            var hints = addrinfo()
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
            hints.ai_flags = AI_ADDRCONFIG
            var first: UnsafeMutablePointer<addrinfo>?
            guard getaddrinfo(host, nil, &hints, &first) == 0 else { return [] }
            defer { freeaddrinfo(first) }
            var found: [NetworkAddress] = []
            var next = first
            while let entry = next {
                if let address = entry.pointee.ai_addr.flatMap({ NetworkAddress($0) }), !found.contains(address) {
                    found.append(address)
                }
                next = entry.pointee.ai_next
            }
            return found
        }
    }
}
