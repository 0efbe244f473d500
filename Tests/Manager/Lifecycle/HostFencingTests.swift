import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("Fencing of lost hosts")
struct HostFencingTests {
    /// A host that is lost, with an instance that is to be started elsewhere.
    private func lost(_ policy: HostLossPolicy = .restart) async throws -> (TestRecord, Node, Instance) {
        let record = try await HostLossTests.site()
        let instance = try await HostLossTests.create(record, "web", on: "cn1", policy)[0]
        try await record.report(instance.id, .running)
        try await HostLossTests.silent(record, "cn1")
        return (record, try await record.node("cn1"), instance)
    }

    private func begin(_ record: TestRecord, _ node: Node) async throws -> FencingOrder? {
        try await record.request(by: .manager) { try $0.beginFencing(node.id) }
    }

    private func end(_ record: TestRecord, _ order: FencingOrder, _ outcome: FencingOutcome) async throws {
        try await record.request(by: .manager) { try $0.endFencing(order, outcome, by: "fence-it") }
        record.pass(.seconds(1))
    }

    @Test("only for who waits for it; a failure is told and tried again, success makes it certain, and who waits moves")
    func course() async throws {
        let (kept, keptNode, _) = try await lost(.keep)
        #expect(try await kept.request(by: .manager) { try $0.fencingSight() }.candidates.isEmpty)
        #expect(try await begin(kept, keptNode) == nil)

        let (record, node, instance) = try await lost()
        #expect(try await record.request(by: .manager) { try $0.fencingSight() }.candidates.keys.sorted() == [node.id])
        let first = try #require(try await begin(record, node))
        #expect(first.name == "cn1" && first.attempt == 1)
        #expect(try await record.node("cn1").loss?.fencing?.endedAt == nil)
        try await end(record, first, .failed("no route to the BMC"))
        #expect(try await record.node("cn1").loss?.fencing?.outcome == "no route to the BMC")
        #expect(try await record.node("cn1").loss?.certainty == nil)
        let second = try #require(try await begin(record, node))
        #expect(second.attempt == 2)
        try await end(record, first, .fenced)
        #expect(try await record.node("cn1").loss?.certainty == nil, "an attempt that was overtaken says nothing")
        try await end(record, second, .fenced)
        let certainty = try #require(try await record.node("cn1").loss?.certainty)
        #expect(certainty.proof == .fenced && certainty.sentence == "fenced by fence-it")
        #expect(try await begin(record, node) == nil)
        try await record.request(by: .manager) { try $0.advanceHostLosses() }
        #expect(try await record.instance(instance.id).node != node.id)
        let kinds = try await record.eventKinds()
        for kind in ["node.fencing", "node.fencing_failed", "node.down_fenced"] { #expect(kinds.contains(kind)) }
    }

    @Test("a run that ends when the host was heard meanwhile proves nothing, also where it is lost again")
    func heardMeanwhile() async throws {
        let (record, node, instance) = try await lost()
        let order = try #require(try await begin(record, node))
        let now = record.now
        try await record.store.write {
            _ = try FleetReports(in: $0, at: now).openSession(
                node.id, bootID: "b", softwareVersion: "1", remoteAddress: "")
        }
        try await end(record, order, .fenced)
        #expect(try await record.node("cn1").loss == nil)
        record.pass(.seconds(60))
        try await HostLossTests.silent(record, "cn1")
        try await end(record, order, .fenced)
        #expect(try await record.node("cn1").loss?.certainty == nil)
        #expect(try await record.instance(instance.id).node == node.id)
    }

    @Test(
        "a policy that its host has not kept gets no host fenced, nor does an operator's hold; a dry run counts who can leave"
    )
    func notForAll() async throws {
        let (record, node, instance) = try await lost(.keep)
        try await record.request(by: record.root) {
            _ = try $0.updateInstance("\(instance.id)", name: nil, metadata: nil, onHostLoss: .restart)
        }
        #expect(try await record.request(by: .manager) { try $0.fencingSight() }.candidates.isEmpty)
        #expect(try await begin(record, node) == nil)
        let plan = try await record.request(by: record.root) { try $0.planConfirmingDown(["cn1"]) }[0]
        #expect(plan.ok && plan.actions.count == 1, "\(plan)")
        let counts = try await record.store.read { try $0.instances.countsByHostLoss(on: [node.id]) }
        #expect(counts == [node.id: [.keep: 1]])

        let (held, heldNode, _) = try await lost()
        try await held.request(by: held.root) {
            _ = try $0.disableNodes(["cn1"], DrainOrder(mode: .wait, reason: "rack"))
        }
        #expect(try await held.request(by: .manager) { try $0.fencingSight() }.candidates.isEmpty)
        #expect(try await begin(held, heldNode) == nil)
    }

    @Test(
        "addresses stand without their ports",
        arguments: [("192.0.2.1:50312", "192.0.2.1"), ("[2001:db8::1]:7", "2001:db8::1"), ("", "")])
    func address(_ text: String, _ host: String) {
        #expect(Commands.host(of: text) == host)
    }
}
