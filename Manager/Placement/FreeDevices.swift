/// Devices by what they are called, and whether they meet requests.
///
/// A device serves one alias of a request, and may have several. Whether there are enough is Hall's condition: for every
/// subset of the aliases, as many devices with one of them as are wanted of all of them. With at most eight aliases in a
/// flavor that is exact and costs nothing, where trying combinations of eight of sixteen devices would not end.
struct DeviceKinds: Sendable, Equatable {
    /// Devices alike in where they are and what they are called.
    struct Kind: Sendable, Hashable {
        var numaNode: Int?
        var aliases: UInt64
        var count: Int
    }

    private(set) var kinds: [Kind] = []

    init() {}

    init(_ positions: some Sequence<Int>, of devices: [DeviceSnapshot]) {
        for index in positions { add(devices[index]) }
    }

    var count: Int { kinds.reduce(0) { $0 + $1.count } }

    private mutating func add(_ device: DeviceSnapshot) {
        let match = kinds.firstIndex { $0.numaNode == device.numaNode && $0.aliases == device.aliases }
        if let match {
            kinds[match].count += 1
        } else {
            kinds.append(Kind(numaNode: device.numaNode, aliases: device.aliases, count: 1))
        }
    }

    /// - Parameter others: devices that count as well.
    func meet(_ requests: [DeviceRequest], with others: [DeviceKinds] = [], onNode node: Int? = nil) -> Bool {
        for subset in 1..<(1 << requests.count) {
            let (wanted, aliases) = Self.sum(of: requests, subset)
            var found = 0
            for kinds in [self] + others {
                for kind in kinds.kinds where kind.aliases & aliases != 0 && (node == nil || kind.numaNode == node) {
                    found += kind.count
                }
            }
            if found < wanted { return false }
        }
        return true
    }

    /// Whether each of them can serve a request, and no two the same: Hall's condition from the other side. Where requests can
    /// be met, and these can all serve, both can be at once (Mendelsohn and Dulmage 1958).
    func canAllServe(_ requests: [DeviceRequest]) -> Bool {
        let all = Self.sum(of: requests, (1 << requests.count) - 1).aliases
        for subset in 0..<(1 << requests.count) {
            let (wanted, aliases) = Self.sum(of: requests, subset)
            var bound = 0
            for kind in kinds where kind.aliases & all & ~aliases == 0 { bound += kind.count }
            if bound > wanted { return false }
        }
        return true
    }

    /// Whether all of them are on this NUMA node.
    func areAll(on node: Int) -> Bool { kinds.allSatisfy { $0.numaNode == node } }

    private static func sum(of requests: [DeviceRequest], _ subset: Int) -> (wanted: Int, aliases: UInt64) {
        var (wanted, aliases) = (0, UInt64(0))
        for (index, request) in requests.enumerated() where subset >> index & 1 == 1 {
            wanted += request.count
            aliases |= 1 << UInt64(request.alias)
        }
        return (wanted, aliases)
    }
}

/// The devices of a host that a guest could be given now, and whether they are enough.
struct FreeDevices: Sendable, Equatable {
    /// Sets that are alike.
    private struct Shape: Sendable, Equatable {
        /// All of which must serve.
        var members: DeviceKinds
        /// That may.
        var companions: DeviceKinds
    }

    /// Those that are in no set.
    private var loose = DeviceKinds()
    private var shapes: [Shape] = []
    /// All that can go to some guest, each counted once.
    private(set) var kinds: [DeviceKinds.Kind] = []
    /// How many there are.
    private(set) var count = 0

    static let none = FreeDevices()

    private init() {}

    init(_ devices: [DeviceSnapshot]) {
        guard !devices.isEmpty else { return }
        let board = DeviceBoard(devices)
        let positions = board.loose.joined().filter { devices[$0].aliases != 0 }
        loose = DeviceKinds(positions, of: devices)
        for set in board.sets {
            let shape = Shape(
                members: DeviceKinds(set.members, of: devices),
                companions: DeviceKinds(set.companions.filter { devices[$0].aliases != 0 }, of: devices))
            if !shapes.contains(shape) { shapes.append(shape) }
        }
        let inSets = Set(board.sets.flatMap(\.positions)).sorted().filter { devices[$0].aliases != 0 }
        let all = inSets.isEmpty ? loose : DeviceKinds(Array(positions) + inSets, of: devices)
        kinds = all.kinds
        count = all.count
    }

    enum Fit: Sendable, Comparable { case none, apart, near }

    /// Whether they meet the requests, and whether those of one NUMA node do.
    func fit(_ requests: [DeviceRequest]) -> Fit {
        var best = fit(requests, nil)
        for shape in shapes where best != .near && shape.members.canAllServe(requests) {
            best = max(best, fit(requests, shape))
        }
        return best
    }

    private func fit(_ requests: [DeviceRequest], _ shape: Shape?) -> Fit {
        let others = shape.map { [$0.members, $0.companions] } ?? []
        guard loose.meet(requests, with: others) else { return .none }
        var nodes: [Int] = []
        for kinds in [loose] + others {
            for case let node? in kinds.kinds.lazy.map(\.numaNode) where !nodes.contains(node) { nodes.append(node) }
        }
        let isNear = nodes.contains { node in
            shape?.members.areAll(on: node) ?? true && loose.meet(requests, with: others, onNode: node)
        }
        return isNear ? .near : .apart
    }
}
