/// Which devices of a host an instance gets.
struct DeviceChoice {
    /// Positions among the host's devices, in their order.
    var positions: [Int]
    /// Those among them that are a set: each of them serves.
    var members: [Int] = []
}

extension DeviceRequest {
    /// Which devices an instance with these requests gets: whole groups, all on one NUMA node where that can be, and no
    /// group that could stay; of devices that are joined in sets exactly one set, all of which serves, chosen so that as
    /// many of the largest sets stay whole as can. The same for the same devices, so that whoever records a claim takes
    /// what was decided.
    ///
    /// - Returns: `nil` where there are not enough.
    static func choose(_ requests: [DeviceRequest], from devices: [DeviceSnapshot]) -> DeviceChoice? {
        guard !requests.isEmpty else { return DeviceChoice(positions: []) }
        let board = DeviceBoard(devices)
        if let plan = complete(nil, board, requests, devices) { return DeviceChoice(positions: plan.positions) }
        var best: (rank: [Int], choice: DeviceChoice)?
        for set in board.sets where DeviceKinds(set.members, of: devices).canAllServe(requests) {
            guard let plan = complete(set, board, requests, devices) else { continue }
            // What survives; then nearness; then how few go.
            let rank = board.survivors(without: set) + [plan.isNear ? 1 : 0, -plan.positions.count]
            if let best, !best.rank.lexicographicallyPrecedes(rank) { continue }
            best = (rank, DeviceChoice(positions: plan.positions, members: set.members))
        }
        return best?.choice
    }

    /// A set, or none, with as few other devices as meet the requests together with it.
    private static func complete(
        _ set: DeviceBoard.FreeSet?, _ board: DeviceBoard, _ requests: [DeviceRequest], _ devices: [DeviceSnapshot]
    ) -> (positions: [Int], isNear: Bool)? {
        let base = set?.positions ?? []
        func meets(_ groups: [[Int]]) -> Bool {
            DeviceKinds(base + groups.joined(), of: devices).meet(requests)
        }
        let nodes = Set((base + board.loose.joined()).compactMap { devices[$0].numaNode })
        // Of several NUMA nodes that suffice, the one with the fewest left: a later request for many finds the other whole.
        let near = nodes.filter { node in (set?.members ?? []).allSatisfy { devices[$0].numaNode == node } }
            .map { node in board.loose.filter { $0.allSatisfy { devices[$0].numaNode == node } } }
            .filter(meets).min { ($0.count, $0.first?[0] ?? -1) < ($1.count, $1.first?[0] ?? -1) }
        guard let pool = near ?? (meets(board.loose) ? board.loose : nil) else { return nil }
        let candidates = [
            pool.sorted { ($0.count, $0[0]) < ($1.count, $1[0]) },
            pool.sorted { ($1.count, $0[0]) < ($0.count, $1[0]) },
        ]
        .map { order in withoutSpares(order, meets: meets) }
        guard let chosen = candidates.min(by: { size($0) < size($1) }) else { return nil }
        return ((base + chosen.joined()).sorted(), near != nil)
    }

    /// The devices that an instance gets, each with the request that it serves: `nil` for one that goes along with others
    /// of its group.
    ///
    /// - Returns: positions among the devices and among the requests; `nil` where there are not enough.
    public static func choice(
        _ requests: [DeviceRequest], from devices: [DeviceSnapshot]
    ) -> [(device: Int, request: Int?)]? {
        guard let chosen = choose(requests, from: devices) else { return nil }
        var matching = DeviceMatching(requests, chosen.positions, devices)
        // First those that must serve: who has been given something to do keeps something to do.
        for member in chosen.members { matching.give(member) }
        for number in requests.indices { matching.fill(number) }
        return chosen.positions.map { ($0, matching.served[$0]) }
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

/// Which device serves which request, found by augmenting paths (Kuhn 1955): a device that has two of the aliases may have to
/// leave the first to another.
private struct DeviceMatching {
    private let requests: [DeviceRequest]
    private let chosen: [Int]
    private let devices: [DeviceSnapshot]
    private(set) var served: [Int: Int] = [:]

    init(_ requests: [DeviceRequest], _ chosen: [Int], _ devices: [DeviceSnapshot]) {
        self.requests = requests
        self.chosen = chosen
        self.devices = devices
    }

    /// Finds a request for a device; those that have one keep one.
    mutating func give(_ device: Int) {
        var visited: Set<Int> = []
        _ = place(device, &visited)
    }

    /// Finds as many devices for a request as it wants.
    mutating func fill(_ number: Int) {
        for _ in 0..<max(0, requests[number].count - count(number)) {
            var visited: Set<Int> = []
            guard serve(number, &visited) else { return }
        }
    }

    private func count(_ number: Int) -> Int { served.values.count { $0 == number } }

    private func can(_ device: Int, _ number: Int) -> Bool {
        devices[device].aliases >> UInt64(requests[number].alias) & 1 == 1
    }

    private mutating func place(_ device: Int, _ visited: inout Set<Int>) -> Bool {
        for number in requests.indices where can(device, number) {
            guard visited.insert(number).inserted else { continue }
            if count(number) < requests[number].count {
                served[device] = number
                return true
            }
            for other in chosen where served[other] == number && place(other, &visited) {
                served[device] = number
                return true
            }
        }
        return false
    }

    private mutating func serve(_ number: Int, _ visited: inout Set<Int>) -> Bool {
        for device in chosen where can(device, number) {
            guard visited.insert(device).inserted else { continue }
            if let other = served[device] {
                guard serve(other, &visited) else { continue }
            }
            served[device] = number
            return true
        }
        return false
    }
}
