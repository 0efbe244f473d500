import ManagerModel
import ManagerStore
import Testing

@testable import ManagerLifecycle

@Suite("Groups of nodes")
struct AggregateTests {
    @Test("nodes go in once, come out once, and a removed node is in none (SCH-01, SCH-02)")
    func members() async throws {
        let record = try await TestRecord(hosts: 3)
        let gpu = try await record.request(by: record.root) {
            try $0.createAggregate(name: "gpu", metadata: ["gpu": "true"], nodes: ["cn2", "cn1"])
        }
        try await record.request(by: record.root) { try $0.addNodes(["cn2", "cn3"], to: "gpu") }
        #expect(try await record.store.read { try $0.aggregates.nodeNames(in: gpu.id) } == ["cn1", "cn2", "cn3"])
        try await record.request(by: record.root) { try $0.removeNode("cn2", from: "gpu") }
        try await record.refused(.notFound, by: record.root) { try $0.removeNode("cn2", from: "gpu") }
        try await record.request(by: record.root) { _ = try $0.removeNode("cn3") }
        #expect(try await record.store.read { try $0.aggregates.nodeNames(in: gpu.id) } == ["cn1"])
        #expect(
            try await record.eventKinds().filter { $0.hasPrefix("aggregate") } == [
                "aggregate.created", "aggregate.node_added", "aggregate.node_added", "aggregate.node_added",
                "aggregate.node_removed",
            ])
    }

    @Test("a name is taken once; what is not there refuses all; what changes nothing tells nothing")
    func refusals() async throws {
        let record = try await TestRecord(hosts: 1)
        try await record.request(by: record.root) { _ = try $0.createAggregate(name: "gpu", metadata: [:]) }
        try await record.request(by: record.root) { _ = try $0.createAggregate(name: "other", metadata: [:]) }
        try await record.refused(.nameTaken, by: record.root) { try $0.createAggregate(name: "gpu", metadata: [:]) }
        try await record.refused(.nameTaken, by: record.root) {
            try $0.updateAggregate("other", name: "gpu", metadata: nil)
        }
        try await record.refused(.notFound, by: record.root) { try $0.addNodes(["cn1", "cn9"], to: "gpu") }
        try await record.refused(.notFound, by: record.root) {
            try $0.createAggregate(name: "new", metadata: [:], nodes: ["cn9"])
        }
        let before = try await record.eventKinds().count
        try await record.request(by: record.root) { try $0.updateAggregate("gpu", name: "gpu", metadata: [:]) }
        #expect(try await record.eventKinds().count == before)
        try await record.request(by: record.root) { try $0.deleteAggregate("gpu") }
        try await record.refused(.notFound, by: record.root) { try $0.aggregate("gpu") }
    }
}
