import ManagerAccounting
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("Hosts that vanish, and what becomes of their instances")
struct HostLossTests {
    /// A record whose hosts know of the policy.
    static func site(hosts: Int = 2) async throws -> TestRecord {
        let record = try await TestRecord(hosts: hosts)
        for number in 1...hosts { try await knowsPolicy(record, "cn\(number)", true) }
        return record
    }

    private static func knowsPolicy(_ record: TestRecord, _ name: String, _ knows: Bool?) async throws {
        try await record.store.write { sql in
            var node = try #require(try sql.nodes.find(name: name))
            node.inventory.heedsRestartsElsewhere = knows
            try sql.nodes.update(node)
        }
    }

    static func silent(_ record: TestRecord, _ name: String, _ liveness: Node.Liveness = .down) async throws {
        let (node, now) = (try await record.node(name), record.now)
        try await record.store.write {
            try FleetReports(in: $0, at: now).setLiveness(
                node.id, liveness, session: node.sessionEpoch, lastSeenAt: now - .seconds(30), detail: "")
        }
    }

    private func comesBack(_ record: TestRecord, _ name: String) async throws {
        let (node, now) = (try await record.node(name), record.now)
        try await record.store.write {
            _ = try FleetReports(in: $0, at: now).openSession(
                node.id, bootID: "b", softwareVersion: "1", remoteAddress: "")
        }
    }

    static func create(
        _ record: TestRecord, _ name: String, on node: String? = nil, group: String? = nil, count: Int = 1,
        _ policy: HostLossPolicy? = .restart
    ) async throws -> [Instance] {
        // Placed where the test wants it by leaving out the others, since one that is pinned does not move.
        try await record.request(by: record.root) { commands in
            let others = try commands.sql.nodes.list().map(\.name).filter { node != nil && $0 != node }
            let created = try commands.createInstances(
                InstanceCreation(
                    name: name, flavor: "small", image: "debian", count: count, excludedNodes: others,
                    serverGroup: group, onHostLoss: policy))
            for var instance in created {
                instance.placementLimits = .none
                try commands.sql.instances.updateHostLoss(instance)
            }
            return created
        }
    }

    private func confirm(_ record: TestRecord, _ name: String) async throws -> NodeAction {
        try await record.request(by: record.root) { try $0.confirmDown([name], reason: "unplugged") }[0]
    }

    private func advance(_ record: TestRecord) async throws {
        let isDue = try await record.request(by: .manager) { try $0.isHostLossDue() }
        guard isDue else { return }
        try await record.request(by: .manager) { try $0.advanceHostLosses() }
    }

    private func former(_ record: TestRecord, _ id: InstanceID, _ name: String) async throws -> FormerPlacement? {
        let node = try await record.node(name).id
        return try await record.store.read { try $0.formerPlacements.find(id, on: node) }
    }

    @Test(
        "a host that is silent is shown so, with since when; its instances say what they wait for, until it is heard again"
    )
    func shown() async throws {
        let record = try await Self.site()
        let kept = try await Self.create(record, "kept", on: "cn1", .keep)[0]
        let moving = try await Self.create(record, "moving", on: "cn1")[0]
        for instance in [kept, moving] { try await record.report(instance.id, .running) }
        try await Self.silent(record, "cn1", .suspect)
        #expect(try await record.node("cn1").loss == nil)
        try await Self.silent(record, "cn1")
        let node = try await record.node("cn1")
        #expect(node.loss?.since == record.now - .seconds(30) && node.loss?.certainty == nil)
        let (first, second) = (try await record.instance(kept.id), try await record.instance(moving.id))
        #expect(first.status == .active && first.statusReason.contains("waits for it, with its disk"))
        #expect(second.status == .active && second.statusReason.contains("once it is certain"))
        let counts = try await record.store.read { try $0.instances.countsByHostLoss(on: [node.id]) }
        #expect(counts == [node.id: [.keep: 1, .restart: 1]])

        try await advance(record)
        #expect(try await record.instance(moving.id).node == node.id, "silence proves nothing")
        try await comesBack(record, "cn1")
        #expect(try await record.node("cn1").loss == nil)
        #expect(try await record.instance(kept.id).statusCode == "ready")
    }

