import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("Prefills")
struct PrefillTests {
    private func report(
        _ record: TestRecord, _ state: FleetReports.ObservedImage.State, on node: String, held: Int,
        of image: ImageID? = nil
    ) async throws {
        let (now, image, id) = (record.now, image ?? record.image.id, try await record.node(node).id)
        try await record.store.write { sql in
            try FleetReports(in: sql, at: now).observe(
                [
                    .init(
                        image: image, state: state, chunksHeld: held, chunksTotal: 10,
                        bytesReceived: Int64(held) << 22, reason: "")
                ], on: id)
        }
    }

    private func copy(_ record: TestRecord, on node: String) async throws -> ImagePlacement? {
        let (image, id) = (record.image.id, try await record.node(node).id)
        return try await record.store.read { try $0.images.placement(of: image, on: id) }
    }

    private func revision(_ record: TestRecord, _ node: String) async throws -> Revision {
        try await record.node(node).assignmentRevision
    }

    /// What the manager that leads does once a second.
    private func advance(_ record: TestRecord) async throws {
        try await record.request(by: .manager) { commands in
            for id in try commands.sql.operations.waitingPrefills() {
                if let operation = try commands.sql.operations.find(id) { try commands.advancePrefill(operation) }
            }
        }
    }

    private func states(_ record: TestRecord, _ id: OperationID) async throws -> [String] {
        try await record.operation(id).hosts.map(\.state)
    }

    // MARK: Chains

    @Test("hosts are put into a chain by location, and those that were slow at its end") func chain() async throws {
        let record = try await TestRecord(hosts: 4)
        let now = record.now
        try await record.store.write { sql in
            for (number, location) in [(1, "row1"), (2, "row2"), (3, "row1"), (4, "row2")] {
                guard var node = try sql.nodes.find(name: "cn\(number)") else { continue }
                node.location = location
                try sql.nodes.update(node)
                try sql.chains.remember(number == 1 ? 1_000_000 : 25_000_000, of: node.id, at: now)
            }
        }
        _ = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1", "cn2", "cn3", "cn4"]) }
        var before: NodeID?
        for name in ["cn3", "cn2", "cn4", "cn1"] {
            #expect(try await copy(record, on: name)?.upstream == before)
            before = try await record.node(name).id
        }
    }

    // MARK: Pause, resume, cancel

    @Test("a pause holds each copy where it is, and is told to its node; resumed, it goes on")
    func pause() async throws {
        let record = try await TestRecord(hosts: 3)
        let prefill = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1", "cn2", "cn3"]) }
        try await report(record, .held, on: "cn1", held: 10)
        try await report(record, .fetching, on: "cn2", held: 4)
        let before = try await revision(record, "cn2")
        let paused = try await record.request(by: record.root) { try $0.pauseOperation(prefill.id.description) }
        #expect(paused.isPaused && paused.status == .running)
        #expect(paused.hosts.map(\.state) == ["held", "paused", "paused"])
        #expect(try await revision(record, "cn2") > before)
        #expect(try await copy(record, on: "cn2")?.isPaused == true)
        // A report that was on its way changes nothing of that, and a second pause neither.
        try await report(record, .fetching, on: "cn2", held: 5)
        let events = try await record.eventKinds().count
        try await record.request(by: record.root) { try $0.pauseOperation(prefill.id.description) }
        #expect(try await record.eventKinds().count == events)
        #expect(try await states(record, prefill.id) == ["held", "paused", "paused"])
        let resumed = try await record.request(by: record.root) { try $0.resumeOperation(prefill.id.description) }
        #expect(!resumed.isPaused && resumed.hosts.map(\.state) == ["held", "fetching", "fetching"])
        #expect(resumed.hosts[1].progress == 50, "what came is kept")
        for node in ["cn2", "cn3"] { try await report(record, .held, on: node, held: 10) }
        #expect(try await record.operation(prefill.id).status == .succeeded)
        try await record.refused(.conflict, by: record.root) { try $0.pauseOperation(prefill.id.description) }
    }

