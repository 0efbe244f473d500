import ManagerModel

/// One decision under way: the best host so far.
struct HostSearch {
    private let rows: UnsafeBufferPointer<HostRow>
    private let devices: UnsafeBufferPointer<FreeDevices>
    private let holders: UnsafeBufferPointer<UInt64>
    private let packs: UnsafeBufferPointer<Bool>
    private let verdict: HostClasses.Verdict
    private let vcpus: Double
    private let ram: Double
    private let disk: Double
    private let architecture: Int32?
    private let wanted: [DeviceRequest]
    private let wantedDevices: UInt16
    private let needsHardware: Bool
    private let place: CellRequest?
    private let layouts: ContiguousArray<HostLayout?>
    private let needsAddress: Bool
    /// What single hosts have to do with the request: infinitely little where it leaves them out, else what its group says.
    private let adjustments: [Int: Double]
    private(set) var best = -1
    private var bestWeight = -Double.infinity
    private var bestRank = Int32.max
    /// A host of which more than this share is claimed cannot win. Most fall to this, by a product and without a division.
    private var largestShare = Double.infinity

    init(
        rows: UnsafeBufferPointer<HostRow>, devices: UnsafeBufferPointer<FreeDevices>,
        holders: UnsafeBufferPointer<UInt64>, packs: UnsafeBufferPointer<Bool>, request: PlacementRequest,
        architecture: Int32?, verdict: HostClasses.Verdict, adjustments: [Int: Double],
        layouts: ContiguousArray<HostLayout?>
    ) {
        self.layouts = layouts
        place = request.cells
        self.rows = rows
        self.devices = devices
        self.holders = holders
        self.packs = packs
        self.architecture = architecture
        self.verdict = verdict
        self.adjustments = adjustments
        (vcpus, ram, disk) = (Double(request.vcpus), Double(request.ramMiB), Double(request.diskGiB))
        wanted = request.devices
        needsHardware = request.needsHardware
        needsAddress = request.needsAddress
        wantedDevices = UInt16(clamping: request.devices.reduce(0) { $0 + $1.count })
    }

    mutating func look(in blocks: UnsafeBufferPointer<HostBlock>, holding: UnsafeBufferPointer<HostBlock>) {
        // The most promising block first, so that few others are looked into.
        var first = -1
        var firstBound = -Double.infinity
        for index in blocks.indices {
            let bound = bound(index, blocks, holding)
            if bound > firstBound { (first, firstBound) = (index, bound) }
        }
        guard first >= 0 else { return }
        look(in: HostBlock.slots(first, of: rows.count))
        for index in blocks.indices where index != first {
            let bound = bound(index, blocks, holding)
            guard bound > bestWeight || (bound == bestWeight && blocks[index].leastRank < bestRank) else { continue }
            look(in: HostBlock.slots(index, of: rows.count))
        }
    }

    /// No host of the block has a greater weight, whether it holds the image or not, but for what a group adds: hosts to which
    /// it adds something are looked at before all blocks.
    @inline(__always)
    private func bound(
        _ index: Int, _ blocks: UnsafeBufferPointer<HostBlock>, _ holding: UnsafeBufferPointer<HostBlock>
    ) -> Double {
        let bound = bound(of: blocks[index], image: 0)
        return index < holding.count
            ? max(bound, self.bound(of: holding[index], image: Placement.heldImageWeight)) : bound
    }

    /// No host of those has a greater weight; where nobody fits, none at all. Each part is at least that of any host, and
    /// dividing and adding keep the order of their operands when they round, so that this holds to the last bit.
    @inline(__always)
    private func bound(of block: HostBlock, image: Double) -> Double {
        let classes = block.classes & verdict.accepted
        let claimedVCPUs = block.leastClaimedVCPUs + vcpus
        let claimedRAM = block.leastClaimedRAMMiB + ram
        guard classes != 0, claimedVCPUs <= block.mostVCPUs, claimedRAM <= block.mostRAMMiB,
            disk <= block.mostFreeDiskGiB, wantedDevices <= block.mostFreeDevices
        else { return -Double.infinity }
        // Of a host that is packed, all may be claimed in the end.
        let room =
            classes & verdict.packed != 0
            ? 1 : 1 - max(share(claimedVCPUs, of: block.mostVCPUs), share(claimedRAM, of: block.mostRAMMiB))
        return room + image + verdict.greatest(of: classes) + greatestDeviceWeight(block.leastFreeDevices)
    }

    /// No host with at least so many free devices weighs more for its devices.
    @inline(__always)
    private func greatestDeviceWeight(_ freeDevices: UInt16) -> Double {
        if wantedDevices > 0 { return Placement.devicesWeight }
        return freeDevices > 0 ? -Placement.devicesWeight : 0
    }

    mutating func look(in range: Range<Int>) {
        for slot in range {
            let claimedVCPUs = rows[slot].claimedVCPUs + vcpus
            let claimedRAM = rows[slot].claimedRAMMiB + ram
            guard rows[slot].usable, claimedVCPUs <= rows[slot].vcpus, claimedRAM <= rows[slot].ramMiB,
                disk <= rows[slot].freeDiskGiB, rows[slot].hasAddress || !needsAddress,
                wantedDevices <= rows[slot].freeDevices
            else { continue }
            if let architecture, rows[slot].architecture != architecture { continue }
            if needsHardware, !rows[slot].shapesHardware { continue }
            let hostClass = Int(rows[slot].hostClass)
            let host = verdict.weights[hostClass]
            let group = adjustments.isEmpty ? 0 : adjustments[slot] ?? 0
            guard host > -.infinity, group > -.infinity else { continue }
            let word = slot / 64
            let isHeld = word < holders.count && holders[word] >> UInt64(slot % 64) & 1 == 1
            let image = isHeld ? Placement.heldImageWeight : 0
            let deviceWeight = greatestDeviceWeight(rows[slot].freeDevices)
            let isPacked = packs[hostClass]
            let limit = largestShare + image + host + group + deviceWeight
            if !isPacked, claimedVCPUs > limit * rows[slot].vcpus || claimedRAM > limit * rows[slot].ramMiB { continue }
            let claimed = max(share(claimedVCPUs, of: rows[slot].vcpus), share(claimedRAM, of: rows[slot].ramMiB))
            let withoutDevices = (isPacked ? claimed : 1 - claimed) + image + host + group
            var weight = withoutDevices + deviceWeight
            guard wins(weight, slot) else { continue }
            if wantedDevices > 0 {
                // Only of those that would win: most never come here.
                let fit = devices[slot].fit(wanted)
                weight = withoutDevices + Placement.deviceWeight(fit)
                guard fit != .none, wins(weight, slot) else { continue }
            }
            if let place {
                guard let layout = layouts[slot], layout.cells.lack(place) == nil else { continue }
            }
            (best, bestWeight, bestRank) = (slot, weight, rows[slot].rank)
            // With room for what rounding does to equal weights.
            largestShare = 1 - bestWeight + 1e-9
        }
    }

    @inline(__always)
    private func wins(_ weight: Double, _ slot: Int) -> Bool {
        weight > bestWeight || (weight == bestWeight && rows[slot].rank < bestRank)
    }

    /// What is claimed, as a share; all of it where there is nothing.
    @inline(__always)
    private func share(_ claimed: Double, of total: Double) -> Double { total > 0 ? claimed / total : 1 }
}
