public import ManagerModel
public import ProtocolModel

/// A host as placement sees it: a value taken from the store, so that a decision can be replayed.
public struct HostSnapshot: Sendable, Equatable {
    public var node: NodeID
    /// Unique in the site.
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
    /// May be taken back at any time.
    public var isOpportunistic: Bool
    /// What its aggregates say.
    public var profile: HostProfile
    public var devices: [DeviceSnapshot]
    /// Its agent heeds what is other than ordinary in a guest's hardware.
    public var shapesHardware = false
    /// `nil`: nothing is known of its NUMA nodes.
    public var layout: HostLayout?

    public init(
        node: NodeID, name: String, enabled: Bool, alive: Bool, architecture: String, vcpus: Int, ramMiB: Int,
        diskGiB: Int, claimedVCPUs: Int, claimedRAMMiB: Int, claimedDiskGiB: Int, freeAddresses: Int,
        isOpportunistic: Bool = false, profile: HostProfile = .none, devices: [DeviceSnapshot] = []
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
        self.isOpportunistic = isOpportunistic
        self.profile = profile
        self.devices = devices
    }

    /// - Parameters:
    ///   - profile: what the node's aggregates say.
    ///   - ratios: the node's own, or its aggregates'.
    public init(_ node: Node, profile: HostProfile, ratios: AllocationRatios) {
        let inventory = node.inventory
        self.init(
            node: node.id, name: node.name, enabled: node.enabled, alive: node.liveness == .alive,
            architecture: inventory.architecture, vcpus: Self.capacity(Int64(inventory.cpuCount), ratios.cpu),
            ramMiB: Self.capacity(inventory.memoryBytes >> 20, ratios.ram),
            diskGiB: Self.capacity(inventory.diskBytes >> 30, ratios.disk),
            claimedVCPUs: node.claimedVCPUs, claimedRAMMiB: node.claimedRAMMiB, claimedDiskGiB: node.claimedDiskGiB,
            freeAddresses: (GuestSubnet(inventory.guestSubnet)?.capacity ?? 0) - node.instanceCount,
            isOpportunistic: node.isOpportunistic, profile: profile)
        shapesHardware = inventory.shapesHardware == true
        guard let topology = inventory.topology else { return }
        let places = node.places.values
        layout = HostLayout(topology, dedicated: node.dedicatedCPUs ?? .none, places: places)
        // What guests have alone is counted there, and not among what all share.
        var huge = topology.hugePageMiB
        if places.contains(where: { $0.pageKiB != nil }) {
            huge += HostCells(topology, dedicated: .none, places: places).hugeMiBBeyond
        }
        if huge > 0 { self.ramMiB = Self.capacity(inventory.memoryBytes >> 20 - Int64(huge), ratios.ram) }
        let reserved = node.reservedCPUs
        if !reserved.isEmpty { self.vcpus = Self.capacity(Int64(inventory.cpuCount - reserved.count), ratios.cpu) }
        for place in places {
            claimedVCPUs -= place.dedicated
            if place.pageKiB != nil { claimedRAMMiB -= place.memoryMiB }
        }
    }

    /// What a host reports of itself, and what an operator sets, may be any number (P10).
    private static func capacity(_ amount: Int64, _ ratio: Double) -> Int {
        let capacity = Double(amount) * ratio
        return capacity.isNaN ? 0 : Int(max(0, min(capacity, 0x1p52)))
    }

    /// Counts an instance in.
    public mutating func claim(_ request: PlacementRequest) {
        claimedVCPUs += request.vcpus
        claimedRAMMiB += request.ramMiB
        claimedDiskGiB += request.diskGiB
        if request.needsAddress { freeAddresses -= 1 }
        // The image is not held yet, however soon it will be: several instances of one request are to spread.
        let chosen = chosenDevices(for: request) ?? []
        let near = Set(chosen.compactMap { devices[$0].numaNode })
        for index in chosen { take(index) }
        if let wanted = request.cells, let place = layout?.cells.place(wanted, near: near) {
            layout?.places.append(place)
        }
    }

    /// The addresses of the devices that an instance gets here; `nil` where there are not enough.
    public func devices(for request: PlacementRequest) -> [String]? {
        chosenDevices(for: request)?.map { devices[$0].address }
    }

    private func chosenDevices(for request: PlacementRequest) -> [Int]? {
        DeviceRequest.choose(request.devices, from: devices)?.positions
    }

    private mutating func take(_ index: Int) { devices[index].isFree = false }
}
