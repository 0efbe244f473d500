import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

/// What users ask of instances, on a real record.
@Suite("Commands on instances")
struct InstanceCommandsTests {
    @Test("creating claims, records, tells the node, and ends when the guest answers")
    func create() async throws {
        let record = try await TestRecord(hosts: 1)
        let made = try await record.create("web", by: record.ann)[0]
        #expect(made.status == .queued && made.desired == .running && made.owner == record.ann.user)
        #expect(made.ipAddress == "10.77.1.2" && made.hostName == "web")
        let host = try await record.node("cn1")
        #expect(host.claimedVCPUs == 4 && host.claimedRAMMiB == 2048 && host.claimedDiskGiB == 10)
        #expect(host.instanceCount == 1)
        let told = try await record.store.read { sql in
            (
                try sql.instances.changed(on: host.id, since: Revision(0)).map(\.id),
                try sql.images.changedPlacements(on: host.id, since: Revision(0)).map(\.image)
            )
        }
        #expect(told.0 == [made.id] && told.1 == [record.image.id])
        #expect(try await record.operation(made.operation).status == .running)

        try await record.report(made.id, .preparing)
        #expect(try await record.instance(made.id).status == .building)
        record.pass(.seconds(9))
        try await record.report(made.id, .running)
        let ready = try await record.instance(made.id)
        #expect(ready.status == .active && ready.readyAt == record.now)
        let operation = try await record.operation(made.operation)
        #expect(operation.status == .succeeded && operation.progress == 100 && operation.finishedAt == record.now)
        #expect(operation.steps.map(\.name) == ["accepted", "prepare", "ready"])
        #expect(try await record.eventKinds() == ["instance.created", "instance.building", "instance.active"])
    }

    @Test("several are made together or not at all, each with a name and a host name of its own (CTL-10)")
    func several() async throws {
        let record = try await TestRecord(hosts: 2)
        let made = try await record.create("w", by: record.ann, count: 3)
        #expect(made.map(\.name) == ["w-1", "w-2", "w-3"] && made.map(\.hostName) == ["w-1", "w-2", "w-3"])
        #expect(Set(made.map(\.node)).count == 2, "they spread")
        #expect(Set(made.compactMap(\.macAddress)).count == 3)

        let refusal = try await record.refused(.noCapacity, by: record.ann) { commands in
            try commands.createInstances(
                InstanceCreation(name: "x", flavor: "small", image: "debian", count: 6))
        }
        #expect(refusal?.sentence.contains("only 5 of 6 instances fit") == true)
        #expect(refusal?.removedBy.first { $0.filter == "vcpus" }?.hosts == 2)
        #expect(try await record.create("y", by: record.ann, count: 5).count == 5)
    }

    @Test("long names keep their number in the host name, which stays one (RFC 1123)")
    func longNames() async throws {
        let record = try await TestRecord(hosts: 1)
        let name = String(repeating: "n", count: 128)
        let made = try await record.request(by: record.ann) { commands in
            try commands.createInstances(
                InstanceCreation(name: name, flavor: "small", image: "debian", count: 2))
                + commands.createInstances(
                    InstanceCreation(
                        name: "short", flavor: "small", image: "debian", count: 2,
                        hostName: String(repeating: "h", count: 63)))
        }
        #expect(made.map(\.hostName.utf8.count) == [63, 63, 63, 63])
        #expect(Set(made.map(\.hostName)).count == 4)
        #expect(made.allSatisfy { $0.hostName.hasSuffix("-1") || $0.hostName.hasSuffix("-2") })
    }

