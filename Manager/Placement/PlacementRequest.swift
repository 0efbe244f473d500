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
    /// The guest's hardware is other than ordinary, which older agents would pass over.
    public var needsHardware = false
    /// Where on the host it lies; `nil`: anywhere.
    public private(set) var cells: CellRequest?
    /// Hosts that are kept for others, who have waited longer, and would wait still longer for this one.
    public var reserved: Set<NodeID>
    /// `false`: it has its address, and its disk, on its host already.
    public var needsAddress: Bool

    public init(
        vcpus: Int, ramMiB: Int, diskGiB: Int, architecture: String? = nil, image: ImageID? = nil,
        nodes: Set<NodeID> = [], excluded: Set<NodeID> = [], zone: String? = nil,
        aggregates: [AggregateRequirement] = [], opportunistic: FlavorRequirements.Opportunistic = .last,
        devices: [DeviceRequest] = [], group: GroupPlacement? = nil, reserved: Set<NodeID> = [],
        needsAddress: Bool = true
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
        self.reserved = reserved
        self.needsAddress = needsAddress
    }
}

extension PlacementRequest {
    /// Processors that it has alone are no shared ones, and huge pages no ordinary memory: it claims the one or the other.
    public mutating func setCells(_ cells: CellRequest?) {
        self.cells = cells
        if cells?.isDedicated == true { vcpus = 0 }
        if let cells, cells.pages != .small { ramMiB = 0 }
    }

    /// So many of them on one host, as one request: who passes its filters has room for all. Of addresses it wants one.
    public func together(_ count: Int) -> PlacementRequest {
        var all = self
        all.vcpus *= count
        all.ramMiB *= count
        all.diskGiB *= count
        for index in all.devices.indices { all.devices[index].count *= count }
        all.cells?.copies = count
        return all
    }
}

/// A server group as placement sees it.
public struct GroupPlacement: Sendable, Equatable {
    public var policy: ServerGroup.Policy
    /// With `antiAffinity`: how many of the group a host may have.
    public var maximumPerHost: Int
    /// How many of the group each host has; none of them is 0.
    public var members: [NodeID: Int]

    public init(_ policy: ServerGroup.Policy, maximumPerHost: Int = 1, members: [NodeID: Int]) {
        self.policy = policy
        self.maximumPerHost = maximumPerHost
        self.members = members
    }

    /// Counts one more in, so that the next of the group is placed by it.
    public mutating func add(to node: NodeID) { members[node, default: 0] += 1 }

    func accepts(_ node: NodeID) -> Bool {
        switch policy {
        case .affinity: members.isEmpty || members[node] != nil
        case .antiAffinity: members[node] ?? 0 < maximumPerHost
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
