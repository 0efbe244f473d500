import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("Nodes' copies of images in the record")
struct ImageCacheCommandsTests {
    /// A node says how far it is with the image, and what it has of it.
    private func say(
        _ record: TestRecord, _ state: FleetReports.ObservedImage.State, on node: String, reason: String = "",
        copy change: ((inout ImageCopy) -> Void)? = nil
    ) async throws {
        let (now, image, id) = (record.now, record.image.id, try await record.node(node).id)
        var copy = ImageCopy(image: image, node: id)
        change?(&copy)
        let told = change == nil ? nil : copy
        try await record.store.write { sql in
            try FleetReports(in: sql, at: now).observe(
                [
                    .init(
                        image: image, state: state, chunksHeld: 10, chunksTotal: 10, bytesReceived: 1, reason: reason,
                        copy: told)
                ], on: id)
        }
    }

    private func placement(_ record: TestRecord, _ node: String) async throws -> ImagePlacement? {
        let (image, id) = (record.image.id, try await record.node(node).id)
        return try await record.store.read { try $0.images.placement(of: image, on: id) }
    }

    private func revision(_ record: TestRecord, _ node: String) async throws -> Revision {
        try await record.node(node).assignmentRevision
    }

    private func isPinned(_ record: TestRecord, _ node: String) async throws -> Bool {
        let (image, id) = (record.image.id, try await record.node(node).id)
        return try await record.store.read { try $0.imageCopies.isPinned(image, on: id) }
    }

    @Test("what nobody needs may be evicted: the record lets it go, and a launch wants it anew")
    func evictedByTheNode() async throws {
        let record = try await TestRecord(hosts: 2)
        let web = try await record.create("web", by: record.ann, node: "cn1")[0]
        try await say(record, .held, on: "cn1") { $0.diskBytes = 700 }
        try await record.request(by: record.ann) { try $0.deleteInstance("web") }
        try await record.report(web.id, .deleted)
        let before = try await revision(record, "cn1")
        try await say(record, .removed, on: "cn1", reason: "evicted: the disk was running out of space")
        #expect(try await placement(record, "cn1")?.state == .removing)
        #expect(try await revision(record, "cn1") > before, "the node hears that it need not have it")
        let holders = try await record.store.read { [image = record.image.id] in try $0.images.holders(of: image) }
        #expect(holders.isEmpty, "placement does not count on it")
        try await say(record, .removed, on: "cn1")
        #expect(try await placement(record, "cn1") == nil)
        let copies = try await record.store.read { [image = record.image.id] in try $0.imageCopies.copies(of: image) }
        #expect(copies.isEmpty)
        _ = try await record.create("again", by: record.ann, node: "cn1")
        #expect(try await placement(record, "cn1")?.state == .fetching)
        #expect(try await record.eventKinds().filter { $0 == "image.evicted" }.count == 1)
    }

    @Test("an eviction that crosses a launch, a pin or a prefill is asked to be undone", arguments: ["launch", "pin"])
    func evictedAndWanted(reason: String) async throws {
        let record = try await TestRecord(hosts: 1)
        if reason == "launch" {
            _ = try await record.create("web", by: record.ann)
        } else {
            try await record.request(by: record.root) { _ = try $0.prefill("debian", on: ["cn1"]) }
        }
        try await say(record, .held, on: "cn1")
        let before = try await revision(record, "cn1")
        try await say(record, .removed, on: "cn1", reason: "evicted")
        let after = try #require(try await placement(record, "cn1"))
        #expect(after.state == .fetching && after.chunksHeld == 0)
        #expect(try await revision(record, "cn1") > before)
    }

    @Test("a prefill pins, an operator unpins, and each is told to the node once")
    func pins() async throws {
        let record = try await TestRecord(hosts: 2)
        try await record.refused(.conflict, by: record.root) { try $0.pinImage("debian", on: ["cn1"], pinned: true) }
        try await record.request(by: record.root) { _ = try $0.prefill("debian", on: ["cn1"]) }
        #expect(try await isPinned(record, "cn1"))
        _ = try await record.create("web", by: record.ann, node: "cn2")
        #expect(try await !isPinned(record, "cn2"))
        var before = try await revision(record, "cn1")
        try await record.request(by: record.root) { _ = try $0.pinImage("debian", on: ["cn1", "cn1"], pinned: false) }
        #expect(try await !isPinned(record, "cn1"))
        #expect(try await revision(record, "cn1") > before)
        before = try await revision(record, "cn1")
        try await record.request(by: record.root) { _ = try $0.pinImage("debian", on: ["cn1"], pinned: false) }
        #expect(try await revision(record, "cn1") == before)
        try await record.refused(.notFound, by: record.root) {
            try $0.pinImage("debian", on: ["cn1", "cn9"], pinned: true)
        }
        #expect(try await record.eventKinds().filter { $0 == "image.unpinned" }.count == 1)
    }

