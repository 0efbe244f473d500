import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

/// What time makes of nodes, on a real record and a clock that only the test moves.
@Suite("Nodes that are borrowed for a time")
struct NodeScheduleTests {
    private func look(_ record: TestRecord) async throws {
        let isDue = try await record.request(by: .manager) { try $0.isScheduleDue() }
        try await record.request(by: .manager) { try $0.advanceSchedules() }
        let isStillDue = try await record.request(by: .manager) { try $0.isScheduleDue() }
        #expect(!isStillDue, "done at once, due before: \(isDue)")
    }

    /// Open from an hour after the record's clock for an hour, to be drained in its last ten minutes.
    private func window(_ record: TestRecord, mode: DrainMode = .shutdown) throws -> Availability {
        let minute = Int(record.now.milliseconds / 60_000 % 1440)
        let start = (minute + 60) % 1440
        let window = AvailabilityWindow(
            days: Set(Weekday.allCases), start: start, end: (start + 60) % 1440 == 0 ? 1440 : (start + 60) % 1440,
            drain: .before(minutes: 10), mode: mode)
        return Availability(windows: [window], timeZone: "UTC", owner: "ann", reason: "office hours")
    }

    @Test("a window takes a node out of service, opens it not early, and empties it before its end")
    func windows() async throws {
        let record = try await TestRecord(hosts: 2)
        let availability = try window(record)
        try await record.request(by: record.root) { _ = try $0.setAvailability("cn1", availability) }
        try await look(record)
        var node = try await record.node("cn1")
        #expect(!node.enabled && node.disabledBy == "windows of ann" && node.disabledReason == "office hours")
        #expect(node.drainState == .drained && node.hold == nil)
        #expect(try await record.node("cn2").enabled)

        let second = record.now.milliseconds / 1000 % 60
        record.pass(.seconds(3600 - second - 1))
        try await look(record)
        #expect(try await record.node("cn1").enabled == false, "not a second early")
        record.pass(.seconds(1))
        try await look(record)
        #expect(try await record.node("cn1").enabled)

        let web = try await record.create("web", by: record.ann, node: "cn1")[0]
        try await record.report(web.id, .running)
        record.pass(.seconds(49 * 60))
        try await look(record)
        #expect(try await record.instance(web.id).desired == .running)
        record.pass(.seconds(60))
        try await look(record)
        node = try await record.node("cn1")
        #expect(!node.enabled && node.drainState == .draining)
        #expect(try await record.instance(web.id).desired == .stopped)
        record.pass(.seconds(9 * 60))
        try await record.advanceDrains()
        #expect(try await record.instance(web.id).force, "off before the window ends, not after")
        try await record.report(web.id, .stopped)
        try await record.advanceDrains()
        #expect(try await record.node("cn1").drainState == .drained)

        record.pass(.seconds(24 * 3600 - 60 * 60 + 60))
        try await look(record)
        #expect(try await record.instance(web.id).desired == .running, "back with its node the next day")
    }

    @Test("what windows that are shut would empty is said, and nothing done, before they are set (HLT-08)")
    func planned() async throws {
        let record = try await TestRecord(hosts: 3)
        let availability = try window(record)
        let web = try await record.create("web", by: record.ann, node: "cn1")[0]
        try await record.report(web.id, .running)
        try await record.request(by: record.root) { _ = try $0.disableNodes(["cn3"], DrainOrder(reason: "disks")) }
        let names = ["cn1", "cn2", "cn3", "cn9"]
        let plan = try await record.request(by: record.root) { try $0.planAvailability(names, availability) }
        #expect(plan.map(\.ok) == [true, true, true, false])
        #expect(
            plan.map(\.actions) == [
                ["set windows of node cn1", "disable node cn1", "stop instance \(web.id) (web)"],
                ["set windows of node cn2", "disable node cn2"], ["set windows of node cn3"], [],
            ])
        #expect(plan[0].detail.contains("shut now") && plan[0].detail.contains("next open: 20"))
        #expect(plan[2].detail == "is out of service by root, and stays so")
        #expect(try await record.node("cn1").availability == nil)
        try await look(record)
        #expect(try await record.instance(web.id).desired == .running)

