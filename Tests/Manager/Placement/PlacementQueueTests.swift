import ManagerModel
import ProtocolModel
import TestsSupportRandomness
import Testing

@testable import ManagerPlacement

/// Who of those that wait is placed, and for whom a host is kept.
@Suite("The queue of instances that wait for room")
struct PlacementQueueTests {
    private static let start = Timestamp(milliseconds: 1_790_000_000_000)

    private static func ids<Kind>(_ count: Int, _ kind: ID<Kind>.Type = ID<Kind>.self) -> [ID<Kind>] {
        var random = SeededNumbers(seed: 7)
        return (0..<count).map { _ in .generate(at: start, using: &random) }
    }

    private static func waiting(
        _ instance: InstanceID, shape: Int, age: Duration = .zero, overtaken: Int = 0, reserved: NodeID? = nil,
        isPreemptible: Bool = false
    ) -> PlacementQueue.Waiting {
        .init(
            instance: instance, queuedAt: start + .seconds(-Int(age.milliseconds / 1000)), overtaken: overtaken,
            reserved: reserved, isPreemptible: isPreemptible, shape: shape)
    }

    @Test("asks for each in turn, others to yield where there is no room, and its like no more where nobody can")
    func inTurn() {
        let (a, b, c, d) = { ($0[0], $0[1], $0[2], $0[3]) }(Self.ids(4, InstanceID.self))
        var queue = PlacementQueue(
            [
                Self.waiting(a, shape: 0), Self.waiting(b, shape: 0), Self.waiting(c, shape: 1),
                Self.waiting(d, shape: 1),
            ], at: Self.start)
        #expect(queue.handle(.began) == [.place(a, keepers: [:])])
        #expect(queue.handle(.noRoom(a)) == [.makeRoom(a, avoiding: [])])
        // `b` asks for what `a` did not find, and is passed over.
        #expect(queue.handle(.makingRoom(a, on: nil)) == [.place(c, keepers: [:])])
        #expect(queue.handle(.placed(c)) == [.overtaken(by: c), .place(d, keepers: [:])])
        #expect(queue.handle(.placed(d)) == [.overtaken(by: d)])
    }

