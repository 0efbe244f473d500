import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

/// Taking nodes out of service and back, on a real record (P6).
@Suite("Commands on nodes")
struct NodeCommandsTests {
    @Test("of thousands of nodes that are not there, each counts once, and the first are named")
    func manyUnknown() async throws {
        let record = try await TestRecord(hosts: 1)
        let names = (0..<5000).map { "absent-\($0)" }
        let drain = try await record.request(by: record.root) { try $0.disableNodes(names + names, DrainOrder()) }
        #expect(drain.status == .failed && drain.hosts.count == 5000)
        let detail = drain.errorDetail ?? ""
        #expect(detail.hasPrefix("absent-0: there is no such node; ") && detail.hasSuffix("; and 4900 more"))
        #expect(detail.utf8.count < 65_536)
    }

    @Test("a dry run says what would happen and changes nothing (HLT-08)")
    func dryRun() async throws {
        let record = try await TestRecord()
        let made = try await record.create("web", by: record.ann, node: "cn1")[0]
        try await record.report(made.id, .running)
        let before = try await record.everything()
        let planned = try await record.request(by: record.root) { try $0.planDisabling(["cn1", "cn2", "cn9"]) }
        #expect(planned.map(\.ok) == [true, true, false])
        #expect(planned[0].actions == ["disable node cn1", "stop instance \(made.id) (web)"])
        #expect(planned[1].actions == ["disable node cn2"])
        #expect(planned[2].detail == "there is no such node")
        #expect(try await record.everything() == before)
    }

    @Test("for real: no new instance at once, guests asked to stop, done when none is left; enabling starts them again")
    func drain() async throws {
        let record = try await TestRecord()
        let web = try await record.create("web", by: record.ann, node: "cn1")[0]
        let off = try await record.create("off", by: record.bob, node: "cn1")[0]
        for made in [web, off] { try await record.report(made.id, .running) }
        try await record.request(by: record.bob) { try $0.stopInstance("off", force: false) }
        try await record.report(off.id, .stopped)

        let drain = try await record.request(by: record.root) {
            try $0.disableNodes(["cn1", "cn1", "cn9"], DrainOrder(reason: "new disks"))
        }
        #expect(drain.hosts.map(\.node) == ["cn1", "cn9"], "named twice, it is emptied once")
        #expect(drain.hosts.map(\.state) == ["stopping", "failed"])
        let node = try await record.node("cn1")
        #expect(!node.enabled && node.disabledReason == "new disks" && node.drainState == .draining)
        let stopping = try await record.instance(web.id)
        #expect(stopping.desired == .stopped && stopping.stoppedByDrain && stopping.stopTimeoutSeconds == nil)
        #expect(try await record.create("elsewhere", by: record.ann)[0].node != node.id)
        let refusal = try await record.refused(.noCapacity, by: record.root) { commands in
            try commands.createInstances(
                InstanceCreation(name: "here", flavor: "small", image: "debian", node: "cn1"))
        }
        #expect(refusal?.removedBy.first { $0.filter == "enabled" }?.hosts == 1)
        for name in ["web", "off"] {
            let owner = name == "web" ? record.ann : record.bob
            try await record.refused(.nodeDisabled, by: owner) { try $0.startInstance(name) }
            try await record.refused(.nodeDisabled, by: owner) { try $0.rebootInstance(name, force: true) }
        }

        record.pass(.seconds(20))
        try await record.advanceDrains()
        #expect(try await record.operation(drain.id).hosts[0].remaining == ["web"])
        try await record.report(web.id, .stopped)
        try await record.advanceDrains()
        let ended = try await record.operation(drain.id)
        #expect(ended.hosts[0].state == "done" && ended.hosts[0].stopped == ["web"])
        #expect(ended.status == .failed && ended.errorDetail == "cn9: there is no such node", "each node for itself")
        #expect(try await record.node("cn1").drainState == .drained)

        let enabled = try await record.request(by: record.root) { try $0.enableNodes(["cn9", "cn1"]) }
        #expect(enabled.map(\.ok) == [false, true])
        #expect(enabled[1].actions == ["start instance \(web.id) (web)"])
        #expect(try await record.instance(web.id).desired == .running)
        #expect(try await record.instance(off.id).desired == .stopped, "what its owner stopped stays off")
        let again = try await record.node("cn1")
        #expect(again.enabled && again.disabledReason.isEmpty && again.drainState == .none)
    }

