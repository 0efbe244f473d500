import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("Hosts that their own operators take back")
struct HostHoldTests {
    private func hear(_ word: HostWord, _ record: TestRecord, from name: String = "cn1") async throws {
        let id = try await record.node(name).id
        try await record.request(by: .manager) { try $0.hear(word, from: id) }
    }

    private func left(_ record: TestRecord, _ reason: String = "lecture") -> HostWord {
        .left(HostHold(reason: reason, since: record.now))
    }

    @Test("the node is out of service at once, its guests are stopped, nothing is placed there, and why is shown")
    func leave() async throws {
        let record = try await TestRecord(hosts: 1)
        let web = try await record.create("web", by: record.ann)[0]
        try await record.report(web.id, .running)
        let word = left(record)
        try await hear(word, record)
        var node = try await record.node("cn1")
        #expect(!node.enabled && node.disabledBy == "host" && node.disabledReason == "lecture")
        #expect(node.drainState == .draining && node.hold == nil)
        let stopped = try await record.instance(web.id)
        #expect(stopped.desired == .stopped && stopped.stoppedByDrain)
        try await record.refused(.noCapacity, by: record.ann) {
            _ = try $0.createInstances(InstanceCreation(name: "x", flavor: "small", image: "debian", count: 1))
        }
        try await record.report(web.id, .stopped)
        try await record.advanceDrains()
        #expect(try await record.node("cn1").drainState == .drained)
        try await record.refused(.nodeDisabled, by: record.ann) { _ = try $0.startInstance("\(web.id)") }

        // Said again in each session.
        let before = try await record.everything()
        try await hear(word, record)
        #expect(try await record.everything() == before)

        try await hear(.isOurs, record)
        node = try await record.node("cn1")
        #expect(node.enabled && node.hostHold == nil && node.disabledBy == nil && node.disabledReason.isEmpty)
        #expect(try await record.instance(web.id).desired == .running)
        #expect(try await record.eventKinds().contains("node.left"))
        #expect(try await record.eventKinds().contains("node.returned"))
    }

    @Test("what an operator had disabled stays so when its host is given back, however it was disabled")
    func disabledBefore() async throws {
        let record = try await TestRecord(hosts: 2)
        try await record.request(by: record.root) { _ = try $0.disableNodes(["cn1"], DrainOrder(reason: "fan")) }
        try await record.store.write { sql in
            // As a manager left it that did not know who.
            var node = try #require(try sql.nodes.find(name: "cn2"))
            (node.enabled, node.disabledReason) = (false, "disk")
            try sql.nodes.update(node)
        }
        for (name, reason) in [("cn1", "fan"), ("cn2", "disk")] {
            try await hear(left(record), record, from: name)
            #expect(try await record.node(name).disabledBy == "host")
            #expect(try await record.node(name).disabledReason == "lecture")
            try await hear(.isOurs, record, from: name)
            let node = try await record.node(name)
            #expect(
                !node.enabled && node.disabledReason == reason
                    && node.disabledBy == (name == "cn1" ? "root" : "operator"))
        }
    }

    @Test("guests that are left while the host's operator still gives them time are told as such")
    func longDeadline() async throws {
        let record = try await TestRecord(hosts: 1)
        let web = try await record.create("web", by: record.ann)[0]
        try await record.report(web.id, .running)
        try await hear(left(record), record)
        let drain = try #require(try await record.store.read { sql in try sql.operations.running(.nodeDisable).first })
        record.pass(.seconds(300))
        try await record.advanceDrains()
        let ended = try await record.operation(drain.id)
        #expect(ended.hosts[0].detail.contains("forces them off by the deadline given there"))
        #expect(!ended.hosts[0].detail.contains("--force-shutoff"), "no operator of the site can do that")
    }

    @Test("while its host is away an operator's word waits: enabled, it comes back enabled; disabled, disabled")
    func meanwhile() async throws {
        let record = try await TestRecord(hosts: 2)
        try await record.request(by: record.root) { _ = try $0.disableNodes(["cn1"], DrainOrder(reason: "fan")) }
        try await hear(left(record), record)
        try await hear(left(record), record, from: "cn2")
        let answers = try await record.request(by: record.root) { try $0.enableNodes(["cn1"]) }
        #expect(answers[0].ok && answers[0].detail.contains("roost-agent return"))
        try await record.request(by: record.root) { _ = try $0.disableNodes(["cn2"], DrainOrder(reason: "memory")) }
        let nodes = [try await record.node("cn1"), try await record.node("cn2")]
        #expect(nodes.allSatisfy { !$0.enabled && $0.disabledBy == "host" && $0.disabledReason == "lecture" })
        try await hear(.isOurs, record)
        try await hear(.isOurs, record, from: "cn2")
        #expect(try await record.node("cn1").enabled)
        let second = try await record.node("cn2")
        #expect(!second.enabled && second.disabledBy == "root" && second.disabledReason == "memory")
    }

    @Test("time does nothing to a node whose host is away; afterwards windows and holds decide")
    func windows() async throws {
        let record = try await TestRecord(hosts: 2)
        let minute = Int(record.now.milliseconds / 60_000 % 1440)
        let open = AvailabilityWindow(
            days: Set(Weekday.allCases), start: minute, end: (minute + 60) % 1440, drain: .before(minutes: 10))
        let availability = Availability(windows: [open], timeZone: "UTC", owner: "ann", reason: "office hours")
        let until = record.now + .seconds(600)
        try await record.request(by: record.root) {
            _ = try $0.setAvailability("cn1", availability)
            _ = try $0.disableNodes(["cn2"], DrainOrder(reason: "fan", until: until))
        }
        try await hear(left(record), record)
        try await hear(left(record), record, from: "cn2")
        record.pass(.seconds(7200))
        #expect(try await record.request(by: .manager) { try $0.isScheduleDue() } == false)
        try await hear(.isOurs, record)
        try await hear(.isOurs, record, from: "cn2")
        let node = try await record.node("cn1")
        #expect(!node.enabled && node.disabledBy == "windows of ann" && node.disabledReason == "office hours")
        try await record.request(by: .manager) { try $0.advanceSchedules() }
        #expect(try await record.node("cn2").enabled, "its hold ran out meanwhile")
        record.pass(.seconds(22 * 3600 + 60))
        try await record.request(by: .manager) { try $0.advanceSchedules() }
        #expect(try await record.node("cn1").enabled)
    }

    @Test("an operator's drain that is under way does not keep a host from being taken back")
    func beside() async throws {
        let record = try await TestRecord(hosts: 1)
        let web = try await record.create("web", by: record.ann)[0]
        try await record.report(web.id, .running)
        let drain = try await record.request(by: record.root) {
            try $0.disableNodes(["cn1"], DrainOrder(mode: .wait, reason: "fan"))
        }
        try await hear(left(record), record)
        #expect(try await record.instance(web.id).desired == .stopped, "nobody waits for it any more")
        try await record.report(web.id, .stopped)
        try await record.advanceDrains()
        #expect(try await record.operation(drain.id).status == .succeeded)
        #expect(try await record.node("cn1").drainState == .drained)
    }

    @Test("what an agent says is bounded, and a node that is not on record is nobody's")
    func strangers() async throws {
        let record = try await TestRecord(hosts: 1)
        let before = try await record.everything()
        let stranger = NodeID.generate(at: record.now)
        let word = left(record)
        try await record.request(by: .manager) {
            try $0.hear(word, from: stranger)
            try $0.hear(.isOurs, from: stranger)
        }
        try await hear(.isOurs, record)
        #expect(try await record.everything() == before)
    }
}
