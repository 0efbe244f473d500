import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerLifecycle

/// Instances that yield their room to others, and what becomes of both.
@Suite("Preemptible instances")
struct PreemptionTests {
    /// A host that is full of preemptible instances which run.
    private static func site(_ preemption: Preemption = .queue) async throws -> (TestRecord, [Instance]) {
        let record = try await TestRecord(hosts: 1)
        let made = try await record.queue("spot", by: record.ann, count: 4, preemption: preemption, queues: false)
        for instance in made { try await record.run(instance.id) }
        return (record, made)
    }

    @Test("yields after a notice and a grace time, waits, and starts again on its node")
    func yields() async throws {
        let (record, spots) = try await Self.site()
        let node = try #require(spots[0].node)
        record.pass(.seconds(5))
        let made = try await record.create("firm", by: record.bob)[0]
        #expect(made.status == .queued && made.node == nil)
        #expect(made.statusReason.hasPrefix("waits for a preemptible instance to yield"))

        let yielding = try await record.everything().instances.filter { $0.room == .yielding }
        #expect(yielding.count == 1)
        let one = yielding[0]
        #expect(one.status == .stopping && one.desired == .stopped && !one.force && one.stopTimeoutSeconds == 60)
        #expect(one.statusCode == "preempted" && one.statusReason.contains("forced off after 60 s"))
        // Nothing is taken from it before its guest is gone, and nobody else is asked meanwhile.
        try await record.advanceQueue()
        #expect(try await record.instance(made.id).node == nil)
        #expect(try await record.everything().instances.filter { $0.room == .yielding }.count == 1)
        #expect(try await record.node("cn1").claimedVCPUs == 16)
        #expect(try await record.findings() == [])

        try await record.report(one.id, .stopped)
        let waiting = try await record.instance(one.id)
        #expect(waiting.isWaiting && waiting.node == node && waiting.room == .released)
        #expect(waiting.ipAddress == one.ipAddress)
        #expect(try await record.node("cn1").claimedVCPUs == 12)
        #expect(try await record.node("cn1").instanceCount == 4)
        #expect(try await record.findings() == [])

        try await record.advanceQueue()
        #expect(try await record.instance(made.id).node == node)
        #expect(try await record.instance(one.id).isWaiting)
        try await record.run(made.id)
        try await record.remove(made.id)
        try await record.advanceQueue()
        let back = try await record.instance(one.id)
        #expect(back.desired == .running && back.room == .held && back.status == .building)
        #expect(back.generation > waiting.generation && back.powerCycle == waiting.powerCycle.next)
        try await record.run(one.id)
        #expect(try await record.instance(one.id).status == .active)
        #expect(try await record.operation(back.operation).status == .succeeded)
        #expect(try await record.findings() == [])
        let kinds = try await record.eventKinds()
        #expect(kinds.contains("instance.preempted") && kinds.contains("instance.queued"))
    }

    @Test("stays stopped where its creator chose so, and gets a share again when it is started")
    func stays() async throws {
        let (record, _) = try await Self.site(.stop)
        let made = try await record.create("firm", by: record.bob)[0]
        let leaving = try #require(try await record.everything().instances.first { $0.room == .leaving })
        try await record.refused(.conflict, by: record.ann) { try $0.startInstance("\(leaving.id)") }
        try await record.report(leaving.id, .stopped)
        let stopped = try await record.instance(leaving.id)
        #expect(stopped.status == .stopped && stopped.statusCode == "preempted" && stopped.room == .released)
        #expect(try await record.operation(stopped.operation).status == .succeeded)
        try await record.advanceQueue()
        #expect(try await record.instance(made.id).node != nil)
        let refusal = try await record.refused(.noCapacity, by: record.ann) { try $0.startInstance("\(leaving.id)") }
        #expect(refusal?.sentence.contains("--queue") == true)
        try await record.run(made.id)
        try await record.remove(made.id)
        let started = try await record.request(by: record.ann) { try $0.startInstance("\(leaving.id)") }
        #expect(started.room == .held && started.desired == .running)
        #expect(try await record.node("cn1").claimedVCPUs == 16)
        #expect(try await record.findings() == [])
    }