    @Test("guests that do not stop in time: without force they run on and the node is reported")
    func late() async throws {
        let record = try await TestRecord()
        let web = try await record.create("web", by: record.ann, node: "cn1")[0]
        try await record.report(web.id, .running)
        let drain = try await record.request(by: record.root) {
            try $0.disableNodes(["cn1", "cn2"], DrainOrder(vmTimeoutSeconds: 60))
        }
        #expect(drain.hosts[1].state == "done", "an empty node is done at once")
        record.pass(.seconds(59))
        try await record.advanceDrains()
        #expect(try await record.operation(drain.id).status == .running)
        record.pass(.seconds(1))
        try await record.advanceDrains()
        let ended = try await record.operation(drain.id)
        #expect(ended.status == .failed && ended.errorCode == "drain_incomplete")
        #expect(ended.hosts[0].detail.contains("--force-shutoff"))
        #expect(try await record.node("cn1").drainState == .failed)
        #expect(try await record.instance(web.id).force == false)
        #expect(try await record.node("cn1").enabled == false, "it takes nothing new all the same (P6)")
    }

    @Test("with force they are forced off once their time is up; a host that cannot even do that is reported")
    func forced() async throws {
        let record = try await TestRecord()
        let web = try await record.create("web", by: record.ann, node: "cn1")[0]
        let lost = try await record.create("lost", by: record.ann, node: "cn2")[0]
        for made in [web, lost] { try await record.report(made.id, .running) }
        let drain = try await record.request(by: record.root) {
            try $0.disableNodes(["cn1", "cn2"], DrainOrder(vmTimeoutSeconds: 60, forceShutoff: true))
        }
        record.pass(.seconds(60))
        try await record.advanceDrains()
        #expect(try await record.instance(web.id).force)
        let forcing = try await record.operation(drain.id)
        #expect(forcing.hosts.map(\.forced) == [["web"], ["lost"]] && forcing.status == .running)
        let generation = try await record.instance(web.id).generation
        try await record.advanceDrains()
        #expect(try await record.instance(web.id).generation == generation, "forced once, not at each look")
        try await record.report(web.id, .stopped)
        try await record.report(lost.id, .stopping, code: "shutting_down")
        #expect(try await record.instance(lost.id).statusReason == "being forced off")
        try await record.report(lost.id, .stopping, code: "hypervisor_unreachable")
        record.pass(.seconds(60))
        try await record.advanceDrains()
        let ended = try await record.operation(drain.id)
        #expect(ended.hosts.map(\.state) == ["done", "failed"])
        #expect(ended.hosts[1].remaining == ["lost"])
        #expect(
            ended.hosts[1].detail == "1 guests still run after 120 s; its agent says: the host cannot stop it")
    }

    @Test("a guest whose stop failed is forced off like the others, and holds nothing up")
    func failedStop() async throws {
        let record = try await TestRecord(hosts: 1)
        let web = try await record.create("web", by: record.ann)[0]
        try await record.report(web.id, .running)
        try await record.request(by: record.ann) { try $0.stopInstance("web", force: false) }
        try await record.report(web.id, .failed, code: "libvirt", isFinal: true)
        let drain = try await record.request(by: record.root) {
            try $0.disableNodes(["cn1"], DrainOrder(vmTimeoutSeconds: 0, forceShutoff: true))
        }
        #expect(drain.hosts[0].forced == ["web"])
        #expect(try await record.instance(web.id).force)
        try await record.report(web.id, .stopped)
        try await record.advanceDrains()
        #expect(try await record.operation(drain.id).status == .succeeded)
        try await record.request(by: record.root) { try $0.enableNodes(["cn1"]) }
        #expect(try await record.instance(web.id).desired == .stopped, "its owner had asked for that, not the drain")
    }

    @Test("a node that was enabled again meanwhile ends its drain, and keeps its guests")
    func enabledMeanwhile() async throws {
        let record = try await TestRecord(hosts: 1)
        let web = try await record.create("web", by: record.ann)[0]
        try await record.report(web.id, .running)
        let drain = try await record.request(by: record.root) { try $0.disableNodes(["cn1"], DrainOrder()) }
        try await record.request(by: record.root) { try $0.enableNodes(["cn1"]) }
        try await record.advanceDrains()
        let ended = try await record.operation(drain.id)
        #expect(ended.status == .failed && ended.hosts[0].detail == "the node was enabled again meanwhile")
        let kept = try await record.instance(web.id)
        #expect(kept.desired == .running)
        #expect(kept.stopTimeoutSeconds == 90, "a guest that has not obeyed the drain yet is not asked for ever")
    }

    @Test("a node goes only when it holds no instance, and its certificate with it")
    func removal() async throws {
        let record = try await TestRecord(hosts: 1)
        let web = try await record.create("web", by: record.ann)[0]
        try await record.refused(.inUse, by: record.root) { try $0.removeNode("cn1") }
        try await record.request(by: record.ann) { try $0.deleteInstance("web") }
        try await record.refused(.inUse, by: record.root) { try $0.removeNode("cn1") }
        try await record.report(web.id, .deleted)
        let gone = try await record.request(by: record.root) { try $0.removeNode("cn1") }
        let left = try await record.store.read { sql in
            (try sql.nodes.find(gone.id), try sql.nodes.isRevoked(serial: "1"), try sql.images.placements(on: gone.id))
        }
        #expect(left.0 == nil && left.1 && left.2.isEmpty)
    }

    // MARK: Prefill

    private func image(
        _ record: TestRecord, _ state: FleetReports.ObservedImage.State, on node: String, held: Int, reason: String = ""
    ) async throws {
        let (now, image, id) = (record.now, record.image.id, try await record.node(node).id)
        try await record.store.write { sql in
            try FleetReports(in: sql, at: now).observe(
                [
                    .init(
                        image: image, state: state, chunksHeld: held, chunksTotal: 10,
                        bytesReceived: Int64(held) << 22, reason: reason)
                ], on: id)
        }
    }

    @Test("a prefill is one chain from the manager through the nodes, and ends when each holds the image")
    func prefill() async throws {
        let record = try await TestRecord(hosts: 3)
        let operation = try await record.request(by: record.root) {
            try $0.prefill("debian", on: ["cn1", "cn2", "cn2", "cn3"])
        }
        #expect(operation.hosts.map(\.source) == ["manager", "cn1", "cn2"])
        try await image(record, .held, on: "cn1", held: 10)
        try await image(record, .fetching, on: "cn2", held: 5)
        var current = try await record.operation(operation.id)
        #expect(current.hosts.map(\.progress) == [100, 50, 0] && current.progress == 50)
        try await image(record, .held, on: "cn2", held: 10)
        try await image(record, .held, on: "cn3", held: 10)
        current = try await record.operation(operation.id)
        #expect(current.status == .succeeded)
        // All hold it already: nothing is left to wait for.
        let again = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn3", "cn1"]) }
        #expect(again.status == .succeeded && again.progress == 100)
    }

    @Test("a prefill to a node that is not there, or of an image that is not or has failed, changes nothing")
    func prefillRefused() async throws {
        let record = try await TestRecord(hosts: 1)
        try await record.refused(.notFound, by: record.root) { try $0.prefill("debian", on: ["cn1", "cn9"]) }
        try await record.refused(.notFound, by: record.root) { try $0.prefill("nosuch", on: ["cn1"]) }
        try await record.request(by: record.root) {
            _ = try $0.createImage(
                name: "new", format: nil, minDiskGiB: 0, minRAMMiB: 0, properties: [:], visibility: .public)
            let image = try $0.beginUpload("new")
            try $0.failImport(image.id, code: "x", sentence: "broken")
        }
        try await record.refused(.imageNotReady, by: record.root) { try $0.prefill("new", on: ["cn1"]) }
    }

    @Test("a node that fails or is down does not hold up a prefill, and is named; asked again, it fetches anew")
    func prefillFailed() async throws {
        let record = try await TestRecord(hosts: 3)
        let operation = try await record.request(by: record.root) {
            try $0.prefill("debian", on: ["cn1", "cn2", "cn3"])
        }
        try await image(record, .failed, on: "cn1", held: 2, reason: "the disk is full")
        try await image(record, .held, on: "cn2", held: 10)
        let (now, down) = (record.now, try await record.node("cn3"))
        try await record.store.write { sql in
            try FleetReports(in: sql, at: now).setLiveness(
                down.id, .down, session: down.sessionEpoch, lastSeenAt: nil, detail: "")
        }
        let ended = try await record.operation(operation.id)
        #expect(ended.status == .failed && ended.errorCode == "prefill_incomplete")
        #expect(ended.errorDetail?.contains("cn1: the disk is full") == true)
        #expect(ended.errorDetail?.contains("cn3: the node is down") == true)
        let again = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1"]) }
        #expect(again.status == .running && again.hosts[0].state == "fetching")
    }

    @Test("a prefill that another took a failed node over from ends with the nodes that it has left")
    func prefillOvertaken() async throws {
        let record = try await TestRecord(hosts: 2)
        let first = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1", "cn2"]) }
        try await image(record, .failed, on: "cn1", held: 2, reason: "the disk is full")
        let second = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1"]) }
        try await image(record, .held, on: "cn2", held: 10)
        let ended = try await record.operation(first.id)
        #expect(ended.status == .failed && ended.errorDetail?.contains("cn1: the disk is full") == true)
        try await image(record, .held, on: "cn1", held: 10)
        #expect(try await record.operation(second.id).status == .succeeded)
    }
}