    @Test("only what counts as down can be confirmed to be; a dry run changes nothing; who did it is in the log")
    func confirming() async throws {
        let record = try await Self.site()
        _ = try await Self.create(record, "web", on: "cn1")
        for liveness in [Node.Liveness.alive, .suspect] {
            if liveness == .suspect { try await Self.silent(record, "cn1", .suspect) }
            let answer = try await confirm(record, "cn1")
            #expect(!answer.ok && !answer.detail.isEmpty)
        }
        #expect(try await confirm(record, "nowhere").ok == false)
        try await Self.silent(record, "cn1")
        let before = try await record.everything()
        let plan = try await record.request(by: record.root) { try $0.planConfirmingDown(["cn1", "cn2"]) }
        #expect(plan.map(\.ok) == [true, false] && plan[0].actions.count == 2)
        #expect(try await record.everything() == before)
        #expect(try await confirm(record, "cn1").ok)
        #expect(try await record.node("cn1").loss?.certainty?.by == "root")
        #expect(try await record.eventKinds().contains("node.down_confirmed"))
        #expect(try await confirm(record, "cn1").detail.contains("was known"))
    }

    @Test(
        "once it is certain, instances with the policy are placed anew, and the others stay; claims, epochs and sets follow"
    )
    func moves() async throws {
        let record = try await Self.site()
        let kept = try await Self.create(record, "kept", on: "cn1", .keep)[0]
        let moving = try await Self.create(record, "moving", on: "cn1")[0]
        let stopped = try await Self.create(record, "stopped", on: "cn1")[0]
        try await record.report(moving.id, .running)
        try await record.request(by: record.root) { _ = try $0.stopInstance("stopped", force: true) }
        try await record.report(stopped.id, .stopped)
        try await Self.silent(record, "cn1")
        _ = try await confirm(record, "cn1")
        let left = try await record.node("cn1")
        try await advance(record)

        let (old, new) = (try await record.node("cn1"), try await record.node("cn2"))
        let moved = try await record.instance(moving.id)
        #expect(moved.node == new.id && moved.epoch == Epoch(2) && moved.generation == Generation(2))
        #expect(moved.status == .building && moved.ipAddress?.hasPrefix("10.77.2.") == true && moved.startedAt == nil)
        #expect(moved.macAddress == moving.macAddress && moved.onHostLoss == .restart)
        #expect(old.instanceCount == 2 && old.claimedVCPUs == 8 && new.instanceCount == 1 && new.claimedVCPUs == 4)
        #expect(old.assignmentRevision > left.assignmentRevision)
        for id in [kept.id, stopped.id] { #expect(try await record.instance(id).node == old.id) }
        let former = try #require(try await former(record, moving.id, "cn1"))
        #expect(former.epoch == Epoch(1) && former.address == moving.ipAddress && !former.isGone)
        #expect(try await record.eventKinds().contains("instance.restarted_elsewhere"))
        #expect(try await record.findings().isEmpty)

        // What the old host says of the old placement changes nothing of the new one (P1).
        let now = record.now
        func tell(_ state: ObservedInstance.State) async throws {
            try await record.store.write {
                try FleetReports(in: $0, at: now).observe(
                    [
                        ObservedInstance(
                            instance: moving.id, epoch: Epoch(1), generation: Generation(2), powerCycle: PowerCycle(1),
                            state: state, at: now)
                    ], on: old.id)
            }
        }
        try await tell(.running)
        #expect(try await record.instance(moving.id) == moved)
        try await tell(.deleted)
        #expect(try await self.former(record, moving.id, "cn1")?.isGone == true)
        #expect(try await record.instance(moving.id) == moved)
        try await record.report(moving.id, .running)
        #expect(try await record.instance(moving.id).status == .active)
        #expect(try await record.findings().isEmpty)
    }

    @Test("where there is no room it waits and says so, and starts as soon as there is; its host may come back before")
    func noRoom() async throws {
        let record = try await Self.site()
        let full = try await Self.create(record, "full", on: "cn2", count: 4, .keep)
        let moving = try await Self.create(record, "moving", on: "cn1", count: 2)
        for instance in full + moving { try await record.report(instance.id, .running) }
        try await Self.silent(record, "cn1")
        _ = try await confirm(record, "cn1")
        try await advance(record)
        var waiting = try await record.instance(moving[0].id)
        #expect(waiting.status == .queued && waiting.statusCode == "waiting_for_host")
        #expect(waiting.statusReason.contains("no other node can take it"), "\(waiting.statusReason)")
        let before = try await record.everything()
        try await advance(record)
        #expect(try await record.everything() == before, "said again, it is not written again")

        try await record.request(by: record.root) { _ = try $0.deleteInstance("\(full[0].id)") }
        try await record.report(full[0].id, .deleted)
        try await advance(record)
        let places = [try await record.instance(moving[0].id).node, try await record.instance(moving[1].id).node]
        let (one, two) = (try await record.node("cn1").id, try await record.node("cn2").id)
        #expect(Set(places) == [one, two], "there was room for one")

        try await comesBack(record, "cn1")
        let left = try #require(moving.first { $0.id != moving[places[0] == two ? 0 : 1].id })
        try await record.report(left.id, .running)
        waiting = try await record.instance(left.id)
        #expect(waiting.status == .active && waiting.node == one && waiting.epoch == Epoch(1))
        #expect(try await record.findings().isEmpty)
    }

    @Test(
        "a host that may start the guest by itself after a boot, since it does not know of the policy, is not given up")
    func unknownPolicy() async throws {
        let record = try await Self.site()
        let late = try await Self.create(record, "late", on: "cn1", .keep)[0]
        try await record.report(late.id, .running)
        try await record.request(by: record.root) {
            _ = try $0.updateInstance("late", name: nil, metadata: nil, onHostLoss: .restart)
        }
        #expect(try await record.instance(late.id).generation == Generation(2))
        try await Self.silent(record, "cn1")
        _ = try await confirm(record, "cn1")
        try await advance(record)
        var waiting = try await record.instance(late.id)
        #expect(waiting.node == (try await record.node("cn1").id))
        #expect(waiting.statusReason.contains("before it knew of this policy"), "\(waiting.statusReason)")

        // Once its host has told of that generation it has kept the policy.
        try await comesBack(record, "cn1")
        try await record.report(late.id, .running)
        #expect(try await record.instance(late.id).isHostLossPolicyUnconfirmed == false)
        try await Self.silent(record, "cn1")
        _ = try await confirm(record, "cn1")
        try await Self.knowsPolicy(record, "cn1", nil)
        try await advance(record)
        waiting = try await record.instance(late.id)
        #expect(waiting.statusReason.contains("is older than this policy"), "\(waiting.statusReason)")
        try await Self.knowsPolicy(record, "cn1", true)
        try await advance(record)
        #expect(try await record.instance(late.id).node == (try await record.node("cn2").id))
    }

    @Test("a pinned instance cannot move, and says so when it is asked to; a flavor may say what is usual")
    func pinned() async throws {
        let record = try await Self.site()
        try await record.refused(.unprocessable, by: record.root) {
            _ = try $0.createInstances(
                InstanceCreation(name: "x", flavor: "small", image: "debian", node: "cn1", onHostLoss: .restart))
        }
        let pinned = try await record.create("pinned", by: record.root, node: "cn1")[0]
        try await record.refused(.unprocessable, by: record.root) {
            _ = try $0.updateInstance("\(pinned.id)", name: nil, metadata: nil, onHostLoss: .restart)
        }
        try await record.request(by: record.root) {
            _ = try $0.createFlavor(
                name: "cattle", vcpus: 1, ramMiB: 64, diskGiB: 2, properties: [HostLossPolicy.property: "restart"])
        }
        let created = try await record.request(by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "w", flavor: "cattle", image: "debian"))[0]
        }
        #expect(try await record.instance(created.id).onHostLoss == .restart)
        let other = try await record.request(by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "v", flavor: "cattle", image: "debian", onHostLoss: .keep))[0]
        }
        #expect(try await record.instance(other.id).onHostLoss == .keep)
    }

    @Test("a group counts without those that leave: apart they stay apart, together they go together")
    func groups() async throws {
        let record = try await Self.site(hosts: 3)
        for (name, policy) in [("apart", ServerGroup.Policy.antiAffinity), ("together", .affinity)] {
            try await record.request(by: record.root) { _ = try $0.createServerGroup(name: name, policy: policy) }
        }
        let apart = [
            try await Self.create(record, "a1", on: "cn1", group: "apart")[0],
            try await Self.create(record, "a2", on: "cn2", group: "apart")[0],
        ]
        let together = try await Self.create(record, "t", on: "cn1", group: "together", count: 2)
        // So that the emptiest host has room for one of the two alone.
        _ = try await Self.create(record, "full", on: "cn2", count: 2, .keep)
        try await Self.silent(record, "cn1")
        _ = try await confirm(record, "cn1")
        try await advance(record)
        let third = try await record.node("cn3").id
        #expect(try await record.instance(apart[0].id).node == third, "not beside the other")
        var nodes: Set<NodeID> = []
        for instance in together { nodes.insert(try #require(await record.instance(instance.id).node)) }
        #expect(nodes == [third], "there alone is room for both")
        #expect(try await record.findings().isEmpty)
    }

    @Test(
        "it goes back to a host where it was only once nothing of it is left there, and no one gets its address before")
    func backAgain() async throws {
        let record = try await Self.site()
        let moving = try await Self.create(record, "moving", on: "cn1")[0]
        try await record.report(moving.id, .running)
        try await Self.silent(record, "cn1")
        _ = try await confirm(record, "cn1")
        try await advance(record)
        try await comesBack(record, "cn1")
        let other = try await Self.create(record, "other", on: "cn1", .keep)[0]
        #expect(other.ipAddress != moving.ipAddress)

        try await Self.silent(record, "cn2")
        _ = try await confirm(record, "cn2")
        try await advance(record)
        #expect(try await record.instance(moving.id).statusCode == "waiting_for_host")
        let (first, now) = (try await record.node("cn1").id, record.now)
        try await record.store.write {
            try FleetReports(in: $0, at: now).observe(
                [
                    ObservedInstance(
                        instance: moving.id, epoch: Epoch(1), generation: Generation(2), powerCycle: PowerCycle(0),
                        state: .deleted, at: now)
                ], on: first)
        }
        try await advance(record)
        let back = try await record.instance(moving.id)
        #expect(back.node == first && back.epoch == Epoch(3))
        #expect(try await former(record, moving.id, "cn1") == nil)
        #expect(try await former(record, moving.id, "cn2")?.epoch == Epoch(2))
        #expect(try await record.findings().isEmpty)
    }

    @Test("devices are left behind with the host, and others claimed on the new one")
    func devices() async throws {
        let record = try await Self.site()
        try await record.request(by: record.root) {
            var match = DeviceMatch()
            (match.vendor, match.product) = (0x10de, 0x11bf)
            _ = try $0.createDeviceRule(.alias, alias: "k2", match: match, description: "")
            _ = try $0.createFlavor(
                name: "card", vcpus: 1, ramMiB: 64, diskGiB: 2, properties: ["pci_passthrough:alias": "k2:1"])
        }
        for name in ["cn1", "cn2"] {
            let (node, now) = (try await record.node(name), record.now)
            var inventory = node.inventory
            inventory.pciDevices = [
                PCIDevice(
                    address: "0000:03:00.0", vendor: 0x10de, product: 0x11bf, classCode: 0x030000, iommuGroup: 1,
                    numaNode: 0, driver: "")
            ]
            let told = inventory
            try await record.store.write {
                try FleetReports(in: $0, at: now).takeInventory(node.id, told, location: "")
            }
        }
        let moving = try await record.request(by: record.ann) {
            try $0.createInstances(
                InstanceCreation(name: "gpu", flavor: "card", image: "debian", onHostLoss: .restart))[0]
        }
        let names = [try await record.node("cn1"), try await record.node("cn2")]
        let old = try #require(names.first { $0.id == moving.node })
        try await record.report(moving.id, .running)
        try await Self.silent(record, old.name)
        _ = try await confirm(record, old.name)
        try await advance(record)
        let moved = try await record.instance(moving.id)
        #expect(moved.node != old.id)
        let held = try await record.store.read { try $0.devices.list(of: moving.id) }
        #expect(held.map(\.node) == [moved.node])
        #expect(try await record.findings().isEmpty)
    }

    @Test(
        "whoever empties a node that is certainly lost stops nothing that leaves it, and what was stopped for that leaves, too"
    )
    func drained() async throws {
        let record = try await Self.site()
        let running = try await Self.create(record, "running", on: "cn1")[0]
        let stopped = try await Self.create(record, "stopped", on: "cn1")[0]
        let off = try await Self.create(record, "off", on: "cn1")[0]
        for instance in [running, stopped, off] { try await record.report(instance.id, .running) }
        try await record.request(by: record.root) { _ = try $0.stopInstance("off", force: true) }
        try await record.report(off.id, .stopped)
        try await record.store.write { sql in
            // As a drain leaves it.
            var instance = try #require(try sql.instances.find(stopped.id))
            (instance.desired, instance.stoppedByDrain, instance.status) = (.stopped, true, .stopped)
            try sql.instances.update(instance, assigned: true)
        }
        try await Self.silent(record, "cn1")
        _ = try await confirm(record, "cn1")
        try await record.request(by: record.root) {
            _ = try $0.disableNodes(["cn1"], DrainOrder(mode: .shutdown, reason: "dead"))
        }
        #expect(try await record.instance(running.id).desired == .running)
        try await advance(record)
        let (old, new) = (try await record.node("cn1").id, try await record.node("cn2").id)
        for id in [running.id, stopped.id] {
            let moved = try await record.instance(id)
            #expect(moved.node == new && moved.desired == .running && !moved.stoppedByDrain)
        }
        #expect(try await record.instance(off.id).node == old, "its owner wants it off")
        // Started, it goes as well, although its node is disabled.
        try await record.request(by: record.root) { _ = try $0.startInstance("off") }
        try await advance(record)
        #expect(try await record.instance(off.id).node == new)
        #expect(try await record.findings().isEmpty)
    }

    @Test(
        "a node that may still have disks of what was started elsewhere is not forgotten, unless it is certain to be off"
    )
    func removed() async throws {
        let record = try await Self.site()
        let moving = try await Self.create(record, "moving", on: "cn1")[0]
        try await record.report(moving.id, .running)
        try await Self.silent(record, "cn1")
        _ = try await confirm(record, "cn1")
        try await advance(record)
        try await comesBack(record, "cn1")
        try await record.refused(.inUse, by: record.root) { _ = try $0.removeNode("cn1") }
        try await Self.silent(record, "cn1")
        _ = try await confirm(record, "cn1")
        try await record.request(by: record.root) { _ = try $0.removeNode("cn1") }
        #expect(try await record.findings().isEmpty)
    }

    @Test("what the old host tells late counts up to the move, and what ran on there beyond it counts for nobody (P4)")
    func usage() async throws {
        let record = try await Self.site()
        let moving = try await Self.create(record, "moving", on: "cn1")[0]
        try await record.report(moving.id, .running)
        let began = record.now
        record.pass(.seconds(100))
        try await Self.silent(record, "cn1")
        _ = try await confirm(record, "cn1")
        try await advance(record)
        record.pass(.seconds(60))
        let (old, new, now) = (try await record.node("cn1").id, try await record.node("cn2").id, record.now)
        let spool = SpoolID.generate(at: now)
        @Sendable func sample(_ from: Int, _ to: Int) -> UsageSample {
            UsageSample(
                instance: moving.id, from: began + .seconds(from), to: began + .seconds(to), vcpus: 1, ramMiB: 1)
        }
        try await record.store.write { sql in
            _ = try Accounting.count(
                UsageBatch(spool: spool, number: 1, samples: [sample(50, 100), sample(100, 150)], follows: nil),
                from: old, at: now, in: sql)
            _ = try Accounting.count(
                UsageBatch(spool: .generate(at: now), number: 1, samples: [sample(110, 150)], follows: nil), from: new,
                at: now, in: sql)
        }
        let day = began.day
        let rows = try await record.store.read {
            try $0.usage.report(
                .everything, from: CivilDay(daysSince1970: day.daysSince1970 - 1),
                to: CivilDay(daysSince1970: day.daysSince1970 + 1), by: .instance)
        }
        #expect(rows.map(\.amounts.serverMilliseconds) == [90_000])
    }
}
