import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

/// A second request for what is being changed is refused, changes nothing, and names the operation in the way.
@Suite("Conflicts with running operations")
struct ConflictTests {
    @Test("an instance")
    func instance() async throws {
        let record = try await TestRecord(hosts: 1)
        let web = try await record.create("web", by: record.ann)[0]
        for refused in [
            try await record.refused(.conflict, by: record.ann) { try $0.rebootInstance("web", force: false) },
            try await record.refused(.conflict, by: record.ann) { try $0.stopInstance("web", force: false) },
            try await record.refused(.conflict, by: record.ann) { try $0.startInstance("web") },
        ] {
            #expect(refused?.operation == web.operation)
        }
        let gone = try await record.request(by: record.ann) { try $0.deleteInstance("web") }
        // The first answer may have been lost.
        let again = try await record.request(by: record.ann) { try $0.deleteInstance("web") }
        #expect(again == gone)
        let start = try await record.refused(.conflict, by: record.ann) { try $0.startInstance("web") }
        #expect(start?.operation == gone.operation)
    }

    @Test("an image that is being imported")
    func importing() async throws {
        let record = try await TestRecord(hosts: 1)
        let image = try await record.request(by: record.root) { commands in
            _ = try commands.createImage(
                name: "new", format: nil, minDiskGiB: 0, minRAMMiB: 0, properties: [:], visibility: .public)
            return try commands.beginUpload("new")
        }
        for step in 0...1 {
            let second = try await record.refused(.conflict, by: record.root) { try $0.beginUpload("new") }
            let use = try await record.refused(.imageNotReady, by: record.ann) {
                try $0.createInstances(InstanceCreation(name: "x", flavor: "small", image: "new"))
            }
            for refusal in [second, use] {
                #expect(refusal?.operation == image.operation)
                #expect(refusal?.operation != nil)
            }
            guard step == 0 else { break }
            // The same upload may go on meanwhile.
            #expect(try await record.request(by: record.root) { try $0.beginUpload("new", continuing: true) } == image)
            try await record.request(by: record.root) {
                _ = try $0.beginConversion(
                    image.id, uploadBytes: 1, checksum: ContentDigest(bytes: Array(repeating: 1, count: 32))!)
            }
        }
        let deletion = try await record.refused(.conflict, by: record.root) { try $0.deleteImage("new") }
        #expect(deletion?.operation == image.operation)
        try await record.refused(.conflict, by: record.root) { try $0.beginUpload("new", continuing: true) }
        try await record.request(by: record.root) { try $0.failImport(image.id, code: "x", sentence: "broken") }
        let after = try await record.refused(.imageNotReady, by: record.root) { try $0.prefill("new", on: ["cn1"]) }
        #expect(after?.operation == nil, "it has ended, so it is in nobody's way")
        try await record.request(by: record.root) { try $0.deleteImage("new") }
    }

    @Test("an image whose file still arrives can be deleted, which ends its import")
    func arriving() async throws {
        let record = try await TestRecord(hosts: 0)
        let image = try await record.request(by: record.root) { commands in
            _ = try commands.createImage(
                name: "new", format: nil, minDiskGiB: 0, minRAMMiB: 0, properties: [:], visibility: .public)
            return try commands.beginUpload("new")
        }
        try await record.request(by: record.root) { try $0.noteArrival(image.id, bytes: 25, of: 100) }
        let saving = try await record.request(by: record.root) { try $0.image("new") }
        #expect(saving.progress == 10 && saving.uploadBytes == 25 && saving.statusReason == "receiving the file")
        try await record.request(by: record.root) { try $0.deleteImage("new") }
        let operation = try await record.operation(image.operation)
        #expect(operation.status == .failed && operation.errorCode == "cancelled")
        try await record.refused(.conflict, by: .manager) {
            try $0.beginConversion(
                image.id, uploadBytes: 1, checksum: ContentDigest(bytes: Array(repeating: 1, count: 32))!)
        }
    }

    @Test("an image that is being prefilled: its deletion, and a second chain through the same node")
    func prefill() async throws {
        let record = try await TestRecord(hosts: 3)
        let chain = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn1", "cn2"]) }
        let same = try await record.refused(.conflict, by: record.root) {
            try $0.prefill("debian", on: ["cn3", "cn2"])
        }
        #expect(same?.operation == chain.id)
        #expect(same?.sentence.contains("cn2") == true)
        let deletion = try await record.refused(.conflict, by: record.root) { try $0.deleteImage("debian") }
        #expect(deletion?.operation == chain.id)
        let other = try await record.request(by: record.root) { try $0.prefill("debian", on: ["cn3"]) }
        #expect(other.status == .running, "another node may begin meanwhile")

        // Nodes that are removed are waited for no longer.
        try await record.request(by: record.root) { try $0.removeNode("cn1") }
        #expect(try await record.operation(chain.id).hosts[0].detail == "the node was removed")
        try await record.request(by: record.root) { try $0.removeNode("cn2") }
        #expect(try await record.operation(chain.id).status == .failed)
        try await record.request(by: record.root) { try $0.removeNode("cn3") }
        try await record.request(by: record.root) { try $0.deleteImage("debian") }
        #expect(try await record.eventKinds().filter { $0 == "image.prefill_failed" }.count == 2)
    }

    @Test("a node that is being emptied, until that has ended")
    func drain() async throws {
        let record = try await TestRecord(hosts: 2)
        let web = try await record.create("web", by: record.ann, node: "cn1")[0]
        try await record.report(web.id, .running)
        let drain = try await record.request(by: record.root) { try $0.disableNodes(["cn1"], DrainOrder()) }
        let second = try await record.refused(.conflict, by: record.root) {
            try $0.disableNodes(["cn1"], DrainOrder(forceShutoff: true))
        }
        #expect(second?.operation == drain.id)
        // It stops none of the others (HLT-17).
        let both = try await record.request(by: record.root) { try $0.disableNodes(["cn2", "cn1"], DrainOrder()) }
        #expect(both.hosts.map(\.state) == ["done", "failed"] && both.hosts[1].detail.contains("\(drain.id)"))
        // Enabling ends a drain at once, so that a new one does not meet the old.
        try await record.request(by: record.root) { try $0.enableNodes(["cn1"]) }
        #expect(try await record.operation(drain.id).status == .failed)
        try await record.report(web.id, .running)
        let next = try await record.request(by: record.root) { try $0.disableNodes(["cn1"], DrainOrder()) }
        try await record.report(web.id, .stopped)
        try await record.advanceDrains()
        #expect(try await record.operation(next.id).status == .succeeded)
        #expect(try await record.eventKinds().suffix(2) == ["node.drained", "node.disable_succeeded"])
        let third = try await record.request(by: record.root) { try $0.disableNodes(["cn1"], DrainOrder()) }
        #expect(third.status == .succeeded, "nothing is in the way any more")
    }
}
