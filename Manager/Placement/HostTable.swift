import ManagerModel
public import ProtocolModel

/// All hosts, kept between decisions: a decision is one straight pass over a dense array.
///
/// A table is a copy of what the store holds; whoever keeps one says what has changed (`set`, `remove`, `setHeld`). The
/// claim itself is made in the store, in the transaction that asked.
public struct HostTable: Sendable {
    /// What the pass reads of a host: one cache line and no reference.
    private struct Row {
        var usable: Bool
        var architecture: Int32
        /// The place of its name in the order of names, which settles ties.
        var rank: Int32
        var hasAddress: Bool
        // Whole numbers, all below 2^53, as shares are made of them: converting each would cost more than comparing it.
        var vcpus: Double
        var claimedVCPUs: Double
        var ramMiB: Double
        var claimedRAMMiB: Double
        var freeDiskGiB: Double

        static let none = Row(
            usable: false, architecture: -1, rank: .max, hasAddress: false, vcpus: 0, claimedVCPUs: 0, ramMiB: 0,
            claimedRAMMiB: 0, freeDiskGiB: 0)
    }

    private var rows: ContiguousArray<Row> = []
    /// What the rows were made of; `nil` where a host has gone.
    private var hosts: ContiguousArray<HostSnapshot?> = []
    private var slots: [NodeID: Int] = [:]
    private var freeSlots: [Int] = []
    /// Slots in the order of names.
    private var byName: ContiguousArray<Int> = []
    private var architectures: [String: Int32] = [:]
    private var held: [ImageID: HeldImage] = [:]

    public init() {}

    public init(_ hosts: some Collection<HostSnapshot>) {
        rows.reserveCapacity(hosts.count)
        for host in hosts { insert(host) }
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
            return
        }
        remove(host.node)
        insert(host)
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
        }
        slots[host.node] = slot
        byName.append(slot)
        put(host, into: slot, rank: .max)
    }

    private mutating func put(_ host: HostSnapshot, into slot: Int, rank: Int32) {
        hosts[slot] = host
        rows[slot] = Row(
            usable: host.enabled && host.alive, architecture: number(ofArchitecture: host.architecture), rank: rank,
            hasAddress: host.freeAddresses > 0, vcpus: Double(host.vcpus), claimedVCPUs: Double(host.claimedVCPUs),
            ramMiB: Double(host.ramMiB), claimedRAMMiB: Double(host.claimedRAMMiB),
            freeDiskGiB: Double(host.diskGiB - host.claimedDiskGiB))
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
    }

    // MARK: Images

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

    private struct HeldImage {
        private(set) var words: ContiguousArray<UInt64> = []

        subscript(_ slot: Int) -> Bool {
            let word = slot / 64
            return word < words.count && words[word] >> UInt64(slot % 64) & 1 == 1
        }

        mutating func set(_ slot: Int, _ isHeld: Bool) {
            let word = slot / 64
            if word >= words.count {
                guard isHeld else { return }
                words.append(contentsOf: repeatElement(0, count: word + 1 - words.count))
            }
            let bit = UInt64(1) << UInt64(slot % 64)
            if isHeld { words[word] |= bit } else { words[word] &= ~bit }
        }
    }

    // MARK: Decisions

    /// Decides for one instance and counts its claim, so that the next decision sees it.
    public mutating func place(_ request: PlacementRequest) -> Placement.Decision {
        guard let slot = best(for: request), var host = hosts[slot] else { return .refused(removals(by: request)) }
        host.claim(request)
        put(host, into: slot, rank: rows[slot].rank)
        return .placed(host.node)
    }

    /// The host with the greatest weight of those that pass every filter; the first by name among equals.
    ///
    /// The weight is spread first: the share of the scarcer of vCPUs and RAM that would stay free, and more where the image
    /// is held.
    private func best(for request: PlacementRequest) -> Int? {
        var range = 0..<rows.count
        if let node = request.node {
            guard let slot = slots[node] else { return nil }
            range = slot..<slot + 1
        }
        let architecture: Int32?
        if let name = request.architecture {
            guard let number = architectures[name] else { return nil }
            architecture = number
        } else {
            architecture = nil
        }
        let holders = request.image.flatMap { held[$0]?.words } ?? []
        return rows.withUnsafeBufferPointer { rows in
            holders.withUnsafeBufferPointer { holders in
                Self.scan(rows, range, request, architecture, holders)
            }
        }
    }

    private static func scan(
        _ rows: UnsafeBufferPointer<Row>, _ range: Range<Int>, _ request: PlacementRequest, _ architecture: Int32?,
        _ holders: UnsafeBufferPointer<UInt64>
    ) -> Int? {
        let (vcpus, ram, disk) = (Double(request.vcpus), Double(request.ramMiB), Double(request.diskGiB))
        var best = -1
        var bestWeight = -Double.infinity
        var bestRank = Int32.max
        // A host of which more than this share is claimed cannot win. Most fall to this, by a product and without a division.
        var largestShare = Double.infinity
        for slot in range {
            let claimedVCPUs = rows[slot].claimedVCPUs + vcpus
            let claimedRAM = rows[slot].claimedRAMMiB + ram
            guard rows[slot].usable, claimedVCPUs <= rows[slot].vcpus, claimedRAM <= rows[slot].ramMiB,
                disk <= rows[slot].freeDiskGiB, rows[slot].hasAddress
            else { continue }
            if let architecture, rows[slot].architecture != architecture { continue }
            let word = slot / 64
            let isHeld = word < holders.count && holders[word] >> UInt64(slot % 64) & 1 == 1
            let limit = isHeld ? largestShare + Placement.heldImageWeight : largestShare
            if claimedVCPUs > limit * rows[slot].vcpus || claimedRAM > limit * rows[slot].ramMiB { continue }
            var weight =
                1 - max(share(claimedVCPUs, of: rows[slot].vcpus), share(claimedRAM, of: rows[slot].ramMiB))
            if isHeld { weight += Placement.heldImageWeight }
            guard weight > bestWeight || (weight == bestWeight && rows[slot].rank < bestRank) else { continue }
            (best, bestWeight, bestRank) = (slot, weight, rows[slot].rank)
            // With room for what rounding does to equal weights.
            largestShare = 1 - bestWeight + 1e-9
        }
        return best < 0 ? nil : best
    }

    /// What is claimed, as a share; all of it where there is nothing.
    @inline(__always)
    private static func share(_ claimed: Double, of total: Double) -> Double { total > 0 ? claimed / total : 1 }

    /// How many hosts each filter removed: counted only where nobody fits.
    private func removals(by request: PlacementRequest) -> [Refusal.FilterCount] {
        var removed = [Int](repeating: 0, count: Placement.Filter.allCases.count)
        for case let host? in hosts {
            if let failed = Placement.Filter.allCases.firstIndex(where: { !$0.accepts(host, request) }) {
                removed[failed] += 1
            }
        }
        return zip(Placement.Filter.allCases, removed).map { Refusal.FilterCount(filter: $0.rawValue, hosts: $1) }
    }
}
