import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("Prefill policies")
struct PrefillPolicyTests {
    /// What the manager that leads does every few seconds.
    private func advance(_ record: TestRecord) async throws {
        try await record.request(by: .manager) { commands in
            for policy in try commands.sql.prefillPolicies.list() {
                if try commands.isDue(policy) { try commands.advancePolicy(policy) }
            }
        }
    }

    private func wanted(_ record: TestRecord, _ image: ImageID? = nil) async throws -> [String] {
        let image = image ?? record.image.id
        return try await record.store.read { sql in
            try sql.images.placements(of: image).compactMap { try sql.nodes.name(of: $0.node) }.sorted()
        }
    }

    private func standing(_ record: TestRecord, _ policy: PrefillPolicy) async throws -> PolicyStanding {
        try await record.request(by: record.root) { try $0.standing(of: $0.prefillPolicy(policy.name)) }
    }

    private func held(_ record: TestRecord, on node: String, _ image: ImageID? = nil) async throws {
        let (now, id, image) = (record.now, try await record.node(node).id, image ?? record.image.id)
        try await record.store.write { sql in
            try FleetReports(in: sql, at: now).observe(
                [.init(image: image, state: .held, chunksHeld: 1, chunksTotal: 1, bytesReceived: 1, reason: "")], on: id
            )
        }
    }

    @Test("all enabled nodes: also one that is enabled later, and one that joins; nothing twice")
    func everywhere() async throws {
        let record = try await TestRecord(hosts: 2)
        try await record.request(by: record.root) { _ = try $0.disableNodes(["cn2"], DrainOrder()) }
        let policy = try await record.request(by: record.root) {
            try $0.createPrefillPolicy(name: nil, image: "debian", aggregate: nil)
        }
        #expect(policy.name == "debian-all")
        #expect(try await wanted(record) == ["cn1"])
        let standing = try await standing(record, policy)
        #expect(standing.state == .spreading && standing.nodes == 1 && standing.holding == 0)
        #expect(standing.lacking.map(\.name) == ["cn1", "cn2"])
        #expect(standing.lacking[1].reason == "the node is disabled; it gets the image when it is enabled")
        try await held(record, on: "cn1")
        #expect(try await self.standing(record, policy).state == .satisfied)

        try await record.request(by: record.root) { try $0.enableNodes(["cn2"]) }
        let now = record.now
        try await record.store.write { sql in
            var third = TestRecord.host(3, at: now)
            third.liveness = .never
            try sql.nodes.insert(third)
        }
        try await advance(record)
        #expect(try await wanted(record) == ["cn1", "cn2"], "nothing is sent to a node that has not connected")
        #expect(try await self.standing(record, policy).lacking.last?.reason == "the node has not connected yet")
        try await record.store.write { sql in
            var third = try #require(try sql.nodes.find(name: "cn3"))
            third.liveness = .alive
            try sql.nodes.update(third)
        }
        try await advance(record)
        #expect(try await wanted(record) == ["cn1", "cn2", "cn3"])
        let events = try await record.eventKinds().count
        try await advance(record)
        #expect(try await record.eventKinds().count == events, "what is on its way is not asked for again")
    }

    @Test("an aggregate: its nodes, and one that gets into it later")
    func aggregate() async throws {
        let record = try await TestRecord(hosts: 3)
        try await record.request(by: record.root) {
            _ = try $0.createAggregate(name: "gpu", metadata: [:], nodes: ["cn1"])
            _ = try $0.createPrefillPolicy(name: "p", image: "debian", aggregate: "gpu")
        }
        #expect(try await wanted(record) == ["cn1"])
        try await record.refused(.inUse, by: record.root) { try $0.deleteAggregate("gpu") }
        try await record.request(by: record.root) { _ = try $0.addNodes(["cn3"], to: "gpu") }
        try await advance(record)
        #expect(try await wanted(record) == ["cn1", "cn3"])
        try await record.request(by: record.root) {
            _ = try $0.updatePrefillPolicy("p", name: nil, image: nil, isEnabled: false)
        }
        try await record.request(by: record.root) { _ = try $0.addNodes(["cn2"], to: "gpu") }
        try await advance(record)
        #expect(try await wanted(record) == ["cn1", "cn3"], "it rests")
        try await record.request(by: record.root) {
            _ = try $0.deletePrefillPolicy("p")
            _ = try $0.deleteAggregate("gpu")
        }
    }