    @Test("an operator evicts what is not in use, pinned or on its way; a refusal names what is in the way")
    func evict() async throws {
        let record = try await TestRecord(hosts: 3)
        let chain = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1", "cn2", "cn3"]) }
        let running = try await record.refused(.conflict, by: record.root) {
            try $0.evictImage("debian", from: ["cn1"])
        }
        #expect(running?.operation == chain.id)
        try await say(record, .held, on: "cn1")
        try await say(record, .held, on: "cn2")
        let pinned = try await record.refused(.conflict, by: record.root) { try $0.evictImage("debian", from: ["cn1"]) }
        #expect(pinned?.sentence.contains("pinned on node 'cn1'") == true)
        try await record.request(by: record.root) {
            _ = try $0.pinImage("debian", on: ["cn1", "cn2", "cn3"], pinned: false)
        }
        let web = try await record.create("web", by: record.ann, node: "cn2")[0]
        let used = try await record.refused(.inUse, by: record.root) {
            try $0.evictImage("debian", from: ["cn1", "cn2"])
        }
        #expect(used?.sentence.contains("'web'") == true && used?.sentence.contains("node 'cn2'") == true)
        try await record.request(by: record.ann) { try $0.deleteInstance("web") }
        try await record.report(web.id, .deleted)
        // The third pulls from the second: it gets another source at once.
        #expect(try await placement(record, "cn3")?.upstream == record.node("cn2").id)
        let before = try await revision(record, "cn3")
        try await record.request(by: record.root) { _ = try $0.evictImage("debian", from: ["cn2"]) }
        #expect(try await placement(record, "cn2")?.state == .removing)
        #expect(try await placement(record, "cn3")?.upstream == record.node("cn1").id)
        #expect(try await revision(record, "cn3") > before)
        try await record.refused(.conflict, by: record.root) { try $0.evictImage("debian", from: ["cn2"]) }
        #expect(try await record.eventKinds().contains("image.evicted"))
    }

    @Test("what a node says of its copies is kept, rot is an event once, and unknown copies are nobody's")
    func copies() async throws {
        let record = try await TestRecord(hosts: 2)
        _ = try await record.create("web", by: record.ann, node: "cn1")
        let (now, image, node) = (record.now, record.image.id, try await record.node("cn1").id)
        try await say(record, .held, on: "cn1") {
            $0.diskBytes = 5000
            $0.heldSince = now
        }
        for _ in 1...2 {
            try await say(record, .fetching, on: "cn1", reason: "chunk 3 was corrupt on the disk") {
                $0.corruptChunks = 2
                $0.heldSince = now
                $0.diskBytes = 5000
            }
        }
        let kept = try await record.store.read { try $0.imageCopies.find(image, on: node) }
        #expect(kept?.corruptChunks == 2 && kept?.diskBytes == 5000 && kept?.heldSince == now)
        #expect(try await record.eventKinds().filter { $0 == "image.corrupt" }.count == 1)
        let stranger = ImageID.generate(at: now)
        let other = try await record.node("cn2").id
        try await record.store.write { sql in
            let reports = FleetReports(in: sql, at: now)
            try reports.take(
                [
                    ImageCopy(image: image, node: node, diskBytes: 6000, lastUsedAt: now, corruptChunks: 2),
                    ImageCopy(image: stranger, node: node), ImageCopy(image: image, node: other),
                ], on: node)
        }
        let all = try await record.store.read { sql in
            (try sql.imageCopies.copies(on: node), try sql.imageCopies.copies(on: other))
        }
        #expect(all.0.count == 1 && all.0[image]?.diskBytes == 6000 && all.0[image]?.lastUsedAt == now)
        #expect(all.1.isEmpty)
        #expect(try await record.eventKinds().filter { $0 == "image.corrupt" }.count == 1)
    }
}
