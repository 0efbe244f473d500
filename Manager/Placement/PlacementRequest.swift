public import ManagerModel
public import ProtocolModel

/// What an instance needs of a host.
public struct PlacementRequest: Sendable, Equatable {
    public var vcpus: Int
    public var ramMiB: Int
    public var diskGiB: Int
    public var architecture: String?
    /// Hosts that hold it are preferred.
    public var image: ImageID?
    /// The operator's choice, of one or several; other hosts are filtered out. Empty: any.
    public var nodes: Set<NodeID>
    /// Hosts that the operator leaves out.
    public var excluded: Set<NodeID>
    public var zone: String?
    public var aggregates: [AggregateRequirement]
    public var opportunistic: FlavorRequirements.Opportunistic
    /// At most as many as `FlavorProperties.maximumAliases`, each alias once.
    public var devices: [DeviceRequest]
    public var group: GroupPlacement?

    public init(
        vcpus: Int, ramMiB: Int, diskGiB: Int, architecture: String? = nil, image: ImageID? = nil,
        nodes: Set<NodeID> = [], excluded: Set<NodeID> = [], zone: String? = nil,
        aggregates: [AggregateRequirement] = [], opportunistic: FlavorRequirements.Opportunistic = .last,
        devices: [DeviceRequest] = [], group: GroupPlacement? = nil
    ) {
        self.vcpus = vcpus
        self.ramMiB = ramMiB
        self.diskGiB = diskGiB
        self.architecture = architecture
        self.image = image
        self.nodes = nodes
        self.excluded = excluded
        self.zone = zone
        self.aggregates = aggregates
        self.opportunistic = opportunistic
        self.devices = devices
        self.group = group
    }
}

/// Instances that are to be on one host, or on different ones (SCH-06).
public struct GroupPlacement: Sendable, Equatable {
    public enum Policy: String, Sendable, CaseIterable {
        case affinity
        case antiAffinity = "anti-affinity"
        /// Together where that can be.
        case softAffinity = "soft-affinity"
        /// Apart where that can be.
        case softAntiAffinity = "soft-anti-affinity"
    }

    public var policy: Policy
    /// How many of the group each host has.
    public var members: [NodeID: Int]

    public init(_ policy: Policy, members: [NodeID: Int]) {
        self.policy = policy
        self.members = members
    }

    func accepts(_ node: NodeID) -> Bool {
        switch policy {
        case .affinity: members.isEmpty || members[node] != nil
        case .antiAffinity: members[node] == nil
        case .softAffinity, .softAntiAffinity: true
        }
    }

    /// What the host's members count for: each as much as a whole empty host.
    func weight(on node: NodeID) -> Double {
        switch policy {
        case .affinity, .antiAffinity: 0
        case .softAffinity: Double(members[node] ?? 0)
        case .softAntiAffinity: -Double(members[node] ?? 0)
        }
    }
}
