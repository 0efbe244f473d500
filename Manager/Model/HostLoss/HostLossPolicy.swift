public import ProtocolModel

/// What becomes of an instance whose host vanishes.
public enum HostLossPolicy: String, Sendable, Hashable, CaseIterable {
    /// It waits for its host, which has its disk.
    case keep
    /// Once it is certain that its host runs nothing any more it is started anew on another, from its image: its disk is lost
    /// with the host. Nobody has that who did not ask for it.
    case restart

    /// The flavor's property that says what its instances have where nobody says otherwise.
    public static let property = "placement:on_host_loss"
}

/// What somebody wanted of an instance's host when it was created, for when it is placed again.
public struct PlacementLimits: Sendable, Hashable, Codable {
    public var zone: String?
    /// Hosts that the operator left out.
    public var excluded: [NodeID]
    /// The operator chose the very host: it is placed nowhere else.
    public var isPinned: Bool

    public init(zone: String? = nil, excluded: [NodeID] = [], isPinned: Bool = false) {
        self.zone = zone
        self.excluded = excluded
        self.isPinned = isPinned
    }

    public static let none = PlacementLimits()
}

/// Where an instance was before its host was lost. Until that host has said that nothing of it is left there, the host is told
/// to remove it; and what the guest used there counts up to when it was given up (P4).
public struct FormerPlacement: Sendable, Equatable {
    public var instance: InstanceID
    public var node: NodeID
    public var epoch: Epoch
    /// Of the wish that it be removed there.
    public var generation: Generation
    public var image: ImageID
    /// Given to nobody else there until the guest is gone.
    public var address: String?
    public var movedAt: Timestamp
    /// The host has nothing left of it.
    public var isGone: Bool

    public init(
        instance: InstanceID, node: NodeID, epoch: Epoch, generation: Generation, image: ImageID, address: String?,
        movedAt: Timestamp, isGone: Bool = false
    ) {
        self.instance = instance
        self.node = node
        self.epoch = epoch
        self.generation = generation
        self.image = image
        self.address = address
        self.movedAt = movedAt
        self.isGone = isGone
    }
}
