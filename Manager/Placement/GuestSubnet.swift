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
        // Numbers, since a full subnet's texts would cost more to write than all else of a placement.
        let numbers = Set(taken.compactMap(Self.number))
        return (2...UInt32(capacity + 1)).first { !numbers.contains(base + $0) }.map(dotted)
    }

    /// `10.77.1.2` as a number; anything else is `nil`.
    private static func number(_ text: String) -> UInt32? {
        var address: UInt32 = 0
        var part: UInt32 = 0
        var dots = 0
        for character in text.utf8 {
            switch character {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                part = part * 10 + UInt32(character - UInt8(ascii: "0"))
                guard part < 256 else { return nil }
            case UInt8(ascii: "."):
                address = address << 8 | part
                part = 0
                dots += 1
            default: return nil
            }
        }
        return dots == 3 ? address << 8 | part : nil
    }

    private func dotted(_ offset: UInt32) -> String {
        let address = base + offset
        return [24, 16, 8, 0].map { String(address >> UInt32($0) & 255) }.joined(separator: ".")
    }
}