        let done = try await record.request(by: record.root) { try $0.setAvailability(of: names, availability) }
        #expect(done.map(\.ok) == plan.map(\.ok) && done[0].actions == ["set windows of node cn1"])
        try await look(record)
        #expect(try await record.instance(web.id).desired == .stopped)
        #expect(try await record.node("cn3").disabledBy == "root")
        let open = try await record.request(by: record.root) { try $0.planAvailability(["cn1"], nil) }
        #expect(open[0].actions == ["clear windows of node cn1"])
        record.pass(.seconds(3600))
        let opens = try await record.request(by: record.root) { try $0.planAvailability(["cn1"], availability) }
        #expect(opens[0].actions == ["set windows of node cn1", "enable node cn1"])
    }

    @Test("an operator's disable beats a window until it is lifted; enabling outside of the window only lifts it")
    func holds() async throws {
        let record = try await TestRecord(hosts: 1)
        let availability = try window(record)
        try await record.request(by: record.root) {
            _ = try $0.setAvailability("cn1", availability)
            _ = try $0.disableNodes(["cn1"], DrainOrder(reason: "broken fan"))
        }
        record.pass(.seconds(3600))
        try await look(record)
        var node = try await record.node("cn1")
        #expect(!node.enabled && node.disabledBy == "root" && node.disabledReason == "broken fan")
        record.pass(.seconds(2 * 3600))
        let lifted = try await record.request(by: record.root) { try $0.enableNodes(["cn1"]) }
        #expect(lifted[0].ok && lifted[0].detail.contains("windows are shut"))
        node = try await record.node("cn1")
        #expect(!node.enabled && node.hold == nil)
        record.pass(.seconds(22 * 3600))
        try await look(record)
        #expect(try await record.node("cn1").enabled, "the window decides again")
    }

    @Test("until: the opposite happens at that time, and not before")
    func until() async throws {
        let record = try await TestRecord(hosts: 2)
        let end = record.now + .seconds(600)
        try await record.request(by: record.root) {
            _ = try $0.disableNodes(["cn1"], DrainOrder(reason: "disks", until: end))
            _ = try $0.enableNodes(["cn2"], until: end)
        }
        record.pass(.milliseconds(599_999))
        try await look(record)
        #expect(try await record.node("cn1").enabled == false)
        #expect(try await record.node("cn2").enabled)
        record.pass(.milliseconds(1))
        try await look(record)
        let first = try await record.node("cn1")
        #expect(first.enabled && first.hold == nil && first.disabledReason.isEmpty)
        let second = try await record.node("cn2")
        #expect(!second.enabled && second.disabledBy == "root" && second.hold?.until == nil)
        // A clock that is put back undoes nothing.
        record.pass(.seconds(-3600))
        try await look(record)
        #expect(try await record.node("cn1").enabled)
        #expect(try await record.node("cn2").enabled == false)
        try await record.refused(.unprocessable, by: record.root) {
            _ = try $0.enableNodes(["cn1"], until: Timestamp(milliseconds: 0))
        }
    }

    @Test("with windows, a hold that runs out leaves the node to them")
    func untilWithWindows() async throws {
        let record = try await TestRecord(hosts: 1)
        let availability = try window(record)
        let end = record.now + .seconds(1800)
        try await record.request(by: record.root) {
            _ = try $0.setAvailability("cn1", availability)
            _ = try $0.enableNodes(["cn1"], until: end)
        }
        try await look(record)
        #expect(try await record.node("cn1").enabled, "in service until then in any case")
        record.pass(.seconds(1800))
        try await look(record)
        let node = try await record.node("cn1")
        #expect(!node.enabled && node.hold == nil, "the window is shut")
    }

    @Test("taking windows away leaves a node as it is, for somebody to say")
    func cleared() async throws {
        let record = try await TestRecord(hosts: 1)
        let availability = try window(record)
        try await record.request(by: record.root) { _ = try $0.setAvailability("cn1", availability) }
        try await look(record)
        try await record.request(by: record.root) { _ = try $0.setAvailability("cn1", nil) }
        record.pass(.seconds(3600))
        try await look(record)
        #expect(try await record.node("cn1").enabled == false)
        try await record.request(by: record.root) { _ = try $0.enableNodes(["cn1"]) }
        #expect(try await record.node("cn1").enabled)
    }
}

@Suite("Ways to empty nodes, and to fill them")
struct DrainModeTests {
    @Test("shutdown forces what does not obey; migrate is refused")
    func shutdown() async throws {
        let record = try await TestRecord(hosts: 1)
        let web = try await record.create("web", by: record.ann)[0]
        try await record.report(web.id, .running)
        try await record.refused(.unprocessable, by: record.root) {
            _ = try $0.disableNodes(["cn1"], DrainOrder(mode: .migrate))
        }
        try await record.request(by: record.root) {
            _ = try $0.disableNodes(["cn1"], DrainOrder(mode: .shutdown, vmTimeoutSeconds: 60))
        }
        #expect(try await record.instance(web.id).force == false)
        record.pass(.seconds(60))
        try await record.advanceDrains()
        #expect(try await record.instance(web.id).force)
    }