    @Test("a cancelled prefill ends at once; what came is kept and a later prefill goes on from there")
    func cancel() async throws {
        let record = try await TestRecord(hosts: 3)
        let prefill = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1", "cn2"]) }
        try await report(record, .held, on: "cn1", held: 10)
        try await report(record, .fetching, on: "cn2", held: 4)
        let ended = try await record.request(by: record.root) {
            try $0.cancelOperation(prefill.id.description, drop: false)
        }
        #expect(ended.status == .cancelled && ended.hosts.map(\.state) == ["held", "cancelled"])
        #expect(ended.errorDetail == "cancelled by root; what came is kept for a later prefill")
        #expect(try await record.eventKinds().last == "image.prefill_cancelled")
        let kept = try #require(try await copy(record, on: "cn2"))
        #expect(kept.isPaused && kept.state == .fetching && kept.chunksHeld == 4 && kept.operation == nil)
        try await record.refused(.conflict, by: record.root) {
            try $0.cancelOperation(prefill.id.description, drop: true)
        }
        let again = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1", "cn2"]) }
        #expect(again.hosts.map(\.state) == ["held", "fetching"] && again.hosts.map(\.progress) == [100, 40])
        #expect(again.hosts[0].bytes == 0, "only what is missing is sent (HLT-39)")
        #expect(try await copy(record, on: "cn2")?.isPaused == false)
    }

    @Test("cancelled with drop, what came is removed; a host whose copy is whole keeps it")
    func drop() async throws {
        let record = try await TestRecord(hosts: 2)
        let prefill = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1", "cn2"]) }
        try await report(record, .held, on: "cn1", held: 10)
        try await record.request(by: record.root) { try $0.cancelOperation(prefill.id.description, drop: true) }
        #expect(try await copy(record, on: "cn1")?.state == .held)
        #expect(try await copy(record, on: "cn2")?.state == .removing)
        try await report(record, .removed, on: "cn2", held: 0)
        #expect(try await copy(record, on: "cn2") == nil)
    }

    @Test("what an instance waits for is neither paused nor cancelled, and unpauses what is")
    func launch() async throws {
        let record = try await TestRecord(hosts: 2)
        let prefill = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1", "cn2"]) }
        try await record.request(by: record.root) { try $0.pauseOperation(prefill.id.description) }
        _ = try await record.create("web", by: record.root, node: "cn2")
        let copy = try #require(try await self.copy(record, on: "cn2"))
        #expect(copy.priority == .launch && !copy.isPaused)
        #expect(try await self.copy(record, on: "cn1")?.isPaused == true)
        try await record.request(by: record.root) { try $0.cancelOperation(prefill.id.description, drop: true) }
        #expect(try await self.copy(record, on: "cn2")?.state == .fetching)
        #expect(try await self.copy(record, on: "cn1")?.state == .removing)
    }

    @Test("who pulls from a copy that is paused pulls from the one before it instead")
    func bypass() async throws {
        let record = try await TestRecord(hosts: 3)
        _ = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1"]) }
        let second = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn2"]) }
        _ = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn3"]) }
        let (first, middle) = (try await record.node("cn1").id, try await record.node("cn2").id)
        #expect(try await copy(record, on: "cn3")?.upstream == middle)
        try await record.request(by: record.root) { try $0.pauseOperation(second.id.description) }
        #expect(try await copy(record, on: "cn3")?.upstream == first)
    }

    @Test("only its owner and superusers control an operation, and only of a kind that can be")
    func whose() async throws {
        let record = try await TestRecord(hosts: 1)
        let prefill = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1"]) }
        try await record.refused(.notFound, by: record.ann) { try $0.pauseOperation(prefill.id.description) }
        let web = try await record.create("web", by: record.ann)[0]
        let operation = try #require(web.operation)
        try await record.refused(.conflict, by: record.ann) {
            try $0.cancelOperation(operation.description, drop: false)
        }
    }

    // MARK: Images that are not active yet

    private func newImage(_ record: TestRecord) async throws -> Image {
        try await record.request(by: record.root) {
            _ = try $0.createImage(
                name: "new", format: nil, minDiskGiB: 0, minRAMMiB: 0, properties: [:], visibility: .public)
            return try $0.beginUpload("new")
        }
    }

    private func convert(_ record: TestRecord, _ image: Image) async throws {
        let digest = try #require(ContentDigest(bytes: Array(repeating: 1, count: 32)))
        try await record.request(by: record.root) {
            _ = try $0.beginConversion(image.id, uploadBytes: 1, checksum: digest)
        }
    }

