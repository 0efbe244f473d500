public import Foundation

/// What an identifier names. Each kind is its own type, so that a node's ID never passes for an instance's.
public protocol IdentifierKind: Sendable {
    /// The noun as it stands in messages to people, such as `instance`.
    static var noun: String { get }
}

/// A UUID that knows what it names.
///
/// New identifiers are UUID version 7 (RFC 9562 §5.7): they sort by creation time, which keeps index pages of the store
/// together and lets a list be paged by identifier alone.
public struct ID<Kind: IdentifierKind>: Hashable, Sendable, Comparable, CustomStringConvertible, Codable {
    public let uuid: UUID

    public init(_ uuid: UUID) {
        self.uuid = uuid
    }

    /// Reads the canonical 36-character form, in either case; anything else is `nil`.
    ///
    /// By hand, as `description` is written: every row of the store holds several, and Foundation goes through `scanf`.
    public init?(_ text: some StringProtocol) {
        var digits = 0
        var position = 0
        var high: UInt64 = 0
        var low: UInt64 = 0
        for character in text.utf8 {
            if position == 8 || position == 13 || position == 18 || position == 23 {
                guard character == UInt8(ascii: "-") else { return nil }
            } else {
                guard digits < 32, let value = Self.value(ofDigit: character) else { return nil }
                if digits < 16 { high = high << 4 | value } else { low = low << 4 | value }
                digits += 1
            }
            position += 1
        }
        guard position == 36, digits == 32 else { return nil }
        self.init(high: high, low: low)
    }

    private static func value(ofDigit character: UInt8) -> UInt64? {
        switch character {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(character - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(character - UInt8(ascii: "a") + 10)
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(character - UInt8(ascii: "A") + 10)
        default: nil
        }
    }

    /// The 16 bytes as two numbers, the most significant first.
    private init(high: UInt64, low: UInt64) {
        func byte(_ word: UInt64, _ index: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: word >> (56 - 8 * index)) }
        self.init(
            UUID(
                uuid: (
                    byte(high, 0), byte(high, 1), byte(high, 2), byte(high, 3), byte(high, 4), byte(high, 5),
                    byte(high, 6), byte(high, 7), byte(low, 0), byte(low, 1), byte(low, 2), byte(low, 3),
                    byte(low, 4), byte(low, 5), byte(low, 6), byte(low, 7)
                )))
    }

    /// Reads the 16 bytes that stand in messages; any other count is `nil`.
    public init?(bytes: some Sequence<UInt8>) {
        let bytes = Array(bytes)
        guard bytes.count == 16 else { return nil }
        self.uuid = UUID(
            uuid: (
                bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
                bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]
            ))
    }

    /// The 16 bytes that stand in messages.
    public var bytes: Data { withUnsafeBytes(of: uuid.uuid) { Data($0) } }

    /// A fresh version 7 identifier; `random` is passed in so that a simulation replays.
    public static func generate(at now: Timestamp, using random: inout some RandomNumberGenerator) -> Self {
        let milliseconds = UInt64(clamping: now.milliseconds)
        let high = (milliseconds << 16) | 0x7000 | (random.next() & 0x0FFF)
        let low = 0x8000_0000_0000_0000 | (random.next() >> 2)
        return Self(high: high, low: low)
    }

    /// The first identifier that can have been generated at `moment`: all that were generated earlier sort before it.
    public static func first(at moment: Timestamp) -> Self {
        Self(high: UInt64(clamping: moment.milliseconds) << 16 | 0x7000, low: 0x8000_0000_0000_0000)
    }

    /// A fresh identifier from the system's random source, or from that of the simulation that this runs in.
    public static func generate(at now: Timestamp) -> Self {
        if let simulated = SimulatedRandomness.source {
            var random = simulated
            return generate(at: now, using: &random)
        }
        var random = SystemRandomNumberGenerator()
        return generate(at: now, using: &random)
    }

    /// Lower case, 36 characters.
    public var description: String {
        String(unsafeUninitializedCapacity: 36) { text in
            var position = 0
            withUnsafeBytes(of: uuid.uuid) { bytes in
                for (index, byte) in bytes.enumerated() {
                    if index == 4 || index == 6 || index == 8 || index == 10 {
                        text[position] = UInt8(ascii: "-")
                        position += 1
                    }
                    text[position] = Self.digit(byte >> 4)
                    text[position + 1] = Self.digit(byte & 15)
                    position += 2
                }
            }
            return position
        }
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }

    /// The order of the bytes, which is that of the descriptions.
    public static func < (left: Self, right: Self) -> Bool {
        withUnsafeBytes(of: left.uuid.uuid) { left in
            withUnsafeBytes(of: right.uuid.uuid) { right in left.lexicographicallyPrecedes(right) }
        }
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let id = Self(text) else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "not an identifier of a \(Kind.noun)")
        }
        self = id
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// Where a simulation puts its random source, so that what makes identifiers inside it replays from a seed. Nothing else
/// sets it.
package enum SimulatedRandomness {
    /// Random numbers shared by all that run in one simulation.
    package final class Source: RandomNumberGenerator, Sendable {
        private let step: @Sendable () -> UInt64

        package init(_ step: @escaping @Sendable () -> UInt64) { self.step = step }

        package func next() -> UInt64 { step() }
    }

    @TaskLocal package static var source: Source?
}

public enum InstanceKind: IdentifierKind { public static let noun = "instance" }
public enum NodeKind: IdentifierKind { public static let noun = "node" }
public enum ImageKind: IdentifierKind { public static let noun = "image" }
public enum FlavorKind: IdentifierKind { public static let noun = "flavor" }
public enum UserKind: IdentifierKind { public static let noun = "user" }
public enum AccountKind: IdentifierKind { public static let noun = "account" }
public enum KeyPairKind: IdentifierKind { public static let noun = "key pair" }
public enum OperationKind: IdentifierKind { public static let noun = "operation" }
public enum BootKind: IdentifierKind { public static let noun = "boot" }
public enum SpoolKind: IdentifierKind { public static let noun = "usage spool" }
public enum TokenKind: IdentifierKind { public static let noun = "token" }
public enum SiteKind: IdentifierKind { public static let noun = "site" }
public enum ManagerKind: IdentifierKind { public static let noun = "manager" }

public typealias InstanceID = ID<InstanceKind>
public typealias NodeID = ID<NodeKind>
public typealias ImageID = ID<ImageKind>
public typealias FlavorID = ID<FlavorKind>
public typealias UserID = ID<UserKind>
public typealias AccountID = ID<AccountKind>
public typealias KeyPairID = ID<KeyPairKind>
public typealias OperationID = ID<OperationKind>
/// One boot of a host's kernel, from `/proc/sys/kernel/random/boot_id`.
public typealias BootID = ID<BootKind>
/// One life of an agent's usage spool: a spool that was lost and begun anew has another identifier.
public typealias SpoolID = ID<SpoolKind>
public typealias TokenID = ID<TokenKind>
public typealias SiteID = ID<SiteKind>
/// One manager of a site, for as long as its data folder lives.
public typealias ManagerID = ID<ManagerKind>
