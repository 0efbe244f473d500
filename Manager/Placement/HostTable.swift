import ManagerModel
public import ProtocolModel

/// All hosts, kept between decisions in a dense array, with a summary of every 64 of them. A decision passes over the summaries
/// and looks into those blocks alone whose best possible host would win; so its time grows no faster than the number of hosts,
/// also where the array is larger than the processor's caches.
///
/// A table is a copy of what the store holds; whoever keeps one says what has changed (`set`, `remove`, `setHeld`). The
/// claim itself is made in the store, in the transaction that asked.
public struct HostTable: Sendable {
    private var rows: ContiguousArray<HostRow> = []
    private var blocks: ContiguousArray<HostBlock> = []
    /// What the rows were made of; `nil` where a host has gone.
    private(set) var hosts: ContiguousArray<HostSnapshot?> = []
    private var devices: ContiguousArray<FreeDevices> = []
    private var layouts: ContiguousArray<HostLayout?> = []
    private var classes = HostClasses()
    private var slots: [NodeID: Int] = [:]
    private var freeSlots: [Int] = []
    /// Slots in the order of names.
    private var byName: ContiguousArray<Int> = []
    private var architectures: [String: Int32] = [:]
    private var held: [ImageID: HeldImage] = [:]

    public init() {}

    public init(_ hosts: some Collection<HostSnapshot>) {
        rows.reserveCapacity(hosts.count)
        // Equal hosts side by side, in order of their names: the summary of a block of equals is exact.
        let numbered = hosts.map { (host: $0, number: classes.number(of: $0), devices: $0.devices.count) }
        let ordered = numbered.sorted {
            ($0.number, $0.devices, $0.host.vcpus, $0.host.ramMiB, $0.host.name)
                < ($1.number, $1.devices, $1.host.vcpus, $1.host.ramMiB, $1.host.name)
        }
        for (host, _, _) in ordered { insert(host) }
        byName = ContiguousArray(byName.map { (slot: $0, name: name($0)) }.sorted { $0.name < $1.name }.map(\.slot))
        rerank(from: 0)
    }

    public var count: Int { slots.count }

    public subscript(_ node: NodeID) -> HostSnapshot? { slots[node].flatMap { hosts[$0] } }

    /// All hosts in order of their names, each with whether it holds an image.
    public func hosts(holding image: ImageID) -> [(host: HostSnapshot, holds: Bool)] {
        byName.compactMap { slot in hosts[slot].map { ($0, held[image]?[slot] ?? false) } }
    }

    // MARK: Changes

    /// Takes in a new host, or what is now known of one.
    public mutating func set(_ host: HostSnapshot) {
        if let slot = slots[host.node], let known = hosts[slot], known.name == host.name {
            put(host, into: slot, rank: rows[slot].rank)
            summarize(slot / HostBlock.slots)
            return
        }
        // One with another name keeps what it holds.
        let images = slots[host.node].map { slot in held.filter { $0.value[slot] }.map(\.key) } ?? []
        remove(host.node)
        insert(host)
        for image in images { setHeld(image, on: host.node, true) }
        // The new one stands last; it moves to where its name belongs.
        let slot = byName.removeLast()
        let place = place(ofName: host.name)
        byName.insert(slot, at: place)
        rerank(from: place)
    }

    /// A host that has gone; one that is not here is no mistake.
    public mutating func remove(_ node: NodeID) {
        guard let slot = slots.removeValue(forKey: node) else { return }
        let place = Int(rows[slot].rank)
        byName.remove(at: place)
        rerank(from: place)
        rows[slot] = .none
        hosts[slot] = nil
        devices[slot] = .none
        layouts[slot] = nil
        summarize(slot / HostBlock.slots)
        for image in held.keys { held[image]?.set(slot, false) }
        freeSlots.append(slot)
    }

