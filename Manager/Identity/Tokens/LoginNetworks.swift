import Glibc

/// Networks from which a password may be exchanged for tokens directly (AUT-12, AUT-13). From elsewhere people sign in on
/// the manager's own page, where no program sees the password.
public struct LoginNetworks: Sendable, Equatable {
    /// An address and how many of its bits count.
    private struct Range: Sendable, Equatable {
        let bytes: [UInt8]
        let bits: Int

        func contains(_ address: [UInt8]) -> Bool {
            guard address.count == bytes.count else { return false }
            for index in 0..<bits / 8 where address[index] != bytes[index] { return false }
            guard bits % 8 > 0 else { return true }
            let mask = UInt8(truncatingIfNeeded: 0xFF << (8 - bits % 8))
            return address[bits / 8] & mask == bytes[bits / 8] & mask
        }
    }

    /// This host, and networks that are not on the public Internet.
    public static let privateNetworks = [
        "127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10",
    ]
    public static let usual = LoginNetworks(privateNetworks)
    public static let anywhere = LoginNetworks(["0.0.0.0/0", "::/0"])

    private var ranges: [Range] = []

    /// - Parameter texts: addresses, or networks such as `10.1.0.0/16`; what is neither is left out, see `isNetwork`.
    public init(_ texts: [String]) { ranges = texts.compactMap(Self.range) }

    public static func isNetwork(_ text: String) -> Bool { range(text) != nil }

    /// A connection that has no address comes from this host.
    public func contains(_ address: String) -> Bool {
        guard let bytes = Self.bytes(address) else { return address == "local" }
        return ranges.contains { $0.contains(bytes) }
    }

    /// Whoever has an IPv6 address has 2^64 of them: they count as one (RFC 6177). Any other text is as it is.
    static func customer(of address: String) -> String {
        guard address.contains(":"), let bytes = bytes(address), bytes.count == 16 else { return address }
        return bytes.prefix(8).map { String($0, radix: 16) }.joined(separator: ".") + "/64"
    }

    private static func range(_ text: String) -> Range? {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let bytes = bytes(String(parts[0])) else { return nil }
        guard parts.count == 2 else { return Range(bytes: bytes, bits: bytes.count * 8) }
        guard let bits = Int(parts[1]), (0...bytes.count * 8).contains(bits) else { return nil }
        return Range(bytes: bytes, bits: bits)
    }

    /// Four or sixteen bytes; an IPv4 address in IPv6's clothes is one of four.
    private static func bytes(_ text: String) -> [UInt8]? {
        var (four, six) = (in_addr(), in6_addr())
        // A scope such as `%eth0` says by which card it came.
        let text = String(text.prefix { $0 != "%" })
        if inet_pton(AF_INET, text, &four) == 1 { return withUnsafeBytes(of: four) { Array($0) } }
        guard inet_pton(AF_INET6, text, &six) == 1 else { return nil }
        let bytes = withUnsafeBytes(of: six) { Array($0) }
        let isMapped = bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
        return isMapped ? Array(bytes[12...]) : bytes
    }
}
