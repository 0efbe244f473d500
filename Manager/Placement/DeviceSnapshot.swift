/// A device that could be passed through, as placement sees it.
public struct DeviceSnapshot: Sendable, Equatable {
    public var address: String
    public var numaNode: Int?
    /// Devices of a host with the same number go to a guest together or not at all.
    public var group: Int32
    /// A bit for each of the site's aliases that it has.
    public var aliases: UInt64
    public var isFree: Bool

    public init(address: String, numaNode: Int?, group: Int32, aliases: UInt64, isFree: Bool = true) {
        self.address = address
        self.numaNode = numaNode
        self.group = group
        self.aliases = aliases
        self.isFree = isFree
    }
}

/// So many devices that have an alias.
public struct DeviceRequest: Sendable, Hashable {
    /// The alias as a number, below 64.
    public var alias: Int
    public var count: Int

    public init(alias: Int, count: Int) {
        self.alias = alias
        self.count = count
    }
}

/// The devices of a host that are free in whole groups, and whether they are enough.
///
/// A device serves one alias of a request, and may have several. Whether there are enough is Hall's condition: for every
/// subset of the aliases, as many devices with one of them as are wanted of all of them. With at most eight aliases in a
/// flavor that is exact and costs nothing, where trying combinations of eight of sixteen devices would not end.
struct FreeDevices: Sendable, Equatable {
    /// Devices alike in where they are and what they are called.
    struct Kind: Sendable, Equatable {
        var numaNode: Int?
        var aliases: UInt64
        var count: Int
    }

    private(set) var kinds: [Kind] = []
    /// How many there are.
    private(set) var count = 0

    static let none = FreeDevices()

    private init() {}

    init(_ devices: [DeviceSnapshot]) {
        guard !devices.isEmpty else { return }
        var taken: Set<Int32> = []
        for device in devices where !device.isFree { taken.insert(device.group) }
        for device in devices where !taken.contains(device.group) && device.aliases != 0 { add(device) }
    }

    private mutating func add(_ device: DeviceSnapshot) {
        count += 1
        let match = kinds.firstIndex { $0.numaNode == device.numaNode && $0.aliases == device.aliases }
        if let match {
            kinds[match].count += 1
        } else {
            kinds.append(Kind(numaNode: device.numaNode, aliases: device.aliases, count: 1))
        }
    }

    enum Fit: Sendable, Comparable { case none, apart, near }

    /// Whether they meet the requests, and whether those of one NUMA node do.
    func fit(_ requests: [DeviceRequest]) -> Fit {
        guard meet(requests, where: { _ in true }) else { return .none }
        var nodes: [Int] = []
        for case let node? in kinds.lazy.map(\.numaNode) where !nodes.contains(node) { nodes.append(node) }
        return nodes.contains { node in meet(requests) { $0.numaNode == node } } ? .near : .apart
    }

    private func meet(_ requests: [DeviceRequest], where counts: (Kind) -> Bool) -> Bool {
        for subset in 1..<(1 << requests.count) {
            var (wanted, aliases) = (0, UInt64(0))
            for (index, request) in requests.enumerated() where subset >> index & 1 == 1 {
                wanted += request.count
                aliases |= 1 << UInt64(request.alias)
            }
            var found = 0
            for kind in kinds where kind.aliases & aliases != 0 && counts(kind) { found += kind.count }
            if found < wanted { return false }
        }
        return true
    }
}

extension DeviceRequest {
    /// Which devices an instance with these requests gets: whole groups, all on one NUMA node where that can be, and no
    /// group that could stay. The same for the same devices, so that whoever records a claim takes what was decided.
    ///
    /// - Returns: positions among the devices; `nil` where there are not enough.
    static func choose(_ requests: [DeviceRequest], from devices: [DeviceSnapshot]) -> [Int]? {
        guard !requests.isEmpty else { return [] }
        var groups: [Int32: [Int]] = [:]
        for (index, device) in devices.enumerated() { groups[device.group, default: []].append(index) }
        let free = groups.values.filter { $0.allSatisfy { devices[$0].isFree } }
            .filter { $0.contains { devices[$0].aliases != 0 } }.sorted { $0[0] < $1[0] }
        func meets(_ chosen: [[Int]]) -> FreeDevices.Fit {
            FreeDevices(chosen.flatMap { $0.map { devices[$0] } }).fit(requests)
        }
        let nodes = Set(free.flatMap { $0.compactMap { devices[$0].numaNode } })
        // Of several NUMA nodes that suffice, the one with the fewest left: a later request for many finds the other whole.
        let near = nodes.map { node in free.filter { $0.allSatisfy { devices[$0].numaNode == node } } }
            .filter { meets($0) != .none }
            .min { ($0.count, $0[0][0]) < ($1.count, $1[0][0]) }
        guard let pool = near ?? (meets(free) == .none ? nil : free) else { return nil }
        let candidates = [
            pool.sorted { ($0.count, $0[0]) < ($1.count, $1[0]) },
            pool.sorted { ($1.count, $0[0]) < ($0.count, $1[0]) },
        ]
        .map { order in withoutSpares(order, meets: { meets($0) != .none }) }
        return candidates.min { size($0) < size($1) }?.flatMap { $0 }.sorted()
    }

    /// The devices that an instance gets, each with the request that it serves: `nil` for one that goes along with others
    /// of its group.
    ///
    /// - Returns: positions among the devices and among the requests; `nil` where there are not enough.
    public static func choice(
        _ requests: [DeviceRequest], from devices: [DeviceSnapshot]
    ) -> [(device: Int, request: Int?)]? {
        guard let chosen = choose(requests, from: devices) else { return nil }
        // Augmenting paths (Kuhn 1955): a device that has two of the aliases may have to leave the first to another.
        var served: [Int: Int] = [:]
        for (number, request) in requests.enumerated() {
            for _ in 0..<request.count {
                var visited: Set<Int> = []
                _ = serve(number, requests, chosen, devices, &served, &visited)
            }
        }
        return chosen.map { ($0, served[$0]) }
    }

    private static func serve(
        _ number: Int, _ requests: [DeviceRequest], _ chosen: [Int], _ devices: [DeviceSnapshot],
        _ served: inout [Int: Int], _ visited: inout Set<Int>
    ) -> Bool {
        for index in chosen where devices[index].aliases >> UInt64(requests[number].alias) & 1 == 1 {
            guard visited.insert(index).inserted else { continue }
            let other = served[index]
            if other == nil || serve(other!, requests, chosen, devices, &served, &visited) {
                served[index] = number
                return true
            }
        }
        return false
    }

    private static func size(_ groups: [[Int]]) -> Int { groups.reduce(0) { $0 + $1.count } }

    /// Leaves out, from the end on, each group without which the rest is enough.
    private static func withoutSpares(_ groups: [[Int]], meets: ([[Int]]) -> Bool) -> [[Int]] {
        var kept = groups
        for index in groups.indices.reversed() {
            let group = kept.remove(at: index)
            if !meets(kept) { kept.insert(group, at: index) }
        }
        return kept
    }
}
