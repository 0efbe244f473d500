import ManagerModel
public import ProtocolModel

/// All hosts, kept between decisions in a dense array, with a summary of every 64 of them. A decision passes over the summaries
/// and looks into those blocks alone whose best possible host would win; so its time grows no faster than the number of hosts,
/// also where the array is larger than the processor's caches.
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

    /// The best that a request may find among the usable hosts of 64 slots, or among those of them that hold an image.
    private struct Block {
        static let slots = 64
        static let everything = UInt64.max

        var leastClaimedVCPUs = Double.infinity
        var mostVCPUs = -1.0
        var leastClaimedRAMMiB = Double.infinity
        var mostRAMMiB = -1.0
        var mostFreeDiskGiB = -Double.infinity
        var leastRank = Int32.max

        init() {}

        /// - Parameter members: a bit for each slot that counts.
        init(_ index: Int, of rows: UnsafeBufferPointer<Row>, members: UInt64) {
            for slot in Block.slots(index, of: rows.count) {
                guard rows[slot].usable, rows[slot].hasAddress, members >> UInt64(slot % Block.slots) & 1 == 1 else {
                    continue
                }
                leastClaimedVCPUs = min(leastClaimedVCPUs, rows[slot].claimedVCPUs)
                mostVCPUs = max(mostVCPUs, rows[slot].vcpus)
                leastClaimedRAMMiB = min(leastClaimedRAMMiB, rows[slot].claimedRAMMiB)
                mostRAMMiB = max(mostRAMMiB, rows[slot].ramMiB)
                mostFreeDiskGiB = max(mostFreeDiskGiB, rows[slot].freeDiskGiB)
                leastRank = min(leastRank, rows[slot].rank)
            }
        }

        static func slots(_ index: Int, of count: Int) -> Range<Int> {
            index * slots..<min((index + 1) * slots, count)
        }
    }

    private var rows: ContiguousArray<Row> = []
    private var blocks: ContiguousArray<Block> = []
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
        // Equal hosts side by side, in order of their names: the summary of a block of equals is exact.
        for host in hosts.sorted(by: { ($0.vcpus, $0.ramMiB, $0.name) < ($1.vcpus, $1.ramMiB, $1.name) }) {
            insert(host)
        }
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
            summarize(slot / Block.slots)
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
        summarize(slot / Block.slots)
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
            if slot % Block.slots == 0 { blocks.append(Block()) }
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
        for block in blocks.indices { summarize(block) }
    }

    private mutating func summarize(_ index: Int) {
        blocks[index] = rows.withUnsafeBufferPointer { Block(index, of: $0, members: Block.everything) }
        for image in held.values.indices { held.values[image].outOfDate(index) }
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

    /// Who holds an image: a bit for each slot, and a summary of the holders among each 64, brought up to date when it is asked
    /// for.
    private struct HeldImage {
        private(set) var words: ContiguousArray<UInt64> = []
        private(set) var blocks: ContiguousArray<Block> = []
        private var stale: Set<Int> = []

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
            outOfDate(word)
        }

        mutating func outOfDate(_ block: Int) {
            if block < words.count, words[block] != 0 || block < blocks.count { stale.insert(block) }
        }

        mutating func bringUpToDate(_ rows: UnsafeBufferPointer<Row>) {
            guard !stale.isEmpty else { return }
            if blocks.count < words.count {
                blocks.append(contentsOf: repeatElement(Block(), count: words.count - blocks.count))
            }
            for index in stale { blocks[index] = Block(index, of: rows, members: words[index]) }
            stale.removeAll(keepingCapacity: true)
        }
    }

    // MARK: Decisions

    /// Decides for one instance and counts its claim, so that the next decision sees it.
    public mutating func place(_ request: PlacementRequest) -> Placement.Decision {
        guard let slot = best(for: request), var host = hosts[slot] else { return .refused(removals(by: request)) }
        host.claim(request)
        put(host, into: slot, rank: rows[slot].rank)
        summarize(slot / Block.slots)
        return .placed(host.node)
    }

    /// The host with the greatest weight of those that pass every filter; the first by name among equals.
    ///
    /// The weight is spread first: the share of the scarcer of vCPUs and RAM that would stay free, and more where the image
    /// is held.
    private mutating func best(for request: PlacementRequest) -> Int? {
        let architecture: Int32?
        if let name = request.architecture {
            guard let number = architectures[name] else { return nil }
            architecture = number
        } else {
            architecture = nil
        }
        if let image = request.image { rows.withUnsafeBufferPointer { held[image]?.bringUpToDate($0) } }
        let image = request.image.flatMap { held[$0] } ?? HeldImage()
        return rows.withUnsafeBufferPointer { rows in
            image.words.withUnsafeBufferPointer { holders in
                var search = Search(rows: rows, holders: holders, request: request, architecture: architecture)
                if let node = request.node {
                    guard let slot = slots[node] else { return nil }
                    search.look(in: slot..<slot + 1)
                } else {
                    blocks.withUnsafeBufferPointer { blocks in
                        image.blocks.withUnsafeBufferPointer { search.look(in: blocks, holding: $0) }
                    }
                }
                return search.best < 0 ? nil : search.best
            }
        }
    }

    /// One decision under way: the best host so far.
    private struct Search {
        private let rows: UnsafeBufferPointer<Row>
        private let holders: UnsafeBufferPointer<UInt64>
        private let vcpus: Double
        private let ram: Double
        private let disk: Double
        private let architecture: Int32?
        private(set) var best = -1
        private var bestWeight = -Double.infinity
        private var bestRank = Int32.max
        /// A host of which more than this share is claimed cannot win. Most fall to this, by a product and without a division.
        private var largestShare = Double.infinity

        init(
            rows: UnsafeBufferPointer<Row>, holders: UnsafeBufferPointer<UInt64>, request: PlacementRequest,
            architecture: Int32?
        ) {
            self.rows = rows
            self.holders = holders
            self.architecture = architecture
            (vcpus, ram, disk) = (Double(request.vcpus), Double(request.ramMiB), Double(request.diskGiB))
        }

        mutating func look(in blocks: UnsafeBufferPointer<Block>, holding: UnsafeBufferPointer<Block>) {
            // The most promising block first, so that few others are looked into.
            var first = -1
            var firstBound = -Double.infinity
            for index in blocks.indices {
                let bound = bound(index, blocks, holding)
                if bound > firstBound { (first, firstBound) = (index, bound) }
            }
            guard first >= 0 else { return }
            look(inBlock: first)
            for index in blocks.indices where index != first {
                let bound = bound(index, blocks, holding)
                guard bound > bestWeight || (bound == bestWeight && blocks[index].leastRank < bestRank) else {
                    continue
                }
                look(inBlock: index)
            }
        }

        /// No host of the block has a greater weight, whether it holds the image or not.
        @inline(__always)
        private func bound(
            _ index: Int, _ blocks: UnsafeBufferPointer<Block>, _ holding: UnsafeBufferPointer<Block>
        ) -> Double {
            let bound = bound(of: blocks[index])
            return index < holding.count
                ? max(bound, self.bound(of: holding[index]) + Placement.heldImageWeight) : bound
        }

        /// No host of those has a greater weight; where nobody fits, none at all. Dividing and adding keep the order of
        /// their operands when they round, so that this holds to the last bit.
        @inline(__always)
        private func bound(of block: Block) -> Double {
            let claimedVCPUs = block.leastClaimedVCPUs + vcpus
            let claimedRAM = block.leastClaimedRAMMiB + ram
            guard claimedVCPUs <= block.mostVCPUs, claimedRAM <= block.mostRAMMiB, disk <= block.mostFreeDiskGiB else {
                return -Double.infinity
            }
            return 1 - max(share(claimedVCPUs, of: block.mostVCPUs), share(claimedRAM, of: block.mostRAMMiB))
        }

        private mutating func look(inBlock index: Int) {
            look(in: Block.slots(index, of: rows.count))
        }

        mutating func look(in range: Range<Int>) {
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
        }

        /// What is claimed, as a share; all of it where there is nothing.
        @inline(__always)
        private func share(_ claimed: Double, of total: Double) -> Double { total > 0 ? claimed / total : 1 }
    }

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
