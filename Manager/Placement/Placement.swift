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
    /// The operator's choice; other hosts are filtered out.
    public var node: NodeID?

    public init(
        vcpus: Int, ramMiB: Int, diskGiB: Int, architecture: String? = nil, image: ImageID? = nil, node: NodeID? = nil
    ) {
        self.vcpus = vcpus
        self.ramMiB = ramMiB
        self.diskGiB = diskGiB
        self.architecture = architecture
        self.image = image
        self.node = node
    }
}

/// How a host is chosen: filter, then weigh. The rules for one host stand here; `HostTable` applies them to many.
public enum Placement {
    /// A filter removes hosts; the raw values are what a refusal names. A host counts for the first that removes it.
    public enum Filter: String, Sendable, CaseIterable {
        case requested, enabled, alive, architecture, vcpus, ram, disk, addresses

        public func accepts(_ host: HostSnapshot, _ request: PlacementRequest) -> Bool {
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

    /// What having the image counts for: as much as a quarter of a host, since fetching one takes longer than anything else
    /// on the way to a running guest.
    static let heldImageWeight = 0.25

    /// Whether every filter lets the host pass.
    public static func accepts(_ host: HostSnapshot, _ request: PlacementRequest) -> Bool {
        Filter.allCases.allSatisfy { $0.accepts(host, request) }
    }
}
