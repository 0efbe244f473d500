public import ProtocolModel

/// An image that a group of nodes, or each enabled node, is to have, also nodes that come later.
public struct PrefillPolicy: Sendable, Equatable {
    public var id: PrefillPolicyID
    public var name: String
    /// An ID means that image for ever; a name, whichever active image has it, so that a replaced image travels by itself.
    public var image: String
    /// `nil`: all nodes.
    public var aggregate: AggregateID?
    public var isEnabled: Bool
    /// Who made it: among images of one name it means public ones and theirs.
    public var owner: UserID
    public var createdAt: Timestamp
    public var updatedAt: Timestamp

    public init(
        id: PrefillPolicyID, name: String, image: String, aggregate: AggregateID?, isEnabled: Bool = true,
        owner: UserID, createdAt: Timestamp, updatedAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.image = image
        self.aggregate = aggregate
        self.isEnabled = isEnabled
        self.owner = owner
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

extension PrefillPolicy: Audited {
    public var auditedFields: [String: String] {
        var fields = ["name": name, "image": image, "enabled": "\(isEnabled)"]
        if let aggregate { fields["aggregate"] = "\(aggregate)" }
        return fields
    }
}

/// A node that a policy is about, and how it stands with the policy's image.
public struct PolicyTarget: Sendable, Equatable {
    public var node: NodeID
    public var name: String
    public var isEnabled: Bool
    public var liveness: Node.Liveness
    /// `nil`: the node has no copy, and none is on its way.
    public var copy: ImagePlacement?

    public init(
        node: NodeID, name: String, isEnabled: Bool, liveness: Node.Liveness, copy: ImagePlacement?
    ) {
        self.node = node
        self.name = name
        self.isEnabled = isEnabled
        self.liveness = liveness
        self.copy = copy
    }

    /// Whether the policy has something to do here: the node may get the image now, and nobody else sees to it.
    public var isDue: Bool {
        guard isEnabled, liveness == .alive else { return false }
        guard let copy else { return true }
        return copy.isPaused && copy.operation == nil && copy.state != .held && copy.state != .removing
    }

    /// Why it lacks the image.
    public var reason: String {
        if !isEnabled { return "the node is disabled; it gets the image when it is enabled" }
        switch liveness {
        case .never: return "the node has not connected yet"
        case .down: return "the node is down"
        case .suspect, .alive: break
        }
        guard let copy else { return "its turn comes next" }
        switch copy.state {
        case .removing: return "an old copy is being removed"
        case .failed: return copy.reason
        case .fetching, .held:
            if copy.isPaused { return copy.operation == nil ? "its turn comes next" : "a prefill of it is paused" }
            return "\(100 * copy.chunksHeld / max(1, copy.chunksTotal)) % has come"
        }
    }
}
