/// An IPv4 subnet of guests on one node: which addresses instances may have. The first host address is the node's own.
public struct GuestSubnet: Sendable, Equatable {
    private let base: UInt32
    private let prefix: Int

    /// Reads CIDR such as `10.77.1.0/24`, with a prefix of 8 to 29 bits; anything else is `nil`.
    public init?(_ text: String) {
        guard let slash = text.utf8.firstIndex(of: UInt8(ascii: "/")), let address = Self.number(text[..<slash].utf8),
            let prefix = Int(text[text.utf8.index(after: slash)...]), (8...29).contains(prefix)
        else { return nil }
        self.prefix = prefix
        base = address & (UInt32.max << (32 - UInt32(prefix)))
    }

    /// How many instances can have an address here: all but network, node and broadcast.
    public var capacity: Int { (1 << (32 - prefix)) - 3 }

    /// The lowest address that nobody has.
    public func firstFree(taken: Set<String>) -> String? {
        var addresses = AddressesInUse(of: self, taken)
        return addresses.takeLowest()
    }

    /// Where an address stands among those that instances may have; `nil` for any other text.
    func position(of text: String) -> Int? {
        guard let number = Self.number(text.utf8), number >= base, number - base >= 2, number - base <= capacity + 1
        else {
            return nil
        }
        return Int(number - base) - 2
    }

    func address(at position: Int) -> String {
        let address = base + UInt32(position + 2)
        return [24, 16, 8, 0].map { String(address >> UInt32($0) & 255) }.joined(separator: ".")
    }

    /// `10.77.1.2` as a number; anything else is `nil`.
    private static func number(_ text: some Collection<UInt8>) -> UInt32? {
        var address: UInt32 = 0
        var part: UInt32 = 0
        var dots = 0
        var hasDigit = false
        for character in text {
            switch character {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                part = part * 10 + UInt32(character - UInt8(ascii: "0"))
                guard part < 256 else { return nil }
                hasDigit = true
            case UInt8(ascii: "."):
                guard dots < 3, hasDigit else { return nil }
                address = address << 8 | part
                part = 0
                hasDigit = false
                dots += 1
            default: return nil
            }
        }
        return dots == 3 && hasDigit ? address << 8 | part : nil
    }
}

/// Which addresses of a subnet instances have. A bit each, up to the highest that was ever taken.
public struct AddressesInUse: Sendable {
    public let subnet: GuestSubnet
    private var words: [UInt64] = []
    /// No word before this one has a free bit.
    private var firstWord = 0

    public init(of subnet: GuestSubnet, _ taken: some Sequence<String>) {
        self.subnet = subnet
        for text in taken {
            if let position = subnet.position(of: text) { set(position) }
        }
    }

    /// Takes the lowest free address; `nil` where none is left.
    public mutating func takeLowest() -> String? {
        while firstWord < words.count, words[firstWord] == .max { firstWord += 1 }
        let bit = firstWord < words.count ? (~words[firstWord]).trailingZeroBitCount : 0
        let position = firstWord * 64 + bit
        guard position < subnet.capacity else { return nil }
        set(position)
        return subnet.address(at: position)
    }

    private mutating func set(_ position: Int) {
        let word = position / 64
        if word >= words.count { words.append(contentsOf: repeatElement(0, count: word + 1 - words.count)) }
        words[word] |= 1 << UInt64(position % 64)
    }
}
