/// An IPv4 subnet of guests on one node: which addresses instances may have. The first host address is the node's own.
public struct GuestSubnet: Sendable, Equatable {
    private let base: UInt32
    private let prefix: Int

    /// Reads CIDR such as `10.77.1.0/24`, with a prefix of 8 to 29 bits; anything else is `nil`.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let prefix = Int(parts[1]), (8...29).contains(prefix) else { return nil }
        let numbers = parts[0].split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        guard numbers.count == 4, !numbers.contains(nil) else { return nil }
        let address = numbers.compactMap { $0 }.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        self.prefix = prefix
        base = address & (UInt32.max << (32 - UInt32(prefix)))
    }

    /// How many instances can have an address here: all but network, node and broadcast.
    public var capacity: Int { (1 << (32 - prefix)) - 3 }

    /// The lowest address that nobody has.
    public func firstFree(taken: Set<String>) -> String? {
        guard taken.count < capacity else { return nil }
        return (2...UInt32(capacity + 1)).lazy.map(dotted).first { !taken.contains($0) }
    }

    private func dotted(_ offset: UInt32) -> String {
        let address = base + offset
        return [24, 16, 8, 0].map { String(address >> UInt32($0) & 255) }.joined(separator: ".")
    }
}
