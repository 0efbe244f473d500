import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

/// What aggregates say decides where instances go (SCH-02 to SCH-05), from the moment it is said.
@Suite("Placement by aggregates")
struct AggregatePlacementTests {
    /// Three hosts, of which `cn3` is in an aggregate.
    private static func site(_ metadata: [String: String]) async throws -> TestRecord {
        let record = try await TestRecord(hosts: 3)
        try await record.request(by: record.root) { commands in
            _ = try commands.createAggregate(name: "special", metadata: metadata, nodes: ["cn3"])
            for word in ["true", "false"] {
                _ = try commands.createFlavor(
                    name: "gpu-\(word)", vcpus: 1, ramMiB: 512, diskGiB: 10, properties: ["gpu": word])
            }
        }
        return record
    }

    private static func nodes(
        _ record: TestRecord, flavor: String, count: Int = 1, zone: String? = nil, excluded: [String] = []
    ) async throws -> [String] {
        try await record.request(by: record.ann) { commands in
            let created = try commands.createInstances(
                InstanceCreation(
                    name: "i", flavor: flavor, image: "debian", count: count, excludedNodes: excluded,
                    availabilityZone: zone))
            return try created.compactMap { try $0.node.flatMap { try commands.sql.nodes.name(of: $0) } }
        }
    }

    @Test("flavors with gpu=true go to hosts of that kind, those with gpu=false to the others (SCH-04, SCH-05)")
    func gpu() async throws {
        let record = try await Self.site(["gpu": "true"])
        #expect(Set(try await Self.nodes(record, flavor: "gpu-true", count: 4)) == ["cn3"])
        #expect(Set(try await Self.nodes(record, flavor: "gpu-false", count: 4)) == ["cn1", "cn2"])
        try await record.request(by: record.root) {
            try $0.updateAggregate("special", name: nil, metadata: ["gpu": "no"])
        }
        let refusal = try await record.refused(.noCapacity, by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "i", flavor: "gpu-true", image: "debian"))
        }
        #expect(refusal?.removedBy.filter { $0.hosts > 0 } == [.init(filter: "aggregates", hosts: 3)])
        try await record.request(by: record.root) { commands in
            _ = try commands.updateAggregate("special", name: nil, metadata: ["gpu": "true"])
            _ = try commands.addNodes(["cn1"], to: "special")
            _ = try commands.removeNode("cn3", from: "special")
        }
        #expect(try await Self.nodes(record, flavor: "gpu-true") == ["cn1"])
        try await record.request(by: record.root) { try $0.deleteAggregate("special") }
        try await record.refused(.noCapacity, by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "i", flavor: "gpu-true", image: "debian"))
        }
    }

    @Test("a zone is where its aggregates' hosts are; one that is not there is named; excluded hosts get nothing")
    func zones() async throws {
        let record = try await Self.site(["availability_zone": "north"])
        #expect(Set(try await Self.nodes(record, flavor: "gpu-false", count: 3, zone: "north")) == ["cn3"])
        let refusal = try await record.refused(.notFound, by: record.ann) {
            try $0.createInstances(
                InstanceCreation(name: "i", flavor: "small", image: "debian", availabilityZone: "south"))
        }
        #expect(refusal?.sentence.contains("north") == true)
        let others = try await Self.nodes(record, flavor: "gpu-false", count: 4, excluded: ["cn1", "cn3"])
        #expect(Set(others) == ["cn2"])
    }

    @Test("overcommit is the node's own, else the least of its aggregates', and instances fit by it")
    func ratios() async throws {
        let record = try await Self.site(["cpu_allocation_ratio": "0.5"])
        try await record.request(by: record.root) { commands in
            _ = try commands.createAggregate(name: "loose", metadata: ["cpu_allocation_ratio": "16"], nodes: ["cn3"])
        }
        // Four CPUs, of which half may be claimed; the two other hosts are left out.
        func room() async throws -> [Refusal.FilterCount]? {
            let refusal = try await record.refused(.noCapacity, by: record.root) {
                try $0.createInstances(
                    InstanceCreation(
                        name: "i", flavor: "gpu-false", image: "debian", count: 3, excludedNodes: ["cn1", "cn2"]))
            }
            return refusal?.removedBy.filter { $0.hosts > 0 }
        }
        #expect(try await room() == [.init(filter: "excluded", hosts: 2), .init(filter: "vcpus", hosts: 1)])
        try await record.request(by: record.root) { try $0.updateNode("cn3") { $0.cpuAllocationRatio = 1 } }
        #expect(try await Self.nodes(record, flavor: "gpu-false", count: 4, excluded: ["cn1", "cn2"]).count == 4)
    }

    @Test("hosts that may be taken back are chosen last, and packed ones are filled one after the other")
    func weights() async throws {
        let record = try await Self.site(["placement:policy": "pack"])
        try await record.request(by: record.root) { commands in
            _ = try commands.updateNode("cn1") { $0.isOpportunistic = true }
            _ = try commands.addNodes(["cn2"], to: "special")
        }
        #expect(try await Self.nodes(record, flavor: "gpu-false", count: 5) == Array(repeating: "cn2", count: 5))
    }

    @Test("what an aggregate says to placement must be readable")
    func refusals() async throws {
        let record = try await TestRecord(hosts: 0)
        for (key, value) in [
            ("cpu_allocation_ratio", "many"), ("ram_allocation_ratio", "0"), ("disk_allocation_ratio", "1000"),
            ("placement:policy", "squeeze"), ("placement:weight", "11"), ("availability_zone", ""),
        ] {
            let refusal = try await record.refused(.invalidRequest, by: record.root) {
                try $0.createAggregate(name: "a", metadata: [key: value])
            }
            #expect(refusal?.fields.map(\.pointer) == ["/metadata/\(key)"])
        }
    }
}