    @Test("a prefill of an image that is on its way waits for it by itself (IMG-02)")
    func waits() async throws {
        let record = try await TestRecord(hosts: 2)
        let image = try await newImage(record)
        let prefill = try await record.request(by: record.root) { try $0.prefill("new", on: ["cn1", "cn2"]) }
        #expect(prefill.status == .running && prefill.hosts.map(\.state) == ["waiting", "waiting"])
        try await record.refused(.conflict, by: record.root) { try $0.prefill("new", on: ["cn2"]) }
        try await convert(record, image)
        try await advance(record)
        #expect(try await states(record, prefill.id) == ["waiting", "waiting"])
        // Paused, it does not begin though the image has become active.
        try await record.request(by: record.root) { try $0.pauseOperation(prefill.id.description) }
        let digest = try #require(ContentDigest(bytes: Array(repeating: 2, count: 32)))
        try await record.request(by: .manager) {
            try $0.finishImport(image.id, .init(format: "raw", sizeBytes: 1 << 20, manifestDigest: digest))
        }
        try await advance(record)
        #expect(try await states(record, prefill.id) == ["waiting", "waiting"])
        // One that leaves while it waits does not hold up the other.
        try await record.request(by: record.root) { _ = try $0.removeNode("cn1") }
        try await record.request(by: record.root) { try $0.resumeOperation(prefill.id.description) }
        #expect(try await states(record, prefill.id) == ["failed", "fetching"])
        try await report(record, .held, on: "cn2", held: 10, of: image.id)
        let ended = try await record.operation(prefill.id)
        #expect(ended.status == .failed && ended.errorDetail == "cn1: the node was removed")
    }

    @Test("if the image ends in error, the prefill fails and says why")
    func imageFails() async throws {
        let record = try await TestRecord(hosts: 1)
        let image = try await newImage(record)
        let prefill = try await record.request(by: record.root) { try $0.prefill("new", on: ["cn1"]) }
        try await record.request(by: .manager) { try $0.failImport(image.id, code: "x", sentence: "no such format") }
        try await advance(record)
        let ended = try await record.operation(prefill.id)
        #expect(ended.status == .failed && ended.errorCode == "image_not_ready")
        #expect(ended.errorDetail == "the image is error: no such format")
        #expect(ended.hosts[0].state == "failed")
    }

    // MARK: Nodes that leave

    @Test("a node that is disabled is told as failed and gets nothing; the others go on; enabled again, it goes on too")
    func disabled() async throws {
        let record = try await TestRecord(hosts: 3)
        let prefill = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1", "cn2", "cn3"]) }
        let (above, below) = (try await revision(record, "cn1"), try await revision(record, "cn3"))
        try await record.request(by: record.root) { _ = try $0.disableNodes(["cn2"], DrainOrder()) }
        #expect(try await revision(record, "cn1") > above, "its source is told at once not to serve it (SEC-07)")
        #expect(try await revision(record, "cn3") > below)
        var current = try await record.operation(prefill.id)
        #expect(current.status == .running && current.hosts.map(\.state) == ["fetching", "failed", "fetching"])
        #expect(current.hosts[1].detail.hasPrefix("the node is disabled"))
        try await record.request(by: record.root) { try $0.enableNodes(["cn2"]) }
        current = try await record.operation(prefill.id)
        #expect(current.hosts.map(\.state) == ["fetching", "fetching", "fetching"])
    }

    @Test("the source of a node that is removed is told at once not to serve it (SEC-07)")
    func removed() async throws {
        let record = try await TestRecord(hosts: 2)
        _ = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1", "cn2"]) }
        let before = try await revision(record, "cn1")
        try await record.request(by: record.root) { _ = try $0.removeNode("cn2") }
        #expect(try await revision(record, "cn1") > before)
    }

    @Test("the rate is what came since the last report, and in the end over the whole time")
    func rate() async throws {
        let record = try await TestRecord(hosts: 1)
        let prefill = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1"]) }
        record.pass(.seconds(2))
        try await report(record, .fetching, on: "cn1", held: 2)
        #expect(try await record.operation(prefill.id).hosts[0].rate == Double(2 << 22) / 2)
        record.pass(.seconds(2))
        try await report(record, .fetching, on: "cn1", held: 8)
        #expect(try await record.operation(prefill.id).hosts[0].rate == Double(6 << 22) / 2)
        try await report(record, .held, on: "cn1", held: 10)
        #expect(try await record.operation(prefill.id).hosts[0].rate == Double(10 << 22) / 4)
    }
}