    @Test("of several the fewest, of low priority and youngest; a stopped one gives its share at once")
    func choice() async throws {
        let record = try await TestRecord(hosts: 1)
        let old = try await record.queue("old", by: record.ann, preemption: .queue)[0]
        record.pass(.seconds(100))
        let low = try await record.queue("low", by: record.ann, priority: -1, preemption: .queue)[0]
        record.pass(.seconds(100))
        let young = try await record.queue("young", by: record.ann, preemption: .queue)[0]
        let idle = try await record.queue("idle", by: record.ann, preemption: .queue)[0]
        for instance in [old, low, young, idle] { try await record.run(instance.id) }
        try await record.request(by: record.ann) { _ = try $0.stopInstance("idle", force: true) }
        try await record.report(idle.id, .stopped)

        let first = try await record.create("first", by: record.bob)[0]
        #expect(first.node != nil, "at once")
        #expect(try await record.instance(idle.id).room == .released)
        #expect(try await record.instance(idle.id).status == .stopped)
        for expected in [low, young, old] {
            record.pass(.seconds(1))
            let next = try await record.create("next", by: record.bob)[0]
            #expect(try await record.instance(expected.id).room == .yielding)
            try await record.report(expected.id, .stopped)
            try await record.advanceQueue()
            #expect(try await record.instance(next.id).node != nil)
        }
        try await record.refused(.noCapacity, by: record.bob) {
            try $0.createInstances(InstanceCreation(name: "more", flavor: "small", image: "debian"))
        }
        #expect(try await record.findings() == [])
    }

    @Test("one that may be preempted preempts nobody, nor does filling; and a refused request stops no guest")
    func spared() async throws {
        let (record, spots) = try await Self.site()
        try await record.refused(.noCapacity, by: record.bob) {
            try $0.createInstances(
                InstanceCreation(name: "spot", flavor: "small", image: "debian", preemption: .queue))
        }
        let filled = try await record.request(by: record.root) {
            try $0.fillNodes(InstanceCreation(name: "wn", flavor: "small", image: "debian"), limit: 9)
        }
        #expect(filled.count == 0)
        // Five do not fit, and none of four that would is stopped for them.
        try await record.refused(.noCapacity, by: record.bob) {
            try $0.createInstances(InstanceCreation(name: "firm", flavor: "small", image: "debian", count: 5))
        }
        for spot in spots { #expect(try await record.instance(spot.id).status == .active) }
    }

    @Test("one that waits in the queue makes others yield, and nobody takes what they leave")
    func queued() async throws {
        let record = try await TestRecord(hosts: 1)
        try await record.flavor("half", vcpus: 8)
        let firm = try await record.create("firm", by: record.ann, count: 2)
        let big = try await record.queue("big", by: record.bob, flavor: "half", count: 1)[0]
        #expect(big.node != nil)
        let next = try await record.queue("next", by: record.bob, flavor: "half")[0]
        try await record.advanceQueue()
        #expect(try await record.waiting()[0].reserved == nil)
        try await record.remove(firm[0].id)
        try await record.remove(firm[1].id)
        // Before the pass, preemptible ones take the room directly.
        let spots = try await record.queue("spot", by: record.ann, count: 2, preemption: .queue, queues: false)
        for spot in spots { try await record.run(spot.id) }
        try await record.advanceQueue()
        for spot in spots { #expect(try await record.instance(spot.id).room == .yielding) }
        try await record.report(spots[0].id, .stopped)
        try await record.refused(.noCapacity, by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "thief", flavor: "small", image: "debian"))
        }
        try await record.advanceQueue()
        #expect(try await record.instance(next.id).node == nil)
        #expect(try await record.instance(spots[0].id).isWaiting)
        try await record.report(spots[1].id, .stopped)
        try await record.advanceQueue()
        #expect(try await record.instance(next.id).node != nil)
        #expect(try await record.findings() == [])
    }

