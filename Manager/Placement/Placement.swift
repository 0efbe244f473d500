public import ManagerModel
public import ProtocolModel

/// A host as placement sees it: a value taken from the store, so that a decision can be replayed.
public struct HostSnapshot: Sendable, Equatable {
    public var node: NodeID
    public var name: String
    public var enabled: Bool
    public var alive: Bool
    public var architecture: String
    /// Capacity after overcommit.
    public var vcpus: Int
    public var ramMiB: Int
    public var diskGiB: Int
    public var claimedVCPUs: Int
    public var claimedRAMMiB: Int
    public var claimedDiskGiB: Int
    /// Addresses of its guest network that no instance has.
    public var freeAddresses: Int
    public var holdsImage: Bool

    public init(
        node: NodeID, name: String, enabled: Bool, alive: Bool, architecture: String, vcpus: Int, ramMiB: Int,
        diskGiB: Int,
        claimedVCPUs: Int, claimedRAMMiB: Int, claimedDiskGiB: Int, freeAddresses: Int, holdsImage: Bool
    ) {
        self.node = node
        self.name = name
        self.enabled = enabled
        self.alive = alive
        self.architecture = architecture
        self.vcpus = vcpus
        self.ramMiB = ramMiB
        self.diskGiB = diskGiB
        self.claimedVCPUs = claimedVCPUs
        self.claimedRAMMiB = claimedRAMMiB
        self.claimedDiskGiB = claimedDiskGiB
        self.freeAddresses = freeAddresses
        self.holdsImage = holdsImage
    }

    public init(_ node: Node, freeAddresses: Int, holdsImage: Bool) {
        let inventory = node.inventory
        self.init(
            node: node.id, name: node.name, enabled: node.enabled, alive: node.liveness == .alive,
            architecture: inventory.architecture,
            vcpus: Int(Double(inventory.cpuCount) * node.cpuAllocationRatio),
            ramMiB: Int(Double(inventory.memoryBytes >> 20) * node.ramAllocationRatio),
            diskGiB: Int(Double(inventory.diskBytes >> 30) * node.diskAllocationRatio),
            claimedVCPUs: node.claimedVCPUs, claimedRAMMiB: node.claimedRAMMiB, claimedDiskGiB: node.claimedDiskGiB,
            freeAddresses: freeAddresses, holdsImage: holdsImage)
    }

    mutating func claim(_ request: PlacementRequest) {
        claimedVCPUs += request.vcpus
        claimedRAMMiB += request.ramMiB
        claimedDiskGiB += request.diskGiB
        freeAddresses -= 1
        // The image is not held yet, however soon it will be: several instances of one request are to spread.
    }
}

/// What an instance needs of a host.
public struct PlacementRequest: Sendable, Equatable {
    public var vcpus: Int
    public var ramMiB: Int
    public var diskGiB: Int
    public var architecture: String?
    /// The operator's choice; other hosts are filtered out.
    public var node: NodeID?

    public init(vcpus: Int, ramMiB: Int, diskGiB: Int, architecture: String? = nil, node: NodeID? = nil) {
        self.vcpus = vcpus
        self.ramMiB = ramMiB
        self.diskGiB = diskGiB
        self.architecture = architecture
        self.node = node
    }
}

/// Chooses hosts: filter, then weigh. Pure; the claim is made by the caller in the transaction that read the snapshot.
public struct Placement: Sendable {
    /// A filter removes hosts; the raw values are what a refusal names.
    public enum Filter: String, Sendable, CaseIterable {
        case requested, enabled, alive, architecture, vcpus, ram, disk, addresses

        func accepts(_ host: HostSnapshot, _ request: PlacementRequest) -> Bool {
            switch self {
            case .requested: request.node == nil || request.node == host.node
            case .enabled: host.enabled
            case .alive: host.alive
            case .architecture: request.architecture == nil || request.architecture == host.architecture
            case .vcpus: host.claimedVCPUs + request.vcpus <= host.vcpus
            case .ram: host.claimedRAMMiB + request.ramMiB <= host.ramMiB
            case .disk: host.claimedDiskGiB + request.diskGiB <= host.diskGiB
            case .addresses: host.freeAddresses > 0
            }
        }
    }

    public enum Decision: Sendable, Equatable {
        case placed(NodeID)
        /// How many hosts each filter removed, in order of the filters.
        case refused([Refusal.FilterCount])
    }

    public private(set) var hosts: [HostSnapshot]

    public init(hosts: [HostSnapshot]) {
        self.hosts = hosts
    }

    /// Decides for one instance and counts its claim, so that the next decision sees it.
    public mutating func place(_ request: PlacementRequest) -> Decision {
        var removed = [Int](repeating: 0, count: Filter.allCases.count)
        var best: (index: Int, weight: Double)?
        for (index, host) in hosts.enumerated() {
            if let failed = Filter.allCases.firstIndex(where: { !$0.accepts(host, request) }) {
                removed[failed] += 1
                continue
            }
            let weight = Self.weight(of: host, for: request)
            if let current = best,
                current.weight > weight || (current.weight == weight && hosts[current.index].name < host.name)
            {
                continue
            }
            best = (index, weight)
        }
        guard let best else {
            return .refused(
                zip(Filter.allCases, removed).map { Refusal.FilterCount(filter: $0.rawValue, hosts: $1) })
        }
        hosts[best.index].claim(request)
        return .placed(hosts[best.index].node)
    }

    /// Spread first: the share of the scarcest resource that stays free. A cached image counts as much as a quarter of
    /// a host, since fetching one takes longer than anything else on the way to a running guest.
    static func weight(of host: HostSnapshot, for request: PlacementRequest) -> Double {
        func free(_ claimed: Int, _ total: Int) -> Double { total > 0 ? 1 - Double(claimed) / Double(total) : 0 }
        let spread = min(
            free(host.claimedVCPUs + request.vcpus, host.vcpus), free(host.claimedRAMMiB + request.ramMiB, host.ramMiB))
        return spread + (host.holdsImage ? 0.25 : 0)
    }
}