    private func image(
        _ record: TestRecord, _ name: String, owner: Actor, _ visibility: Image.Visibility = .public
    ) async throws -> ImageID {
        record.pass(.seconds(1))
        let (now, user) = (record.now, try #require(owner.user))
        var image = Image(
            id: .generate(at: now), name: name, owner: user, visibility: visibility, status: .active,
            sizeBytes: 2 << 30, createdAt: now, updatedAt: now)
        image.manifestDigest = ContentDigest(bytes: Array(repeating: 9, count: 32))
        let made = image
        try await record.store.write { try $0.images.insert(made) }
        return made.id
    }

    @Test("a replaced image travels by itself; a policy by ID keeps to its image (IMG-07)")
    func replaced() async throws {
        let record = try await TestRecord(hosts: 1)
        let old = record.image.id
        try await record.request(by: record.root) {
            _ = try $0.createPrefillPolicy(name: "by-name", image: "debian", aggregate: nil)
            _ = try $0.createPrefillPolicy(name: "by-id", image: old.description, aggregate: nil)
        }
        try await held(record, on: "cn1")
        // A user's own image of that name is not meant.
        let foreign = try await image(record, "debian", owner: record.ann, .private)
        try await advance(record)
        #expect(try await wanted(record, foreign) == [])
        let new = try await image(record, "debian", owner: record.root)
        try await advance(record)
        #expect(try await wanted(record, new) == ["cn1"])
        let (named, fixed) = try await record.request(by: record.root) { commands in
            (
                try commands.standing(of: commands.prefillPolicy("by-name")),
                try commands.standing(of: commands.prefillPolicy("by-id"))
            )
        }
        #expect(named.image?.id == new && named.state == .spreading)
        #expect(fixed.image?.id == old && fixed.state == .satisfied)
    }

    @Test("it waits for an image that is not active, and takes a cancelled copy up again, but not a paused one")
    func others() async throws {
        let record = try await TestRecord(hosts: 1)
        let prefill = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1"]) }
        try await record.request(by: record.root) { try $0.pauseOperation(prefill.id.description) }
        let policy = try await record.request(by: record.root) {
            try $0.createPrefillPolicy(name: nil, image: "debian", aggregate: nil)
        }
        #expect(try await standing(record, policy).lacking[0].reason == "a prefill of it is paused")
        let (node, image) = (try await record.node("cn1").id, record.image.id)
        #expect(try await record.store.read { try $0.images.placement(of: image, on: node)?.isPaused } == true)
        try await record.request(by: record.root) { try $0.cancelOperation(prefill.id.description, drop: false) }
        try await advance(record)
        #expect(try await record.store.read { try $0.images.placement(of: image, on: node)?.isPaused } == false)

        try await record.request(by: record.root) {
            _ = try $0.createImage(
                name: "new", format: nil, minDiskGiB: 0, minRAMMiB: 0, properties: [:], visibility: .public)
            _ = try $0.createPrefillPolicy(name: "waits", image: "new", aggregate: nil)
        }
        let waiting = try await record.request(by: record.root) { try $0.standing(of: $0.prefillPolicy("waits")) }
        #expect(waiting.state == .waiting && waiting.reason == "image 'new' is queued, not active")
        try await record.refused(.notFound, by: record.root) {
            try $0.createPrefillPolicy(name: nil, image: "nosuch", aggregate: nil)
        }
    }
}