    @Test("keeps a host for who was overtaken often enough, or waits long enough, and those behind heed that")
    func keeping() {
        let (a, b, c) = { ($0[0], $0[1], $0[2]) }(Self.ids(3, InstanceID.self))
        let (one, two) = { ($0[0], $0[1]) }(Self.ids(2, NodeID.self))
        var queue = PlacementQueue(
            [
                Self.waiting(a, shape: 0, overtaken: 10), Self.waiting(b, shape: 1, age: .seconds(300)),
                Self.waiting(c, shape: 2, age: .seconds(299), overtaken: 9),
            ], at: Self.start)
        #expect(queue.handle(.began) == [.place(a, keepers: [:])])
        _ = queue.handle(.noRoom(a))
        #expect(
            queue.handle(.makingRoom(a, on: nil)) == [.findHost(a, keeping: nil, avoiding: [], isSettled: false)])
        #expect(queue.handle(.found(a, one)) == [.keep(a, one), .place(b, keepers: [one: a])])
        #expect(queue.handle(.noRoom(b)) == [.makeRoom(b, avoiding: [one])])
        #expect(
            queue.handle(.makingRoom(b, on: nil)) == [.findHost(b, keeping: nil, avoiding: [one], isSettled: false)])
        #expect(queue.handle(.found(b, two)) == [.keep(b, two), .place(c, keepers: [one: a, two: b])])
        _ = queue.handle(.noRoom(c))
        #expect(queue.handle(.makingRoom(c, on: nil)) == [])
    }

    @Test("waits for what others are leaving, and asks nobody else to yield")
    func yielding() {
        let (a, b) = { ($0[0], $0[1]) }(Self.ids(2, InstanceID.self))
        let node = Self.ids(1, NodeID.self)[0]
        var queue = PlacementQueue(
            [Self.waiting(a, shape: 0, reserved: node), Self.waiting(b, shape: 1, isPreemptible: true)],
            beingLeft: [node], at: Self.start)
        #expect(queue.handle(.began) == [.place(a, keepers: [:])])
        #expect(queue.handle(.noRoom(a)) == [.place(b, keepers: [node: a])])
        #expect(queue.handle(.noRoom(b)) == [], "one that may be preempted preempts nobody")
        var later = PlacementQueue([Self.waiting(a, shape: 0, reserved: node)], at: Self.start)
        _ = later.handle(.began)
        #expect(later.handle(.noRoom(a)) == [.makeRoom(a, avoiding: [])], "they have left, and it was not enough")
    }

    @Test("what is kept for one that may be preempted binds only its like")
    func softly() {
        let (a, b, c) = { ($0[0], $0[1], $0[2]) }(Self.ids(3, InstanceID.self))
        let node = Self.ids(1, NodeID.self)[0]
        var queue = PlacementQueue(
            [
                Self.waiting(a, shape: 0, reserved: node, isPreemptible: true), Self.waiting(b, shape: 1),
                Self.waiting(c, shape: 2, isPreemptible: true),
            ], at: Self.start)
        _ = queue.handle(.began)
        #expect(queue.handle(.noRoom(a)) == [.findHost(a, keeping: node, avoiding: [], isSettled: false)])
        #expect(queue.handle(.found(a, node)) == [.place(b, keepers: [:])])
        #expect(queue.handle(.placed(b)) == [.overtaken(by: b), .place(c, keepers: [node: a])])
    }

    @Test("what is kept for one that may not be preempted binds those that may, even where they came before")
    func firmly() {
        let (a, b) = { ($0[0], $0[1]) }(Self.ids(2, InstanceID.self))
        let node = Self.ids(1, NodeID.self)[0]
        var queue = PlacementQueue(
            [Self.waiting(a, shape: 0, isPreemptible: true), Self.waiting(b, shape: 1, reserved: node)],
            at: Self.start)
        #expect(queue.handle(.began) == [.place(a, keepers: [node: b])])
        #expect(queue.handle(.noRoom(a)) == [.place(b, keepers: [:])])
    }

    @Test("a pass places no more than its limit, and one that cannot be placed stands in nobody's way")
    func bounded() {
        let (a, b, c) = { ($0[0], $0[1], $0[2]) }(Self.ids(3, InstanceID.self))
        let node = Self.ids(1, NodeID.self)[0]
        var rules = PlacementQueue.Rules()
        rules.mostStarts = 1
        var blocked = Self.waiting(a, shape: 0, reserved: node)
        blocked.isBlocked = true
        var queue = PlacementQueue(
            [blocked, Self.waiting(b, shape: 1), Self.waiting(c, shape: 2)], rules: rules, at: Self.start)
        #expect(queue.handle(.began) == [.keep(a, nil), .place(b, keepers: [:])])
        #expect(queue.handle(.placed(b)) == [.overtaken(by: b)])
    }

    @Test("the order is by when each came, moved by its priority, and never changes")
    func order() {
        let ids = Self.ids(3, InstanceID.self)
        func entry(_ index: Int, priority: Int, after: Duration) -> QueueEntry {
            QueueEntry(
                instance: ids[index], priority: priority, queuedAt: Self.start + after, wish: QueuedWish(),
                isPreemptible: false, reason: "")
        }
        let (early, late) = (entry(0, priority: 0, after: .zero), entry(1, priority: 10, after: .seconds(3599)))
        #expect(QueueEntry.precedes(late, early), "ten steps of six minutes")
        #expect(QueueEntry.precedes(early, entry(2, priority: 10, after: .seconds(3601))))
    }

    @Test("nobody starves, whatever comes directly or goes ahead", arguments: 1...40)
    func noStarvation(seed: Int) {
        var park = Park(seed: seed)
        for _ in 0..<600 { park.step() }
        park.drain()
        #expect(park.late.isEmpty, "\(park.late)")
        #expect(park.queue.isEmpty, "\(park.queue.count) never started")
        #expect(park.started > 20)
    }

    @Test("without hosts that are kept the big ones do starve: the test can fail")
    func theTestBites() {
        var rules = PlacementQueue.Rules()
        rules.patience = .seconds(1 << 40)
        rules.mostOvertakings = .max
        let isLate = (1...10).contains { seed in
            var park = Park(seed: seed, rules: rules)
            for _ in 0..<600 { park.step() }
            return !park.late.isEmpty
        }
        #expect(isLate)
    }

    @Test("a newcomer delays who waits only where it takes what that one lacks, or what is just enough")
    func delays() {
        let node = Self.ids(1, NodeID.self)[0]
        var host = HostSnapshot(
            node: node, name: "a", enabled: true, alive: true, architecture: "x86_64", vcpus: 16, ramMiB: 16_000,
            diskGiB: 100, claimedVCPUs: 12, claimedRAMMiB: 4_000, claimedDiskGiB: 0, freeAddresses: 10)
        let big = PlacementRequest(vcpus: 8, ramMiB: 8_000, diskGiB: 10)
        #expect(Placement.delays(big, on: host, by: PlacementRequest(vcpus: 1, ramMiB: 100, diskGiB: 1)))
        host.claimedVCPUs = 4
        host.claimedRAMMiB = 12_000
        #expect(!Placement.delays(big, on: host, by: PlacementRequest(vcpus: 1, ramMiB: 0, diskGiB: 1)))
        #expect(Placement.delays(big, on: host, by: PlacementRequest(vcpus: 5, ramMiB: 0, diskGiB: 1)))
    }
}

