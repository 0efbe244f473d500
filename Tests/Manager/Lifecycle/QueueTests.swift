import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

extension TestRecord {
    /// A pass over those that wait, as there is one every second.
    func advanceQueue(_ rules: PlacementQueue.Rules = .init()) async throws {
        try await request(by: .manager) { try $0.advanceQueue(rules: rules) }
    }

    func queue(
        _ name: String, by actor: Actor, flavor: String = "small", count: Int = 1, priority: Int = 0,
        preemption: Preemption? = nil, queues: Bool = true, node: String? = nil
    ) async throws -> [Instance] {
        try await request(by: actor) { commands in
            try commands.createInstances(
                InstanceCreation(
                    name: name, flavor: flavor, image: "debian", count: count, node: node, queues: queues,
                    priority: priority, preemption: preemption))
        }
    }

    func flavor(_ name: String, vcpus: Int, ramMiB: Int = 64, properties: [String: String] = [:]) async throws {
        try await request(by: root) {
            _ = try $0.createFlavor(name: name, vcpus: vcpus, ramMiB: ramMiB, diskGiB: 2, properties: properties)
        }
    }

    func waiting() async throws -> [QueueEntry] { try await store.read { try $0.queue.list(limit: 100) } }

    /// Is deleted, and its host has nothing left of it.
    func remove(_ id: InstanceID) async throws {
        try await request(by: root) { _ = try $0.deleteInstance("\(id)") }
        try await report(id, .deleted)
    }

    func run(_ id: InstanceID) async throws { try await report(id, .running) }
}

