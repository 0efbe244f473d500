/// A number that only grows, typed by what it counts.
public protocol Counter: Hashable, Sendable, Comparable, Codable, CustomStringConvertible {
    var value: UInt64 { get }
    init(_ value: UInt64)
}

extension Counter {
    public static func < (left: Self, right: Self) -> Bool { left.value < right.value }
    public var description: String { String(value) }

    /// The next number. A counter of 64 bits is not used up in the life of a site.
    public var next: Self { Self(value &+ 1) }

    public init(from decoder: any Decoder) throws {
        self.init(try decoder.singleValueContainer().decode(UInt64.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(value)
    }
}

/// Numbers the placements of an instance: it grows each time the instance is given a host, so that a host with an
/// older epoch knows that the instance is no longer its own (P1).
public struct Epoch: Counter {
    public let value: UInt64
    public init(_ value: UInt64) { self.value = value }
}

/// Numbers what a user wants of an instance: it grows with every change of the desired state.
public struct Generation: Counter {
    public let value: UInt64
    public init(_ value: UInt64) { self.value = value }
}

/// Numbers the states of one node's assignment set.
public struct Revision: Counter {
    public let value: UInt64
    public init(_ value: UInt64) { self.value = value }
}

/// Numbers the sessions of a node; a newer one closes the older.
public struct SessionEpoch: Counter {
    public let value: UInt64
    public init(_ value: UInt64) { self.value = value }
}

/// Numbers the power cycles that a user asked for: an agent reboots a guest whose recorded cycle is behind.
public struct PowerCycle: Counter {
    public let value: UInt64
    public init(_ value: UInt64) { self.value = value }
}
