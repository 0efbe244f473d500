/// A device that could be passed through, as placement sees it.
public struct DeviceSnapshot: Sendable, Equatable {
    public var address: String
    public var numaNode: Int?
    /// Devices of a host with the same number go to a guest together or not at all.
    public var group: Int32
    /// A bit for each of the site's aliases that it has.
    public var aliases: UInt64
    public var isFree: Bool
    /// Whether it goes to a guest only as a part of one of its sets, and of no other device's but that set's.
    public var isPartitioned: Bool
    /// The numbers of those sets, which the host's devices share.
    public var sets: [Int32]

    public init(
        address: String, numaNode: Int?, group: Int32, aliases: UInt64, isFree: Bool = true,
        isPartitioned: Bool = false, sets: [Int32] = []
    ) {
        self.address = address
        self.numaNode = numaNode
        self.group = group
        self.aliases = aliases
        self.isFree = isFree
        self.isPartitioned = isPartitioned
        self.sets = sets
    }
}

/// So many devices that have an alias.
public struct DeviceRequest: Sendable, Hashable {
    /// The alias as a number, below 64.
    public var alias: Int
    public var count: Int

    public init(alias: Int, count: Int) {
        self.alias = alias
        self.count = count
    }
}
