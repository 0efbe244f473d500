public import ProtocolModel

/// Of a device that is there, what decides who may be given it: all that placement reads of every device of a site.
public struct DevicePlace: Sendable, Equatable {
    public var node: NodeID
    public var address: String
    public var iommuGroup: Int?
    public var numaNode: Int?
    public var aliases: [String]
    public var partitions: [DeviceRuleID]
    /// Whether a guest may have it now, if only together with another of its group.
    public var isGivable: Bool

    public init(
        node: NodeID, address: String, iommuGroup: Int?, numaNode: Int?, aliases: [String],
        partitions: [DeviceRuleID] = [], isGivable: Bool
    ) {
        self.node = node
        self.address = address
        self.iommuGroup = iommuGroup
        self.numaNode = numaNode
        self.aliases = aliases
        self.partitions = partitions
        self.isGivable = isGivable
    }

    /// - Parameter instance: may have what its host still keeps for it.
    public init(_ device: Device, for instance: InstanceID? = nil) {
        self.init(
            node: device.node, address: device.facts.address, iommuGroup: device.facts.iommuGroup,
            numaNode: device.facts.numaNode, aliases: device.aliases, partitions: device.partitions,
            isGivable: device.isGivable(to: instance))
    }
}