/// A small site in steps of ten seconds: requests that wait, others that come directly and take whatever is free, and guests
/// that end after a while.
private struct Park {
    struct Waiter {
        var entry: QueueEntry
        var request: PlacementRequest
        /// Those that were ever before it.
        var ahead = 0
    }

    private struct Guest {
        var node: NodeID
        var request: PlacementRequest
        var devices: [String]
        var endsAt: Timestamp
    }

    static let longestLife = Duration.seconds(300)
    private static let tick = Duration.seconds(10)

    private var random: SeededNumbers
    private let rules: PlacementQueue.Rules
    private var table: HostTable
    private var nodes: [NodeID] = []
    private var guests: [Guest] = []
    private var now = Timestamp(milliseconds: 1_790_000_000_000)
    var queue: [Waiter] = []
    var started = 0
    var late: [String] = []

    init(seed: Int, rules: PlacementQueue.Rules = .init()) {
        random = SeededNumbers(seed: seed)
        self.rules = rules
        var hosts: [HostSnapshot] = []
        for number in 0..<Int.random(in: 2...5, using: &random) {
            let node = NodeID.generate(at: now, using: &random)
            nodes.append(node)
            hosts.append(
                HostSnapshot(
                    node: node, name: "cn\(number)", enabled: true, alive: true, architecture: "x86_64",
                    vcpus: Int.random(in: 8...16, using: &random), ramMiB: 64, diskGiB: 1000, claimedVCPUs: 0,
                    claimedRAMMiB: 0, claimedDiskGiB: 0, freeAddresses: 200,
                    devices: (0..<Int.random(in: 0...3, using: &random)).map {
                        DeviceSnapshot(address: "\($0)", numaNode: 0, group: Int32($0), aliases: 1)
                    }))
        }
        table = HostTable(hosts)
    }

    mutating func step() {
        end()
        if Int.random(in: 0..<12, using: &random) == 0 { come() }
        pass()
        // Whoever comes directly takes what is left, again and again.
        for _ in 0..<200 { guard direct() else { break } }
        now = now + Self.tick
    }

    /// Nobody comes any more, and those that wait are placed.
    mutating func drain() {
        for _ in 0..<2000 where !queue.isEmpty {
            end()
            pass()
            now = now + Self.tick
        }
    }

    private mutating func life() -> Timestamp {
        now + .seconds(Int.random(in: 1...Int(Self.longestLife.milliseconds / 1000), using: &random))
    }

    private mutating func come() {
        let request = PlacementRequest(
            vcpus: Int.random(in: 1...16, using: &random), ramMiB: Int.random(in: 1...64, using: &random), diskGiB: 1,
            devices: Int.random(in: 0..<3, using: &random) == 0
                ? [DeviceRequest(alias: 0, count: Int.random(in: 1...3, using: &random))] : [])
        guard table.couldEverTake(request) else { return }
        let entry = QueueEntry(
            instance: .generate(at: now, using: &random), priority: Int.random(in: -3...3, using: &random),
            queuedAt: now,
            wish: QueuedWish(), isPreemptible: false, reason: "")
        var waiter = Waiter(entry: entry, request: request)
        for index in queue.indices {
            if QueueEntry.precedes(entry, queue[index].entry) { queue[index].ahead += 1 } else { waiter.ahead += 1 }
        }
        queue.append(waiter)
        queue.sort { QueueEntry.precedes($0.entry, $1.entry) }
    }

