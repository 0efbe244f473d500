import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("Event log")
struct EventLogTests {
    private func events(_ record: TestRecord) async throws -> [Event] {
        try await record.store.read { try $0.events.list(after: 0, .everything, limit: 10_000) }
    }

    @Test("an instance's whole life is in the log: who, by which request and operation, from what to what")
    func life() async throws {
        let record = try await TestRecord(hosts: 1)
        var ann = record.ann
        ann.request = "request-of-ann"
        let web = try await record.create("web", by: ann)[0]
        try await record.report(web.id, .preparing)
        try await record.report(web.id, .starting)
        try await record.report(web.id, .running)
        try await record.request(by: ann) { try $0.stopInstance("web", force: false) }
        try await record.report(web.id, .stopped)
        try await record.request(by: ann) { try $0.startInstance("web") }
        try await record.report(web.id, .failed, code: "boot_timeout")
        try await record.report(web.id, .running)
        try await record.request(by: ann) { try $0.deleteInstance("web") }
        try await record.report(web.id, .deleted)

        let events = try await events(record).filter { $0.resource.id == "\(web.id)" }
        #expect(
            events.map(\.kind) == [
                "instance.created", "instance.building", "instance.active", "instance.stop_requested",
                "instance.stopped", "instance.start_requested", "instance.error", "instance.active",
                "instance.delete_requested", "instance.deleted",
            ])
        let status = events.map { $0.changes["status"] }
        #expect(status[0] == .init(before: nil, after: "QUEUED"))
        for (earlier, later) in zip(status, status.dropFirst()) {
            #expect(earlier?.after == later?.before && later?.before != later?.after, "no state is passed over")
        }
        #expect(events.map { $0.operation == nil } == Array(repeating: false, count: events.count))
        let asked = events.filter { $0.kind.hasSuffix("requested") || $0.kind.hasSuffix("created") }
        #expect(asked.allSatisfy { $0.request == "request-of-ann" && $0.actorID == record.ann.user })
        #expect(asked.allSatisfy { $0.actor == "ann" && $0.owner == record.ann.user })
        #expect(events.first { $0.kind == "instance.active" }?.actor == "manager")
        // What ends an operation names it.
        for event in events where event.kind == "instance.deleted" {
            #expect(try await record.operation(event.operation).kind == .instanceDelete)
        }
    }

    @Test("what a guest is told is in no event")
    func metadata() async throws {
        let record = try await TestRecord(hosts: 1)
        try await record.request(by: record.ann) { commands in
            _ = try commands.createInstances(
                InstanceCreation(
                    name: "db", flavor: "small", image: "debian", userData: Array("canary-user-data".utf8),
                    metadata: ["token": "canary-metadata"]))
            _ = try commands.updateInstance("db", name: nil, metadata: ["token": "canary-other", "role": "x"])
        }
        let events = try await events(record)
        #expect(events.last?.changes["metadata"] == .init(before: "token", after: "role token"))
        #expect(!"\(events)".contains("canary"))
    }

    @Test("users, keys, flavors, nodes and images tell what changed")
    func everyKind() async throws {
        let record = try await TestRecord(hosts: 1)
        try await record.request(by: record.root) { commands in
            _ = try commands.createFlavor(name: "big", vcpus: 8, ramMiB: 1, diskGiB: 1, properties: ["a": "b"])
            _ = try commands.deleteFlavor("big")
            _ = try commands.updateNode("cn1") {
                $0.cpuAllocationRatio = 2
                $0.location = "rack 4"
            }
            _ = try commands.updateImage(
                "debian", name: "trixie", visibility: .private, properties: nil, minDiskGiB: nil, minRAMMiB: nil)
        }
        let changes = Dictionary(
            try await events(record).map { ($0.kind, $0.changes) }, uniquingKeysWith: { first, _ in first })
        #expect(changes["flavor.created"]?["properties.a"] == .init(before: nil, after: "b"))
        #expect(changes["flavor.deleted"]?["vcpus"] == .init(before: "8", after: nil))
        #expect(
            changes["node.updated"] == [
                "cpu_allocation_ratio": .init(before: nil, after: "2.0"),
                "location": .init(before: nil, after: "rack 4"),
            ])
        #expect(
            changes["image.updated"] == [
                "name": .init(before: "debian", after: "trixie"),
                "visibility": .init(before: "public", after: "private"),
            ])
    }

    @Test("a node that connects again as it was is no event; one that was rebooted, or has other hardware, is")
    func sessions() async throws {
        let record = try await TestRecord(hosts: 1)
        let (now, node) = (record.now, try await record.node("cn1"))
        func open(boot: String, from address: String) async throws {
            try await record.store.write { sql in
                _ = try FleetReports(in: sql, at: now).openSession(
                    node.id, bootID: boot, softwareVersion: "1", remoteAddress: address)
            }
        }
        try await open(boot: "a", from: "10.0.0.1:1000")
        let first = try await events(record).count
        try await open(boot: "a", from: "10.0.0.1:2000")
        #expect(try await events(record).count == first)
        try await open(boot: "b", from: "10.0.0.1:3000")
        #expect(try await events(record).last?.changes == ["boot_id": .init(before: "a", after: "b")])
        for memory in [8, 8, 16] as [Int64] {
            try await record.store.write { sql in
                var inventory = node.inventory
                inventory.memoryBytes = memory << 30
                inventory.diskAvailableBytes = .random(in: 1...1 << 40)
                try FleetReports(in: sql, at: now).takeInventory(node.id, inventory, location: "")
            }
        }
        #expect(try await events(record).count == first + 2)
        #expect(try await events(record).last?.changes.keys.sorted() == ["memory_bytes"])
    }
}
