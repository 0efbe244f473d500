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
    public init?(_ text: String) {
        guard let uuid = IdentifierText.parse(text) else { return nil }
        self.uuid = uuid
    }

    /// Reads the canonical 36-character form, in either case; anything else is `nil`.
    public init?(_ text: some StringProtocol) {
        self.init(String(text))
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
        return Self(IdentifierText.uuid(high: high, low: low))
    }

    /// The first identifier that can have been generated at `moment`: all that were generated earlier sort before it.
    public static func first(at moment: Timestamp) -> Self {
        Self(
            IdentifierText.uuid(
                high: UInt64(clamping: moment.milliseconds) << 16 | 0x7000, low: 0x8000_0000_0000_0000))
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
    public var description: String { IdentifierText.write(uuid) }

    /// The order of the bytes, which is that of the descriptions.
    public static func < (left: Self, right: Self) -> Bool { IdentifierText.precedes(left.uuid, right.uuid) }

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
public enum GroupKind: IdentifierKind { public static let noun = "group" }
public enum WhitelistEntryKind: IdentifierKind { public static let noun = "whitelist entry" }
public enum KeyPairKind: IdentifierKind { public static let noun = "key pair" }
public enum APIKeyKind: IdentifierKind { public static let noun = "API key" }
public enum OperationKind: IdentifierKind { public static let noun = "operation" }
public enum BootKind: IdentifierKind { public static let noun = "boot" }
public enum SpoolKind: IdentifierKind { public static let noun = "usage spool" }
public enum TokenKind: IdentifierKind { public static let noun = "token" }
public enum SiteKind: IdentifierKind { public static let noun = "site" }
public enum ManagerKind: IdentifierKind { public static let noun = "manager" }
public enum AggregateKind: IdentifierKind { public static let noun = "aggregate" }
public enum ServerGroupKind: IdentifierKind { public static let noun = "server group" }
public enum DeviceKind: IdentifierKind { public static let noun = "device" }
public enum DeviceRuleKind: IdentifierKind { public static let noun = "device rule" }
public enum PrefillPolicyKind: IdentifierKind { public static let noun = "prefill policy" }

public typealias InstanceID = ID<InstanceKind>
public typealias NodeID = ID<NodeKind>
public typealias ImageID = ID<ImageKind>
public typealias FlavorID = ID<FlavorKind>
public typealias UserID = ID<UserKind>
public typealias GroupID = ID<GroupKind>
public typealias AccountID = ID<AccountKind>
public typealias WhitelistEntryID = ID<WhitelistEntryKind>
public typealias KeyPairID = ID<KeyPairKind>
public typealias APIKeyID = ID<APIKeyKind>
public typealias OperationID = ID<OperationKind>
/// One boot of a host's kernel, from `/proc/sys/kernel/random/boot_id`.
public typealias BootID = ID<BootKind>
/// One life of an agent's usage spool: a spool that was lost and begun anew has another identifier.
public typealias SpoolID = ID<SpoolKind>
public typealias TokenID = ID<TokenKind>
public typealias SiteID = ID<SiteKind>
/// One manager of a site, for as long as its data folder lives.
public typealias ManagerID = ID<ManagerKind>
public typealias AggregateID = ID<AggregateKind>
public typealias ServerGroupID = ID<ServerGroupKind>
public typealias PrefillPolicyID = ID<PrefillPolicyKind>
public typealias DeviceID = ID<DeviceKind>
public typealias DeviceRuleID = ID<DeviceRuleKind>
