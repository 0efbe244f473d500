/// What a decision's pass reads of a host: one cache line and no reference.
struct HostRow {
    // Whole numbers, all below 2^53, as shares are made of them: converting each would cost more than comparing it.
    var vcpus: Double
    var claimedVCPUs: Double
    var ramMiB: Double
    var claimedRAMMiB: Double
    var freeDiskGiB: Double
    var architecture: Int32
    /// The place of its name in the order of names, which settles ties.
    var rank: Int32
    /// The number of its class (`HostClasses`).
    var hostClass: Int32
    /// Devices that are free in whole groups.
    var freeDevices: UInt16
    var usable: Bool
    var hasAddress: Bool
    var shapesHardware: Bool

    static let none = HostRow(
        vcpus: 0, claimedVCPUs: 0, ramMiB: 0, claimedRAMMiB: 0, freeDiskGiB: 0, architecture: -1, rank: .max,
        hostClass: 0, freeDevices: 0, usable: false, hasAddress: false, shapesHardware: false)
}

/// The best that a request may find among the usable hosts of 64 slots, or among those of them that hold an image.
struct HostBlock {
    static let slots = 64
    static let everything = UInt64.max

    private(set) var leastClaimedVCPUs = Double.infinity
    private(set) var mostVCPUs = -1.0
    private(set) var leastClaimedRAMMiB = Double.infinity
    private(set) var mostRAMMiB = -1.0
    private(set) var mostFreeDiskGiB = -Double.infinity
    /// A bit for each class, by its number's last six bits: what has no bit here has no host here.
    private(set) var classes: UInt64 = 0
    private(set) var leastRank = Int32.max
    private(set) var leastFreeDevices = UInt16.max
    private(set) var mostFreeDevices: UInt16 = 0

    init() {}

    /// - Parameter members: a bit for each slot that counts.
    init(_ index: Int, of rows: UnsafeBufferPointer<HostRow>, members: UInt64) {
        for slot in HostBlock.slots(index, of: rows.count) {
            guard rows[slot].usable, rows[slot].hasAddress, members >> UInt64(slot % HostBlock.slots) & 1 == 1 else {
                continue
            }
            leastClaimedVCPUs = min(leastClaimedVCPUs, rows[slot].claimedVCPUs)
            mostVCPUs = max(mostVCPUs, rows[slot].vcpus)
            leastClaimedRAMMiB = min(leastClaimedRAMMiB, rows[slot].claimedRAMMiB)
            mostRAMMiB = max(mostRAMMiB, rows[slot].ramMiB)
            mostFreeDiskGiB = max(mostFreeDiskGiB, rows[slot].freeDiskGiB)
            classes |= 1 << UInt64(rows[slot].hostClass % 64)
            leastRank = min(leastRank, rows[slot].rank)
            leastFreeDevices = min(leastFreeDevices, rows[slot].freeDevices)
            mostFreeDevices = max(mostFreeDevices, rows[slot].freeDevices)
        }
    }

    static func slots(_ index: Int, of count: Int) -> Range<Int> {
        index * slots..<min((index + 1) * slots, count)
    }
}

/// Who holds an image: a bit for each slot, and a summary of the holders among each 64, brought up to date when it is asked
/// for.
struct HeldImage {
    private(set) var words: ContiguousArray<UInt64> = []
    private(set) var blocks: ContiguousArray<HostBlock> = []
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

    mutating func bringUpToDate(_ rows: UnsafeBufferPointer<HostRow>) {
        guard !stale.isEmpty else { return }
        if blocks.count < words.count {
            blocks.append(contentsOf: repeatElement(HostBlock(), count: words.count - blocks.count))
        }
        for index in stale { blocks[index] = HostBlock(index, of: rows, members: words[index]) }
        stale.removeAll(keepingCapacity: true)
    }
}