    @Test("wait lets guests end by themselves, asks the others at its deadline, and takes nothing new meanwhile")
    func wait() async throws {
        let record = try await TestRecord(hosts: 1)
        let made = try await record.create("job", by: record.ann, count: 2)
        for instance in made { try await record.report(instance.id, .running) }
        let drain = try await record.request(by: record.root) {
            try $0.disableNodes(
                ["cn1"], DrainOrder(mode: .wait, waitSeconds: 3600, vmTimeoutSeconds: 60, forceShutoff: true))
        }
        #expect(drain.hosts[0].detail == "waiting for 2 guests to end")
        try await record.refused(.noCapacity, by: record.ann) {
            _ = try $0.createInstances(InstanceCreation(name: "late", flavor: "small", image: "debian"))
        }
        record.pass(.seconds(3599))
        try await record.report(made[0].id, .stopped, code: "guest_shutdown")
        try await record.report(made[0].id, .stopped)
        try await record.advanceDrains()
        #expect(try await record.instance(made[1].id).desired == .running)
        #expect(try await record.operation(drain.id).hosts[0].stopped == ["job-1"])
        record.pass(.seconds(1))
        try await record.advanceDrains()
        let asked = try await record.instance(made[1].id)
        #expect(asked.desired == .stopped && !asked.force && asked.stoppedByDrain)
        record.pass(.seconds(60))
        try await record.advanceDrains()
        #expect(try await record.instance(made[1].id).force)
        try await record.report(made[1].id, .stopped)
        try await record.advanceDrains()
        #expect(try await record.operation(drain.id).status == .succeeded)
        try await record.request(by: record.root) { _ = try $0.enableNodes(["cn1"]) }
        #expect(try await record.instance(made[0].id).desired == .stopped, "it ended by itself")
        #expect(try await record.instance(made[1].id).desired == .running)
    }

    @Test("no more nodes are emptied at a time than asked for, each with its own time; all take nothing new at once")
    func parallel() async throws {
        let record = try await TestRecord(hosts: 3)
        var made: [Instance] = []
        for number in 1...3 {
            let instance = try await record.create("web\(number)", by: record.ann, node: "cn\(number)")[0]
            try await record.report(instance.id, .running)
            made.append(instance)
        }
        let drain = try await record.request(by: record.root) {
            try $0.disableNodes(["cn1", "cn2", "cn3"], DrainOrder(vmTimeoutSeconds: 60, parallel: 1))
        }
        #expect(drain.hosts.map(\.state) == ["stopping", "waiting", "waiting"])
        for number in 1...3 { #expect(try await record.node("cn\(number)").enabled == false) }
        #expect(try await record.instance(made[1].id).desired == .running)
        record.pass(.seconds(60))
        try await record.advanceDrains()
        var now = try await record.operation(drain.id)
        #expect(now.hosts.map(\.state) == ["failed", "stopping", "waiting"], "one that fails stops nobody")
        record.pass(.seconds(59))
        try await record.report(made[1].id, .stopped)
        try await record.advanceDrains()
        now = try await record.operation(drain.id)
        #expect(now.hosts.map(\.state) == ["failed", "done", "stopping"])
        try await record.report(made[2].id, .stopped)
        try await record.advanceDrains()
        #expect(try await record.operation(drain.id).status == .failed)
    }

    @Test("filling starts exactly what fits on enabled nodes; a dry run says the same and starts none")
    func fill() async throws {
        let record = try await TestRecord(hosts: 3)
        try await record.request(by: record.root) { _ = try $0.disableNodes(["cn3"], DrainOrder()) }
        _ = try await record.create("web", by: record.ann, node: "cn1")
        let before = try await record.everything()
        let creation = InstanceCreation(name: "wn", flavor: "small", image: "debian", metadata: ["role": "worker"])
        let dry = try await record.request(by: record.ann) { try $0.fillEstimate(creation, limit: 1000) }
        #expect(dry.count == 7 && dry.stoppedBy == "no_capacity")
        #expect(try await record.everything() == before)
        let begun = try await record.request(by: record.ann) { try $0.fillNodes(creation, limit: 3) }
        #expect(begun.count == 3 && begun.stoppedBy == "limit")
        let filled = try await record.request(by: record.ann) { try $0.fillNodes(creation, limit: 1000) }
        #expect(filled.count == 4 && filled.detail == dry.detail)
        let after = try await record.everything()
        #expect(after.instances.count == 8)
        #expect(after.instances.allSatisfy { $0.status != .error })
        // No name, and no host name, twice.
        #expect(
            after.instances.map(\.name).sorted() == ["web", "wn-1", "wn-2", "wn-3", "wn-4", "wn-5", "wn-6", "wn-7"])
        #expect(Set(after.instances.map(\.hostName)).count == 8)
        let again = try await record.request(by: record.ann) { try $0.fillNodes(creation, limit: 1000) }
        #expect(again.count == 0)
    }
}