    private mutating func direct() -> Bool {
        var request = PlacementRequest(vcpus: 1, ramMiB: Int.random(in: 1...4, using: &random), diskGiB: 1)
        if Int.random(in: 0..<8, using: &random) == 0 { request.devices = [DeviceRequest(alias: 0, count: 1)] }
        request.reserved = Set(
            queue.compactMap { waiter in
                guard let node = waiter.entry.reserved, let host = table[node],
                    Placement.delays(waiter.request, on: host, by: request)
                else { return nil }
                return node
            })
        return place(request)
    }

    private mutating func place(_ request: PlacementRequest) -> Bool {
        let free = Dictionary(uniqueKeysWithValues: nodes.map { ($0, Self.free(table[$0])) })
        guard case .placed(let node) = table.place(request) else { return false }
        let devices = (free[node] ?? []).subtracting(Self.free(table[node]))
        guests.append(Guest(node: node, request: request, devices: devices.sorted(), endsAt: life()))
        return true
    }

    private static func free(_ host: HostSnapshot?) -> Set<String> {
        Set(host?.devices.filter(\.isFree).map(\.address) ?? [])
    }

    private mutating func end() {
        for guest in guests where guest.endsAt <= now {
            guard var host = table[guest.node] else { continue }
            host.claimedVCPUs -= guest.request.vcpus
            host.claimedRAMMiB -= guest.request.ramMiB
            host.claimedDiskGiB -= guest.request.diskGiB
            host.freeAddresses += 1
            for index in host.devices.indices where guest.devices.contains(host.devices[index].address) {
                host.devices[index].isFree = true
            }
            table.set(host)
        }
        guests.removeAll { $0.endsAt <= now }
    }

    private mutating func pass() {
        let waiting = queue.enumerated().map { index, waiter in
            PlacementQueue.Waiting(
                instance: waiter.entry.instance, queuedAt: waiter.entry.queuedAt, overtaken: waiter.entry.overtaken,
                reserved: waiter.entry.reserved, shape: index)
        }
        var machine = PlacementQueue(waiting, rules: rules, at: now)
        var effects = machine.handle(.began)[...]
        while let effect = effects.popFirst() {
            if let event = carryOut(effect) { effects += machine.handle(event) }
        }
        for waiter in queue { checkBound(waiter) }
    }

    private func index(of id: InstanceID) -> Int { queue.firstIndex { $0.entry.instance == id }! }

    private mutating func carryOut(_ effect: PlacementQueue.Effect) -> PlacementQueue.Event? {
        switch effect {
        case .place(let id, let keepers):
            var request = queue[index(of: id)].request
            for (node, keeper) in keepers {
                guard let host = table[node], Placement.delays(queue[index(of: keeper)].request, on: host, by: request)
                else { continue }
                request.reserved.insert(node)
            }
            guard place(request) else { return .noRoom(id) }
            started += 1
            let placed = queue.remove(at: index(of: id))
            for other in queue.indices where QueueEntry.precedes(queue[other].entry, placed.entry) {
                queue[other].entry.overtaken += 1
            }
            return .placed(id)
        case .makeRoom(let id, _): return .makingRoom(id, on: nil)
        case .findHost(let id, let kept, let avoiding, let isSettled):
            let request = queue[index(of: id)].request
            return .found(
                id, table.hostToKeep(for: request, keeping: kept, avoiding: avoiding, isSettled: isSettled))
        case .keep(let id, let node):
            for other in queue.indices where queue[other].entry.reserved == node { queue[other].entry.reserved = nil }
            queue[index(of: id)].entry.reserved = node
            return nil
        case .overtaken: return nil
        }
    }

    /// Each of those before it, and it itself, has a host kept after its patience at the latest; what is there leaves within a
    /// life, and a host is changed for a better one four times at most.
    private mutating func checkBound(_ waiter: Waiter) {
        let rules = PlacementQueue.Rules()
        let seconds =
            rules.patience.milliseconds / 1000 + Int64(waiter.ahead + 1) * 5 * Self.longestLife.milliseconds / 1000
        if now - waiter.entry.queuedAt > .seconds(Int(seconds)) {
            late.append("\(waiter.request) waits since \(waiter.entry.queuedAt), with \(waiter.ahead) before it")
        }
    }
}