    private mutating func insert(_ host: HostSnapshot) {
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
        } else {
            slot = rows.count
            rows.append(.none)
            hosts.append(nil)
            devices.append(.none)
            layouts.append(nil)
            if slot % HostBlock.slots == 0 { blocks.append(HostBlock()) }
        }
        slots[host.node] = slot
        byName.append(slot)
        put(host, into: slot, rank: .max)
    }

    private mutating func put(_ host: HostSnapshot, into slot: Int, rank: Int32) {
        let known = hosts[slot]
        let isOfSameClass = known?.profile == host.profile && known?.isOpportunistic == host.isOpportunistic
        let hostClass = isOfSameClass ? rows[slot].hostClass : classes.number(of: host)
        if known?.devices != host.devices { devices[slot] = FreeDevices(host.devices) }
        hosts[slot] = host
        layouts[slot] = host.layout
        rows[slot] = HostRow(
            vcpus: Double(host.vcpus), claimedVCPUs: Double(host.claimedVCPUs), ramMiB: Double(host.ramMiB),
            claimedRAMMiB: Double(host.claimedRAMMiB), freeDiskGiB: Double(host.diskGiB - host.claimedDiskGiB),
            architecture: number(ofArchitecture: host.architecture), rank: rank, hostClass: hostClass,
            freeDevices: UInt16(clamping: devices[slot].count), usable: host.enabled && host.alive,
            hasAddress: host.freeAddresses > 0, shapesHardware: host.shapesHardware)
    }

    private mutating func number(ofArchitecture name: String) -> Int32 {
        if let known = architectures[name] { return known }
        let number = Int32(architectures.count)
        architectures[name] = number
        return number
    }

    private func name(_ slot: Int) -> String { hosts[slot]?.name ?? "" }

    private func place(ofName name: String) -> Int {
        var (low, high) = (0, byName.count)
        while low < high {
            let middle = (low + high) / 2
            if self.name(byName[middle]) < name { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private mutating func rerank(from place: Int) {
        for index in place..<byName.count { rows[byName[index]].rank = Int32(index) }
        for block in blocks.indices { summarize(block) }
    }

    private mutating func summarize(_ index: Int) {
        blocks[index] = rows.withUnsafeBufferPointer { HostBlock(index, of: $0, members: HostBlock.everything) }
        for image in held.values.indices { held.values[image].outOfDate(index) }
    }

    // MARK: Images

    func isHeld(_ image: ImageID, _ slot: Int) -> Bool { held[image]?[slot] ?? false }

    /// Whether `setHeldBy` was told who holds the image.
    public func knows(_ image: ImageID) -> Bool { held[image] != nil }

    /// Who holds an image; hosts that are not here are left out.
    public mutating func setHeldBy(_ nodes: some Sequence<NodeID>, image: ImageID) {
        // Images are few; a site that cycles through many begins anew, and asks the store for those in use.
        if held.count >= 256 { held.removeAll() }
        var entry = HeldImage()
        for node in nodes {
            if let slot = slots[node] { entry.set(slot, true) }
        }
        held[image] = entry
    }

    /// A host has got an image, or has lost it. Changes nothing for an image that is not known here.
    public mutating func setHeld(_ image: ImageID, on node: NodeID, _ isHeld: Bool) {
        guard let slot = slots[node] else { return }
        held[image]?.set(slot, isHeld)
    }

    public mutating func forget(_ image: ImageID) { held[image] = nil }

    // MARK: Decisions

    /// Decides for one instance and counts its claim, so that the next decision sees it.
    public mutating func place(_ request: PlacementRequest) -> Placement.Decision {
        guard let slot = best(for: request), var host = hosts[slot] else { return .refused(removals(by: request)) }
        host.claim(request)
        put(host, into: slot, rank: rows[slot].rank)
        summarize(slot / HostBlock.slots)
        return .placed(host.node)
    }

    /// The host with the greatest weight (`Placement.Weight`) of those that pass every filter; the first by name among
    /// equals.
    private mutating func best(for request: PlacementRequest) -> Int? {
        let architecture: Int32?
        if let name = request.architecture {
            guard let number = architectures[name] else { return nil }
            architecture = number
        } else {
            architecture = nil
        }
        let verdict = classes.verdict(for: request)
        guard verdict.accepted != 0 else { return nil }
        if let image = request.image { rows.withUnsafeBufferPointer { held[image]?.bringUpToDate($0) } }
        let image = request.image.flatMap { held[$0] } ?? HeldImage()
        let allowed = allowedSlots(request)
        // Nearly no request asks for a place on its host.
        let layouts = request.cells == nil ? [] : layouts
        return rows.withUnsafeBufferPointer { rows in
            devices.withUnsafeBufferPointer { devices in
                image.words.withUnsafeBufferPointer { holders in
                    classes.packs.withUnsafeBufferPointer { packs in
                        var search = HostSearch(
                            rows: rows, devices: devices, holders: holders, packs: packs, request: request,
                            architecture: architecture, verdict: verdict, adjustments: adjustments(request),
                            layouts: layouts)
                        for slot in allowed ?? slotsOfGroup(request) { search.look(in: slot..<slot + 1) }
                        if allowed == nil {
                            blocks.withUnsafeBufferPointer { blocks in
                                image.blocks.withUnsafeBufferPointer { search.look(in: blocks, holding: $0) }
                            }
                        }
                        return search.best < 0 ? nil : search.best
                    }
                }
            }
        }
    }

    /// The only hosts that a request may have; `nil`: any.
    private func allowedSlots(_ request: PlacementRequest) -> [Int]? {
        let members = request.group.flatMap { $0.policy == .affinity && !$0.members.isEmpty ? $0.members : nil }
        guard !request.nodes.isEmpty || members != nil else { return nil }
        let nodes = request.nodes.isEmpty ? members.map { Set($0.keys) } ?? [] : request.nodes
        return nodes.compactMap { node in members.map { $0[node] != nil } ?? true ? slots[node] : nil }
    }

    /// Hosts to which the request's group adds weight.
    private func slotsOfGroup(_ request: PlacementRequest) -> [Int] {
        guard let group = request.group, group.policy == .softAffinity else { return [] }
        return group.members.keys.compactMap { slots[$0] }
    }

    private func adjustments(_ request: PlacementRequest) -> [Int: Double] {
        var adjustments: [Int: Double] = [:]
        if let group = request.group {
            for node in group.members.keys {
                guard let slot = slots[node] else { continue }
                adjustments[slot] = group.accepts(node) ? group.weight(on: node) : -.infinity
            }
        }
        for node in request.excluded.union(request.reserved) {
            if let slot = slots[node] { adjustments[slot] = -.infinity }
        }
        return adjustments
    }

    /// How many hosts each filter removed: counted only where nobody fits.
    private func removals(by request: PlacementRequest) -> [Refusal.FilterCount] {
        var removed = [Int](repeating: 0, count: Placement.Filter.allCases.count)
        forEachRemoved(by: request) { filter, _ in removed[filter] += 1 }
        return zip(Placement.Filter.allCases, removed).map { Refusal.FilterCount(filter: $0.rawValue, hosts: $1) }
    }

    /// Tells of each host that a filter removes which one that is, by its place in the order of filters; what is about whole
    /// classes of hosts is asked once for each class.
    func forEachRemoved(by request: PlacementRequest, _ body: (Int, Int) -> Void) {
        let zones = classes.all.map { request.zone.map($0.profile.zones.contains) ?? true }
        let aggregates = classes.all.map { $0.profile.meets(request.aggregates) }
        for slot in hosts.indices {
            guard let host = hosts[slot] else { continue }
            let hostClass = Int(rows[slot].hostClass)
            let failed = Placement.Filter.allCases.firstIndex { filter in
                switch filter {
                case .zone: !zones[hostClass]
                case .aggregates: !aggregates[hostClass]
                case .devices: !request.devices.isEmpty && devices[slot].fit(request.devices) == .none
                default: !filter.accepts(host, request)
                }
            }
            if let failed { body(failed, slot) }
        }
    }
}