    @Test("its owner may stop or delete one that yields or waits, and its node may be disabled meanwhile")
    func owners() async throws {
        let (record, _) = try await Self.site()
        _ = try await record.create("firm", by: record.bob, count: 2)
        let yielding = try await record.everything().instances.filter { $0.room == .yielding }
        #expect(yielding.count == 2)
        let stopped = try await record.request(by: record.ann) {
            try $0.stopInstance("\(yielding[0].id)", force: true)
        }
        #expect(stopped.room == .leaving)
        try await record.report(stopped.id, .stopped)
        #expect(try await record.instance(stopped.id).status == .stopped)
        try await record.report(yielding[1].id, .stopped)
        #expect(try await record.instance(yielding[1].id).isWaiting)
        // What waits has no domain, and keeps no drain from its end.
        let drain = try await record.request(by: record.root) { try $0.disableNodes(["cn1"], DrainOrder()) }
        for instance in try await record.everything().instances
        where instance.desired == .stopped && !instance.isWithoutDomain {
            try await record.report(instance.id, .stopped)
        }
        try await record.advanceDrains()
        #expect(try await record.operation(drain.id).status == .succeeded)
        try await record.advanceQueue()
        #expect(try await record.instance(yielding[1].id).isWaiting)
        try await record.remove(yielding[1].id)
        try await record.remove(stopped.id)
        #expect(try await record.node("cn1").instanceCount == 2)
        #expect(try await record.findings() == [])
        try await record.request(by: record.root) { _ = try $0.enableNodes(["cn1"]) }
        try await record.advanceQueue()
        #expect(try await record.waiting().isEmpty)
        #expect(try await record.findings() == [])
    }

    @Test("claims never exceed what there is, whoever comes, goes, yields and comes back", arguments: 1...4)
    func neverOver(seed: Int) async throws {
        let record = try await TestRecord(hosts: 2)
        var random = SeededNumbers(state: UInt64(seed))
        for step in 0..<120 {
            record.pass(.seconds(Int.random(in: 1...30, using: &random)))
            let instances = try await record.everything().instances.filter { $0.status != .deleted }
            switch Int.random(in: 0..<6, using: &random) {
            case 0, 1:
                let preemption: Preemption? = [nil, .queue, .stop].randomElement(using: &random) ?? nil
                _ = try? await record.queue(
                    "i\(step)", by: record.ann, priority: Int.random(in: -3...3, using: &random),
                    preemption: preemption,
                    queues: Bool.random(using: &random))
            case 2:
                if let one = instances.randomElement(using: &random) {
                    _ = try? await record.request(by: record.ann) { _ = try $0.stopInstance("\(one.id)", force: true) }
                }
            case 3:
                if let one = instances.filter({ $0.status == .stopped }).randomElement(using: &random) {
                    let queues = Bool.random(using: &random)
                    _ = try? await record.request(by: record.ann) {
                        _ = try $0.startInstance("\(one.id)", queues: queues)
                    }
                }
            case 4:
                if let one = instances.randomElement(using: &random) {
                    try await record.request(by: record.ann) { _ = try $0.deleteInstance("\(one.id)") }
                }
            default: try await record.advanceQueue()
            }
            for one in try await record.everything().instances where one.node != nil && !one.isWaiting {
                guard Bool.random(using: &random) else { continue }
                switch one.desired {
                case .running: try await record.report(one.id, .running)
                case .stopped: try await record.report(one.id, .stopped)
                case .deleted: if one.status != .deleted { try await record.report(one.id, .deleted) }
                }
            }
            for node in try await record.everything().nodes {
                #expect(node.claimedVCPUs <= 16 && node.claimedVCPUs >= 0)
            }
            #expect(try await record.findings() == [])
        }
    }
}
