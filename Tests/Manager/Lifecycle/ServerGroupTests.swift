import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerLifecycle

/// Where the instances of server groups go, and whose groups they are (SCH-06). Each host takes four instances.
@Suite("Server groups")
struct ServerGroupTests {
    private static func creation(_ name: String, _ group: String?, count: Int = 1) -> InstanceCreation {
        InstanceCreation(name: name, flavor: "small", image: "debian", count: count, serverGroup: group)
    }

    /// A site whose ann has a group `web`.
    private static func site(
        _ policy: ServerGroup.Policy, maximumPerHost: Int? = nil, hosts: Int = 3
    ) async throws -> TestRecord {
        let record = try await TestRecord(hosts: hosts)
        try await record.request(by: record.ann) {
            try $0.createServerGroup(name: "web", policy: policy, maximumPerHost: maximumPerHost)
        }
        return record
    }

    /// - Returns: the names of the nodes.
    @discardableResult
    private static func create(_ record: TestRecord, count: Int = 1, group: String? = "web") async throws -> [String] {
        try await record.request(by: record.ann) { commands in
            try commands.createInstances(creation("i", group, count: count)).compactMap {
                try $0.node.flatMap { try commands.sql.nodes.name(of: $0) }
            }
        }
    }

    private static func refused(_ record: TestRecord, count: Int = 1) async throws -> Refusal? {
        try await record.refused(.noCapacity, by: record.ann) {
            try $0.createInstances(creation("i", "web", count: count))
        }
    }

