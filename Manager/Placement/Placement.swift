public import ManagerModel
public import ProtocolModel

/// How a host is chosen: filter, then weigh. The rules for one host stand here; `HostTable` applies them to many.
public enum Placement {
    /// A filter removes hosts; the raw values are what a refusal names. A host counts for the first that removes it.
    public enum Filter: String, Sendable, CaseIterable {
        case requested, excluded, enabled, alive, architecture, hardware
        case zone = "availability_zone"
        case aggregates
        case group = "server_group"
        case reserved, vcpus, ram, disk
        case topology
        case dedicatedCPUs = "dedicated_cpus"
        case hugePages = "huge_pages"
        case numa, devices, addresses

        public func accepts(_ host: HostSnapshot, _ request: PlacementRequest) -> Bool {
            switch self {
            case .requested: request.nodes.isEmpty || request.nodes.contains(host.node)
            case .excluded: !request.excluded.contains(host.node)
            case .enabled: host.enabled
            case .alive: host.alive
            case .architecture: request.architecture == nil || request.architecture == host.architecture
            case .hardware: !request.needsHardware || host.shapesHardware
            case .zone: request.zone.map(host.profile.zones.contains) ?? true
            case .aggregates: host.profile.meets(request.aggregates)
            case .group: request.group?.accepts(host.node) ?? true
            case .reserved: !request.reserved.contains(host.node)
            case .vcpus: host.claimedVCPUs + request.vcpus <= host.vcpus
            case .ram: host.claimedRAMMiB + request.ramMiB <= host.ramMiB
            case .disk: host.claimedDiskGiB + request.diskGiB <= host.diskGiB
            case .topology: request.cells == nil || host.layout != nil
            case .dedicatedCPUs: Self.lack(host, request) != .processors
            case .hugePages: Self.lack(host, request) != .pages
            case .numa: Self.lack(host, request) == nil
            case .devices: request.devices.isEmpty || FreeDevices(host.devices).fit(request.devices) != .none
            case .addresses: host.freeAddresses > 0 || !request.needsAddress
            }
        }

        private static func lack(_ host: HostSnapshot, _ request: PlacementRequest) -> HostCells.Lack? {
            guard let wanted = request.cells else { return nil }
            return host.layout?.cells.lack(wanted)
        }
    }

    public enum Decision: Sendable, Equatable {
        case placed(NodeID)
        /// How many hosts each filter removed, in order of the filters.
        case refused([Refusal.FilterCount])
    }

    /// What a host weighs for a request, part by part. The greatest sum wins.
    public struct Weight: Sendable, Equatable {
        /// The share of the scarcer of vCPUs and RAM that stays free, where instances are spread; that is claimed, where they
        /// are packed.
        public var room = 0.0
        public var image = 0.0
        /// What the host's aggregates add, and what it counts for that it may be taken back.
        public var host = 0.0
        public var group = 0.0
        public var devices = 0.0

        /// Always added in this order: sums of the same parts are the same to the last bit.
        @inline(__always)
        public var sum: Double { room + image + host + group + devices }
    }

    /// What having the image counts for: as much as a quarter of a host, since fetching one takes longer than anything else
    /// on the way to a running guest.
    static let heldImageWeight = 0.25
    /// What it counts for that a host may be taken back: more than all else but what aggregates and groups say.
    static let opportunisticWeight = 2.0
    /// What it counts for that all devices are near one another; and that a host with free devices is left to those who want
    /// some.
    static let devicesWeight = 0.5

    static func hostWeight(
        _ profile: HostProfile, isOpportunistic: Bool, _ preference: FlavorRequirements.Opportunistic
    ) -> Double {
        guard isOpportunistic else { return profile.weight }
        switch preference {
        case .last: return profile.weight - opportunisticWeight
        case .first: return profile.weight + opportunisticWeight
        case .alike: return profile.weight
        }
    }

    static func deviceWeight(_ fit: FreeDevices.Fit) -> Double { fit == .near ? devicesWeight : 0 }

    /// What a host that passes every filter weighs.
    static func weight(of host: HostSnapshot, for request: PlacementRequest, holdsImage: Bool) -> Weight {
        func share(_ claimed: Int, _ total: Int) -> Double { total > 0 ? Double(claimed) / Double(total) : 1 }
        let claimed = max(
            share(host.claimedVCPUs + request.vcpus, host.vcpus),
            share(host.claimedRAMMiB + request.ramMiB, host.ramMiB))
        let free = FreeDevices(host.devices)
        return Weight(
            room: host.profile.policy == .pack ? claimed : 1 - claimed,
            image: holdsImage && request.image != nil ? heldImageWeight : 0,
            host: hostWeight(host.profile, isOpportunistic: host.isOpportunistic, request.opportunistic),
            group: request.group?.weight(on: host.node) ?? 0,
            devices: request.devices.isEmpty
                ? (free.count > 0 ? -devicesWeight : 0) : deviceWeight(free.fit(request.devices)))
    }

    /// Whether every filter lets the host pass.
    public static func accepts(_ host: HostSnapshot, _ request: PlacementRequest) -> Bool {
        Filter.allCases.allSatisfy { $0.accepts(host, request) }
    }
}