    @Test("many at once never claim more than there is (P3)")
    func capacity() async throws {
        let record = try await TestRecord(hosts: 2)
        let placed = await withTaskGroup(of: Bool.self) { group in
            for number in 0..<40 {
                let actor = number % 2 == 0 ? record.ann : record.bob
                group.addTask { (try? await record.create("i\(number)", by: actor)) != nil }
            }
            return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        #expect(placed == 8)
        let everything = try await record.everything()
        for node in everything.nodes {
            #expect(node.claimedVCPUs == 16 && node.claimedRAMMiB == 8192 && node.instanceCount == 4)
            let addresses = everything.instances.filter { $0.node == node.id }.compactMap(\.ipAddress)
            #expect(Set(addresses).count == 4)
        }
        #expect(Set(everything.instances.compactMap(\.macAddress)).count == 8)
    }

    @Test("what cannot be made is refused with its code, and nothing is left of it")
    func misfits() async throws {
        let record = try await TestRecord()
        try await record.request(by: record.root) { commands in
            _ = try commands.createFlavor(name: "flat", vcpus: 1, ramMiB: 2048, diskGiB: 1, properties: [:])
            _ = try commands.createImage(
                name: "new", format: nil, minDiskGiB: 0, minRAMMiB: 0, properties: [:], visibility: .public)
            _ = try commands.createImage(
                name: "secret", format: nil, minDiskGiB: 0, minRAMMiB: 0, properties: [:], visibility: .private)
            _ = try commands.updateImage(
                "debian", name: nil, visibility: nil, properties: ["architecture": "riscv64"], minDiskGiB: nil,
                minRAMMiB: 1024)
        }
        let cases: [(String, String, String?, String?, Refusal.Code)] = [
            ("nosuch", "debian", nil, nil, .notFound), ("small", "nosuch", nil, nil, .notFound),
            ("small", "secret", nil, nil, .notFound), ("small", "debian", "nokey", nil, .notFound),
            ("small", "debian", nil, "nonode", .notFound), ("small", "new", nil, nil, .imageNotReady),
            ("flat", "debian", nil, nil, .flavorTooSmall), ("small", "debian", nil, nil, .noCapacity),
        ]
        for (flavor, image, key, node, code) in cases {
            let refusal = try await record.refused(code, by: record.ann) { commands in
                try commands.createInstances(
                    InstanceCreation(name: "i", flavor: flavor, image: image, keyName: key, node: node))
            }
            if code == .noCapacity { #expect(refusal?.removedBy.first { $0.filter == "architecture" }?.hosts == 2) }
        }
        try await record.refused(.forbidden, by: .manager) { commands in
            try commands.createInstances(InstanceCreation(name: "i", flavor: "small", image: "debian"))
        }
    }

    @Test("stopped and started, it keeps UUID, claim, address and name (CTL-03); deleted, it gives all of them back")
    func cycle() async throws {
        let record = try await TestRecord(hosts: 1)
        let made = try await record.create("web", by: record.ann)[0]
        try await record.report(made.id, .running)

        let stopping = try await record.request(by: record.ann) { try $0.stopInstance("web", force: false) }
        #expect(stopping.status == .stopping && stopping.stopTimeoutSeconds == 90)
        #expect(stopping.generation > made.generation)
        try await record.report(made.id, .stopped)
        let stopped = try await record.instance(made.id)
        #expect(stopped.status == .stopped && stopped.readyAt == nil)
        #expect(stopped.ipAddress == made.ipAddress && stopped.macAddress == made.macAddress)
        #expect(try await record.node("cn1").instanceCount == 1)
        #expect(try await record.operation(stopping.operation).status == .succeeded)
        try await record.refused(.conflict, by: record.ann) { try $0.stopInstance("web", force: true) }
        try await record.refused(.conflict, by: record.ann) { try $0.rebootInstance("web", force: false) }

        let starting = try await record.request(by: record.ann) { try $0.startInstance("web") }
        #expect(starting.id == made.id && starting.powerCycle > stopped.powerCycle)
        try await record.report(made.id, .running)
        #expect(try await record.operation(starting.operation).status == .succeeded)
        try await record.refused(.conflict, by: record.ann) { try $0.startInstance("web") }

        let rebooting = try await record.request(by: record.ann) { try $0.rebootInstance("web", force: true) }
        #expect(rebooting.status == .rebooting && rebooting.force && rebooting.powerCycle > starting.powerCycle)
        try await record.report(made.id, .running)
        #expect(try await record.instance(made.id).status == .active)

        let deleting = try await record.request(by: record.ann) { try $0.deleteInstance("web") }
        #expect(deleting.status == .deleting)
        // The host is away: nothing is free until it has said that nothing is left.
        #expect(try await record.node("cn1").instanceCount == 1)
        #expect(try await record.operation(deleting.operation).status == .running)
        try await record.report(made.id, .deleted)
        let gone = try await record.instance(made.id)
        #expect(gone.status == .deleted && gone.ipAddress == nil && gone.macAddress == nil)
        let host = try await record.node("cn1")
        #expect(
            host.instanceCount == 0 && host.claimedVCPUs == 0 && host.claimedRAMMiB == 0 && host.claimedDiskGiB == 0)
        #expect(try await record.operation(deleting.operation).status == .succeeded)
        try await record.refused(.notFound, by: record.ann) { try $0.startInstance("web") }
        #expect(try await record.create("web", by: record.bob)[0].ipAddress == made.ipAddress)
    }

    @Test("one operation at a time: the one in the way is named; force and delete take its place")
    func conflict() async throws {
        let record = try await TestRecord(hosts: 1)
        let made = try await record.create("web", by: record.ann)[0]
        for refusal in [
            try await record.refused(.conflict, by: record.ann, { try $0.stopInstance("web", force: false) }),
            try await record.refused(.conflict, by: record.ann, { try $0.rebootInstance("web", force: true) }),
        ] { #expect(refusal?.operation == made.operation) }

        let stopping = try await record.request(by: record.ann) { try $0.stopInstance("web", force: true) }
        let superseded = try await record.operation(made.operation)
        #expect(superseded.status == .failed && superseded.errorCode == "superseded")
        #expect(stopping.force)
        // What the agent still says of the older wish changes nothing (P1).
        let now = record.now
        try await record.store.write { sql in
            try FleetReports(in: sql, at: now).observe(
                [
                    ObservedInstance(
                        instance: made.id, epoch: made.epoch, generation: made.generation, powerCycle: made.powerCycle,
                        state: .running, at: now)
                ], on: try #require(made.node))
        }
        #expect(try await record.instance(made.id).status == .stopping)

        let deleting = try await record.request(by: record.ann) { try $0.deleteInstance("web") }
        #expect(try await record.operation(stopping.operation).errorCode == "superseded")
        try await record.report(made.id, .deleted)
        #expect(try await record.operation(deleting.operation).status == .succeeded)
        #expect(try await record.operation(made.operation) == superseded, "what has ended does not change any more")
    }

    @Test("what could not be stopped can be forced off")
    func forceAfterFailure() async throws {
        let record = try await TestRecord(hosts: 1)
        let made = try await record.create("web", by: record.ann)[0]
        try await record.report(made.id, .running)
        try await record.request(by: record.ann) { try $0.stopInstance("web", force: false) }
        try await record.report(made.id, .failed, code: "libvirt", isFinal: true)
        let failed = try await record.instance(made.id)
        #expect(failed.status == .error && failed.desired == .stopped)
        let forced = try await record.request(by: record.ann) { try $0.stopInstance("web", force: true) }
        #expect(forced.status == .stopping && forced.force && forced.generation > failed.generation)
        try await record.report(made.id, .stopped)
        #expect(try await record.instance(made.id).status == .stopped)
    }

    @Test("another's instance is not there, by name and by ID, whatever is asked (P9)")
    func foreign() async throws {
        let record = try await TestRecord(hosts: 1)
        let made = try await record.create("web", by: record.ann)[0]
        try await record.report(made.id, .running)
        let requests: [@Sendable (Commands, String) throws -> Instance] = [
            { try $0.instance($1) }, { try $0.startInstance($1) }, { try $0.stopInstance($1, force: true) },
            { try $0.rebootInstance($1, force: true) }, { try $0.deleteInstance($1) },
            { try $0.updateInstance($1, name: "mine", metadata: nil) },
        ]
        for reference in ["web", "\(made.id)", "\(made.id)".uppercased()] {
            for request in requests {
                let refusal = try await record.refused(.notFound, by: record.bob) { try request($0, reference) }
                #expect(refusal == Refusal.notFound("instance", reference), "it says the same as of one that never was")
            }
        }
        #expect(try await record.request(by: record.root) { try $0.instance("web").id } == made.id)
        // Two of one name: each means their own, and a superuser has to say which.
        let other = try await record.create("web", by: record.bob)[0]
        #expect(try await record.request(by: record.bob) { try $0.instance("web").id } == other.id)
        #expect(try await record.request(by: record.ann) { try $0.instance("web").id } == made.id)
        try await record.refused(.ambiguousName, by: record.root) { try $0.deleteInstance("web") }
        #expect(try await record.request(by: record.root) { try $0.instance("\(other.id)").id } == other.id)
    }

    @Test("a node speaks only for instances that are placed on it (P9)")
    func foreignReport() async throws {
        let record = try await TestRecord(hosts: 2)
        let made = try await record.create("web", by: record.ann, node: "cn1")[0]
        let (other, now, before) = (try await record.node("cn2"), record.now, try await record.everything())
        try await record.store.write { sql in
            try FleetReports(in: sql, at: now).observe(
                [
                    ObservedInstance(
                        instance: made.id, epoch: made.epoch, generation: made.generation, powerCycle: made.powerCycle,
                        state: .deleted, at: now)
                ], on: other.id)
        }
        #expect(try await record.everything() == before)
    }
}