    @Test("anti-affinity: each on a host of its own, also of several in one request; who is in the way is said")
    func antiAffinity() async throws {
        let record = try await Self.site(.antiAffinity)
        let all = try await Self.refused(record, count: 4)
        #expect(all?.sentence.contains("only 3 of 4") == true && all?.sentence.contains("'web' anti-affinity") == true)
        #expect(try await Self.create(record, count: 2).count == 2)
        #expect(try await Self.create(record).count == 1)
        let nodes = try await record.everything().instances.map(\.node)
        #expect(Set(nodes).count == 3)
        #expect(
            try await Self.refused(record)?.removedBy.filter { $0.hosts > 0 } == [
                .init(filter: "server_group", hosts: 3)
            ])
        // Whoever is in no group, or in another, does not care.
        #expect(try await Self.create(record, count: 2, group: nil).count == 2)
        try await record.request(by: record.ann) { _ = try $0.createServerGroup(name: "other", policy: .antiAffinity) }
        #expect(Set(try await Self.create(record, count: 3, group: "other")).count == 3)
    }

    @Test("anti-affinity with a limit: as many on a host, and no more")
    func limit() async throws {
        let record = try await Self.site(.antiAffinity, maximumPerHost: 2)
        let nodes = try await Self.create(record, count: 6)
        #expect(nodes.sorted() == ["cn1", "cn1", "cn2", "cn2", "cn3", "cn3"])
        #expect(try await Self.refused(record)?.removedBy.first { $0.filter == "server_group" }?.hosts == 3)
    }

    @Test(
        "affinity: all on one host; several at once go where all have room, though another host weighs more for the first"
    )
    func affinity() async throws {
        let record = try await Self.site(.affinity, hosts: 2)
        // One of the four places on cn1 is taken, and it has the image, which makes up for that.
        _ = try await record.create("before", by: record.bob, node: "cn1")
        let image = record.image.id
        try await record.store.write { sql in
            let node = try #require(try sql.nodes.find(name: "cn1"))
            var copy = try #require(try sql.images.placement(of: image, on: node.id))
            copy.state = .held
            try sql.images.update(copy, assigned: false)
        }
        #expect(try await Self.create(record, group: nil) == ["cn1"])
        try await record.request(by: record.root) { commands in
            let one = try #require(try commands.sql.instances.list(.init()).last)
            try commands.sql.instances.finishDeletion(one)
        }
        #expect(try await Self.create(record, count: 4) == Array(repeating: "cn2", count: 4))
        let refusal = try await Self.refused(record)
        #expect(refusal?.removedBy.filter { $0.hosts > 0 }.map(\.filter) == ["server_group", "vcpus"])
        #expect(try await record.everything().instances.count == 6)
    }

    @Test("affinity: what fits on no host is refused as a whole")
    func affinityWithoutRoom() async throws {
        let record = try await Self.site(.affinity)
        #expect(try await Self.refused(record, count: 5)?.sentence.contains("only 4 of 5") == true)
        #expect(Set(try await Self.create(record, count: 4)).count == 1)
    }

    @Test("the soft forms are heeded where that can be, and refuse nothing")
    func soft() async throws {
        let together = try await Self.site(.softAffinity, hosts: 2)
        let first = try await Self.create(together, count: 6)
        #expect(Set(first.prefix(4)).count == 1 && Set(first.suffix(2)).count == 1 && Set(first).count == 2)
        let apart = try await Self.site(.softAntiAffinity)
        #expect(Set(try await Self.create(apart, count: 3)).count == 3)
        let more = try await Self.create(apart, count: 6)
        #expect(Set(more.prefix(3)).count == 3 && Set(more.suffix(3)).count == 3)
    }

    @Test("an instance is in its group whether it runs or not, until its host has nothing left of it")
    func life() async throws {
        let record = try await Self.site(.antiAffinity, hosts: 1)
        try await Self.create(record)
        let id = try #require(try await record.everything().instances.first?.id)
        try await record.report(id, .running)
        try await record.request(by: record.ann) { _ = try $0.stopInstance("\(id)", force: true) }
        try await record.report(id, .stopped)
        _ = try await Self.refused(record)
        try await record.request(by: record.ann) { _ = try $0.startInstance("\(id)") }
        _ = try await Self.refused(record)
        try await record.request(by: record.ann) { _ = try $0.deleteInstance("\(id)") }
        _ = try await Self.refused(record)
        let refusal = try await record.refused(.inUse, by: record.ann) { try $0.deleteServerGroup("web") }
        #expect(refusal?.sentence.contains("instances: i;") == true)
        try await record.report(id, .deleted)
        #expect(try await record.instance(id).serverGroup == nil)
        #expect(try await Self.create(record) == ["cn1"])
    }

    @Test("a group goes once it is empty; its name is its owner's own, and is free again")
    func names() async throws {
        let record = try await Self.site(.affinity)
        try await record.refused(.nameTaken, by: record.ann) {
            try $0.createServerGroup(name: "web", policy: .affinity)
        }
        try await record.request(by: record.bob) { _ = try $0.createServerGroup(name: "web", policy: .antiAffinity) }
        try await record.refused(.ambiguousName, by: record.root) { try $0.serverGroup("web") }
        let bobs = try await record.request(by: record.bob) { try $0.serverGroup("web") }
        #expect(bobs.policy == .antiAffinity)
        try await record.refused(.notFound, by: record.ann) { try $0.serverGroup("\(bobs.id)") }
        try await record.refused(.notFound, by: record.ann) { try $0.deleteServerGroup("\(bobs.id)") }
        try await record.refused(.notFound, by: record.ann) { try $0.createInstances(Self.creation("i", "\(bobs.id)")) }
        // Who may see it may still not put anything into it.
        let refusal = try await record.refused(.unprocessable, by: record.root) {
            try $0.createInstances(Self.creation("i", "\(bobs.id)"))
        }
        #expect(refusal?.fields.map(\.pointer) == ["/server_group"])
        try await record.request(by: record.ann) { _ = try $0.deleteServerGroup("web") }
        try await record.refused(.notFound, by: record.ann) { try $0.deleteServerGroup("web") }
        try await record.request(by: record.ann) { _ = try $0.createServerGroup(name: "web", policy: .softAffinity) }
        let kinds = try await record.eventKinds().filter { $0.hasPrefix("server_group") }
        #expect(kinds.filter { $0 == "server_group.created" }.count == 3)
        #expect(kinds.filter { $0 == "server_group.deleted" }.count == 1)
    }

    @Test("what cannot be a group is refused")
    func refusals() async throws {
        let record = try await TestRecord(hosts: 0)
        for policy in ServerGroup.Policy.allCases where policy != .antiAffinity {
            let refusal = try await record.refused(.unprocessable, by: record.ann) {
                try $0.createServerGroup(name: "web", policy: policy, maximumPerHost: 2)
            }
            #expect(refusal?.fields.map(\.pointer) == ["/max_per_host"])
        }
        try await record.refused(.unprocessable, by: record.ann) {
            try $0.createServerGroup(name: "\(record.flavor.id)", policy: .affinity)
        }
        try await record.request(by: record.ann) { commands in
            for number in 0..<Commands.maximumServerGroups {
                _ = try commands.createServerGroup(name: "g\(number)", policy: .affinity)
            }
        }
        try await record.refused(.conflict, by: record.ann) { try $0.createServerGroup(name: "g", policy: .affinity) }
    }

    @Test("an explanation says whom the group removes, and what it counts for")
    func explanation() async throws {
        let record = try await Self.site(.antiAffinity)
        let used = try await Self.create(record, count: 2)
        let strict = try await record.request(by: record.root) {
            try $0.explainPlacement(flavor: "small", image: nil, serverGroup: "web", PlacementWish(), limit: 10)
                .explanation
        }
        #expect(strict.removals.first { $0.filter == .group }?.names == used.sorted())
        #expect(strict.candidates == 1)
        try await record.request(by: record.ann) {
            _ = try $0.createServerGroup(name: "loose", policy: .softAntiAffinity)
        }
        let crowded = try await Self.create(record, group: "loose")
        let loose = try await record.request(by: record.root) {
            try $0.explainPlacement(flavor: "small", image: nil, serverGroup: "loose", PlacementWish(), limit: 10)
                .explanation
        }
        #expect(loose.candidates == 3)
        #expect(loose.ranking.last?.name == crowded[0] && loose.ranking.last?.weight.group == -1)
    }

    /// Any mix of creations and deletions, each creation of one instance compared with what the record alone says of it.
    @Test(
        "no order of requests breaks a policy, and each goes where an explanation just said",
        arguments: ServerGroup.Policy.allCases, 0..<3)
    func walk(policy: ServerGroup.Policy, seed: Int) async throws {
        var random = SeededNumbers(state: UInt64(seed + 1))
        let maximum = policy == .antiAffinity ? Int.random(in: 1...2, using: &random) : nil
        let record = try await Self.site(policy, maximumPerHost: maximum, hosts: 4)
        let group = try await record.request(by: record.ann) { try $0.serverGroup("web") }
        for _ in 0..<40 {
            let (choice, count) = (Int.random(in: 0..<4, using: &random), Int.random(in: 1...3, using: &random))
            let instances = try await record.everything().instances.filter { $0.status != .deleted }
            if choice == 0, let gone = instances.randomElement(using: &random) {
                try await record.request(by: record.ann) { try $0.sql.instances.finishDeletion(gone) }
            } else {
                try await Self.createAsExplained(record, group: choice > 1 ? "web" : nil, count: count)
            }
            let nodes = try await record.everything().instances.filter {
                $0.status != .deleted && $0.serverGroup == group.id
            }.map(\.node)
            let most = Dictionary(nodes.map { ($0, 1) }, uniquingKeysWith: +).values.max() ?? 0
            if policy == .antiAffinity { #expect(most <= maximum ?? 1) }
            if policy == .affinity { #expect(Set(nodes).count <= 1) }
        }
    }

    private static func createAsExplained(_ record: TestRecord, group: String?, count: Int) async throws {
        let explanation = try await record.request(by: record.ann) {
            try $0.explainPlacement(flavor: "small", image: "debian", serverGroup: group, PlacementWish(), limit: 1)
                .explanation
        }
        do {
            let nodes = try await create(record, count: count, group: group)
            #expect(nodes.count == count && explanation.candidates > 0)
            if count == 1 { #expect(nodes.first == explanation.ranking.first?.name) }
        } catch let refusal as Refusal {
            #expect(refusal.code == .noCapacity && (count > 1 || explanation.candidates == 0))
        }
    }
}
