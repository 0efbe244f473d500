import Glibc

/// An IP address, and whether it belongs to the public Internet.
public struct NetworkAddress: Sendable, Hashable, CustomStringConvertible {
    /// Four or sixteen.
    public let bytes: [UInt8]

    /// Reads an address as it is usually written; names and the odd forms that some resolvers take are `nil`.
    public init?(_ text: String) {
        var four = in_addr()
        var six = in6_addr()
        if inet_pton(AF_INET, text, &four) == 1 {
            bytes = withUnsafeBytes(of: four) { Array($0) }
        } else if inet_pton(AF_INET6, text, &six) == 1 {
            bytes = withUnsafeBytes(of: six) { Array($0) }
        } else {
            return nil
        }
    }

    init?(_ address: UnsafePointer<sockaddr>) {
        switch Int32(address.pointee.sa_family) {
        case AF_INET:
            bytes = UnsafeRawPointer(address).withMemoryRebound(to: sockaddr_in.self, capacity: 1) { pointer in
                withUnsafeBytes(of: pointer.pointee.sin_addr) { Array($0) }
            }
        case AF_INET6:
            bytes = UnsafeRawPointer(address).withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { pointer in
                withUnsafeBytes(of: pointer.pointee.sin6_addr) { Array($0) }
            }
        default: return nil
        }
    }

    public var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let family = bytes.count == 4 ? AF_INET : AF_INET6
        _ = bytes.withUnsafeBytes { inet_ntop(family, $0.baseAddress, &text, socklen_t(text.count)) }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Whether anybody may be there: not this host, not this network, and nothing that IANA has set apart (the registries of
    /// RFC 6890).
    public var isPublic: Bool {
        if bytes.count == 4 { return !Self.apart4.contains { $0.contains(bytes) } }
        if let embedded { return NetworkAddress(bytes: embedded).isPublic }
        // Global unicast is 2000::/3; all else is local, multicast or not given out.
        return Self.global6.contains(bytes) && !Self.apart6.contains { $0.contains(bytes) }
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    /// The IPv4 address that packets to this IPv6 one end at: mapped, compatible, by NAT64, or by 6to4.
    private var embedded: [UInt8]? {
        if bytes.prefix(10).allSatisfy({ $0 == 0 }), bytes[10] == 0xFF, bytes[11] == 0xFF { return Array(bytes[12...]) }
        if bytes.prefix(12) == [0, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0] { return Array(bytes[12...]) }
        if bytes.prefix(2) == [0x20, 0x02] { return Array(bytes[2..<6]) }
        return nil
    }

    private struct Block {
        let bytes: [UInt8]
        let bits: Int

        func contains(_ address: [UInt8]) -> Bool {
            for index in 0..<bits / 8 where address[index] != bytes[index] { return false }
            guard bits % 8 > 0 else { return true }
            let mask = UInt8(truncatingIfNeeded: 0xFF << (8 - bits % 8))
            return address[bits / 8] & mask == bytes[bits / 8] & mask
        }
    }

    private static func block(_ text: String, _ bits: Int) -> Block {
        guard let address = NetworkAddress(text) else { preconditionFailure("\(text) is no address") }
        return Block(bytes: address.bytes, bits: bits)
    }

    private static let apart4: [Block] = [
        block("0.0.0.0", 8), block("10.0.0.0", 8), block("100.64.0.0", 10), block("127.0.0.0", 8),
        block("169.254.0.0", 16), block("172.16.0.0", 12), block("192.0.0.0", 24), block("192.0.2.0", 24),
        block("192.31.196.0", 24), block("192.52.193.0", 24), block("192.88.99.0", 24), block("192.168.0.0", 16),
        block("192.175.48.0", 24), block("198.18.0.0", 15), block("198.51.100.0", 24), block("203.0.113.0", 24),
        block("224.0.0.0", 4), block("240.0.0.0", 4),
    ]
    private static let global6 = block("2000::", 3)
    private static let apart6: [Block] = [
        block("2001::", 23), block("2001:db8::", 32), block("2620:4f:8000::", 48), block("3fff::", 20),
    ]
}