/// Instances that wait for room rather than being refused.
@Suite("Instances that wait in the queue")
struct QueueTests {
    @Test("what finds no room waits with a reason, is counted for its owner, and holds nothing of any host")
    func waits() async throws {
        let record = try await TestRecord(hosts: 1)
        _ = try await record.create("full", by: record.ann, count: 4)
        let waiting = try await record.queue("late", by: record.bob)[0]
        #expect(waiting.status == .queued && waiting.node == nil && waiting.desired == .running)
        #expect(
            waiting.statusReason.hasPrefix("waits for room: flavor 'small' wants 4 vCPUs"), "\(waiting.statusReason)")
        #expect(waiting.statusReason.contains("vcpus removed 1"))
        #expect(try await record.operation(waiting.operation).status == .running)
        #expect(try await record.node("cn1").instanceCount == 4)
        let used = try await record.request(by: record.bob) { try $0.quota(ofUser: "bob").used.amounts.instances }
        #expect(used == 1)
        try await record.advanceQueue()
        #expect(try await record.instance(waiting.id).node == nil)
        #expect(try await record.findings() == [])
    }

    @Test("without queue it is refused as ever, and nothing is left of it")
    func refused() async throws {
        let record = try await TestRecord(hosts: 1)
        _ = try await record.create("full", by: record.ann, count: 4)
        try await record.refused(.noCapacity, by: record.bob) {
            try $0.createInstances(InstanceCreation(name: "late", flavor: "small", image: "debian"))
        }
    }

    @Test("is placed when an instance goes, a node is enabled, or one joins; the first that came goes first")
    func placed() async throws {
        let record = try await TestRecord(hosts: 1)
        let full = try await record.create("full", by: record.ann, count: 4)
        let first = try await record.queue("first", by: record.bob)[0]
        record.pass(.seconds(1))
        let second = try await record.queue("second", by: record.bob)[0]
        let third = try await record.queue("third", by: record.ann)[0]
        try await record.remove(full[0].id)
        try await record.advanceQueue()
        let placed = try await record.instance(first.id)
        #expect(placed.node == full[0].node && placed.ipAddress != nil && placed.statusCode == "accepted")
        #expect(try await record.instance(second.id).node == nil)
        try await record.run(first.id)
        #expect(try await record.instance(first.id).status == .active)
        #expect(try await record.operation(first.operation).status == .succeeded)

        let now = record.now
        try await record.store.write { sql in
            var node = TestRecord.host(2, at: now)
            node.enabled = false
            try sql.nodes.insert(node)
            try sql.nodes.update(node)
        }
        try await record.advanceQueue()
        #expect(try await record.waiting().count == 2)
        try await record.request(by: record.root) { _ = try $0.enableNodes(["cn2"]) }
        try await record.advanceQueue()
        let other = try await record.node("cn2").id
        #expect(try await record.instance(second.id).node == other)
        #expect(try await record.instance(third.id).node == other)
        #expect(try await record.waiting().isEmpty)
        #expect(try await record.findings() == [])
        #expect(try await record.eventKinds().count { $0 == "instance.placed" } == 3)
    }

    @Test("priority goes before age, as far as it counts for")
    func priority() async throws {
        let record = try await TestRecord(hosts: 1)
        let full = try await record.create("full", by: record.ann, count: 4)
        let old = try await record.queue("old", by: record.bob)[0]
        record.pass(.seconds(360 * 5 + 1))
        let lesser = try await record.queue("lesser", by: record.bob, priority: 5)[0]
        let greater = try await record.queue("greater", by: record.bob, priority: 6)[0]
        #expect(try await record.waiting().map(\.instance) == [greater.id, old.id, lesser.id])
        try await record.remove(full[0].id)
        try await record.advanceQueue()
        #expect(try await record.instance(greater.id).node != nil)
        #expect(try await record.instance(old.id).node == nil)
    }

    @Test("of several in one request those that fit are placed, and the others wait")
    func several() async throws {
        let record = try await TestRecord(hosts: 1)
        let made = try await record.queue("web", by: record.ann, count: 6)
        #expect(made.map(\.name) == (1...6).map { "web-\($0)" })
        #expect(made.map { $0.node != nil } == [true, true, true, true, false, false])
        #expect(try await record.findings() == [])
    }

    @Test("what no node could ever take is refused at once")
    func impossible() async throws {
        let record = try await TestRecord(hosts: 2)
        try await record.flavor("huge", vcpus: 17)
        try await record.flavor("whole", vcpus: 16)
        for flavor in ["huge"] {
            let refusal = try await record.refused(.unprocessable, by: record.ann) {
                try $0.createInstances(InstanceCreation(name: "big", flavor: flavor, image: "debian", queues: true))
            }
            #expect(refusal?.sentence.contains("for ever") == true)
        }
        _ = try await record.create("some", by: record.ann, count: 2)
        #expect(try await record.queue("big", by: record.ann, flavor: "whole")[0].node == nil)
        let empty = try await TestRecord(hosts: 0)
        try await empty.refused(.unprocessable, by: empty.ann) {
            try $0.createInstances(InstanceCreation(name: "big", flavor: "small", image: "debian", queues: true))
        }
    }

    @Test("one that waits can be renamed and deleted; it cannot be started, stopped or rebooted")
    func requests() async throws {
        let record = try await TestRecord(hosts: 1)
        _ = try await record.create("full", by: record.ann, count: 4)
        let waiting = try await record.queue("late", by: record.bob)[0]
        try await record.refused(.conflict, by: record.bob) { try $0.startInstance("late") }
        try await record.refused(.conflict, by: record.bob) { try $0.stopInstance("late", force: false) }
        try await record.refused(.conflict, by: record.bob) { try $0.rebootInstance("late", force: true) }
        try await record.request(by: record.bob) {
            _ = try $0.updateInstance("late", name: "later", metadata: ["a": "b"])
        }
        let deleted = try await record.request(by: record.bob) { try $0.deleteInstance("later") }
        #expect(deleted.status == .deleted && deleted.deletedAt != nil)
        #expect(try await record.operation(waiting.operation).errorCode == "superseded")
        #expect(try await record.operation(deleted.operation).status == .succeeded)
        let used = try await record.request(by: record.bob) { try $0.quota(ofUser: "bob").used.amounts.instances }
        #expect(used == 0)
        #expect(try await record.waiting().isEmpty)
        #expect(try await record.findings() == [])
    }

    @Test("who waits long enough gets a host kept, which neither direct requests nor later ones may take from it")
    func kept() async throws {
        let record = try await TestRecord(hosts: 2)
        try await record.flavor("whole", vcpus: 16)
        try await record.flavor("half", vcpus: 8)
        let guests = try await record.queue("guest", by: record.ann, flavor: "half", count: 4)
        let big = try await record.queue("big", by: record.bob, flavor: "whole")[0]
        try await record.advanceQueue()
        #expect(try await record.waiting()[0].reserved == nil)
        record.pass(.seconds(300))
        try await record.advanceQueue()
        let kept = try #require(try await record.waiting()[0].reserved)
        #expect(try await record.node("cn1").id == kept)
        let there = guests.filter { $0.node == kept }
        try await record.remove(there[0].id)
        let refusal = try await record.refused(.noCapacity, by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "quick", flavor: "half", image: "debian"))
        }
        #expect(refusal?.removedBy.first { $0.filter == "reserved" }?.hosts == 1)
        let later = try await record.queue("later", by: record.ann, flavor: "half")[0]
        try await record.advanceQueue()
        #expect(try await record.instance(later.id).node == nil)
        try await record.remove(there[1].id)
        try await record.advanceQueue()
        #expect(try await record.instance(big.id).node == kept)
        #expect(try await record.findings() == [])
    }

    @Test("a host is kept for one that would be overtaken again and again")
    func overtaken() async throws {
        let record = try await TestRecord(hosts: 1)
        try await record.flavor("whole", vcpus: 16)
        var guests = try await record.queue("guest", by: record.ann, count: 4)
        let big = try await record.queue("big", by: record.bob, flavor: "whole")[0]
        for turn in 1...10 {
            record.pass(.seconds(1))
            let next = try await record.queue("next\(turn)", by: record.ann)[0]
            try await record.remove(guests.removeFirst().id)
            try await record.advanceQueue()
            let placed = try await record.instance(next.id)
            #expect(placed.node != nil)
            guests.append(placed)
        }
        #expect(try await record.waiting()[0].overtaken == 10)
        record.pass(.seconds(1))
        let next = try await record.queue("eleventh", by: record.ann)[0]
        for guest in guests {
            try await record.remove(guest.id)
            try await record.advanceQueue()
        }
        #expect(try await record.instance(big.id).node != nil)
        #expect(try await record.instance(next.id).node == nil)
    }

    @Test("one whose ground has gone waits with that reason, and holds up nobody")
    func blocked() async throws {
        let record = try await TestRecord(hosts: 1)
        try await record.request(by: record.root) { commands in
            _ = try commands.createAggregate(name: "z", metadata: ["availability_zone": "denver"])
            _ = try commands.addNodes(["cn1"], to: "z")
        }
        let full = try await record.create("full", by: record.ann, count: 4)
        let zoned = try await record.request(by: record.bob) {
            try $0.createInstances(
                InstanceCreation(
                    name: "zoned", flavor: "small", image: "debian", availabilityZone: "denver", queues: true))[0]
        }
        let plain = try await record.queue("plain", by: record.bob)[0]
        try await record.request(by: record.root) {
            _ = try $0.removeNode("cn1", from: "z")
            _ = try $0.deleteAggregate("z")
        }
        try await record.remove(full[0].id)
        try await record.advanceQueue()
        #expect(try await record.instance(zoned.id).node == nil)
        #expect(try await record.waiting()[0].reason.contains("no availability zone 'denver'"))
        #expect(try await record.instance(plain.id).node != nil)
    }

    @Test("64 requests for 5 devices that wait: 5 have one, and the next gets what is given back")
    func devices() async throws {
        let record = try await TestRecord(hosts: 1)
        try await record.request(by: record.root) {
            var match = DeviceMatch()
            match.vendor = 0x10DE
            match.product = 0x11BF
            _ = try $0.createDeviceRule(.alias, alias: "k2", match: match, description: "")
        }
        let (node, now) = (try await record.node("cn1"), record.now)
        try await record.store.write { sql in
            var inventory = node.inventory
            inventory.cpuCount = 64
            inventory.pciDevices = (1...5).map { (slot: Int) in
                PCIDevice(
                    address: "0000:0\(slot):00.0", vendor: 0x10DE, product: 0x11BF, classCode: 0x030000,
                    iommuGroup: slot,
                    numaNode: 0, driver: "nvidia")
            }
            try FleetReports(in: sql, at: now).takeInventory(node.id, inventory, location: "")
        }
        try await record.flavor("card", vcpus: 1, properties: ["pci_passthrough:alias": "k2:1"])
        var made: [Instance] = []
        for number in 1...64 {
            record.pass(.milliseconds(1))
            made += try await record.queue("w\(number)", by: record.ann, flavor: "card")
        }
        #expect(made.count { $0.node != nil } == 5)
        #expect(made[63].statusReason == "waits for devices: no device 'k2' is free: of 5, 5 are in use")
        try await record.run(made[0].id)
        try await record.request(by: record.ann) { _ = try $0.stopInstance("w1", force: true) }
        try await record.report(made[0].id, .stopped)
        try await record.advanceQueue()
        #expect(try await record.instance(made[5].id).node != nil)
        #expect(try await record.waiting().count == 58)
        // The first one waits now for a card on its own node.
        try await record.refused(.noCapacity, by: record.ann) { try $0.startInstance("w1") }
        let again = try await record.request(by: record.ann) { try $0.startInstance("w1", queues: true) }
        #expect(again.isWaiting && again.node != nil && again.desired == .stopped)
        #expect(try await record.waiting().count == 59)
        #expect(try await record.findings() == [])
        let back = try await record.request(by: record.ann) { try $0.stopInstance("w1", force: false) }
        #expect(back.status == .stopped)
        #expect(try await record.waiting().count == 58)
    }
}
