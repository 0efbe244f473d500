import ManagerModel
import ManagerStore
import ProtocolModel
import ProtocolTransfer
import Testing

@testable import ManagerLifecycle

@Suite("Images of instances' disks")
struct ImageCaptureTests {
    private let manager = ManagerID.generate(at: Timestamp(milliseconds: 1))
    private let digest = ContentDigest(bytes: Array(repeating: 5, count: 32))!

    /// A record with an instance of ann's that runs, on a host whose agent can copy disks.
    private func site() async throws -> (record: TestRecord, instance: Instance) {
        let record = try await TestRecord(hosts: 1)
        try await change(record) { $0.inventory.copiesDisks = true }
        let instance = try await record.create("web", by: record.ann)[0]
        try await record.report(instance.id, .running)
        return (record, try await record.instance(instance.id))
    }

    private func change(_ record: TestRecord, _ body: @escaping @Sendable (inout Node) -> Void) async throws {
        try await record.store.write { sql in
            var node = try #require(try sql.nodes.find(name: "cn1"))
            body(&node)
            try sql.nodes.update(node)
        }
    }

    private func capture(
        _ name: String = "golden", from instance: String = "web", properties: [String: String] = [:],
        visibility: Image.Visibility? = nil
    ) -> @Sendable (Commands) throws -> Image {
        { [manager] in
            try $0.captureImage(
                name: name, from: instance, minDiskGiB: 0, minRAMMiB: nil, properties: properties,
                visibility: visibility, by: manager)
        }
    }

    private func observe(_ record: TestRecord, _ image: ImageID, _ state: CaptureStatusValue.State) async throws {
        let node = try await record.node("cn1").id
        let now = record.now
        try await record.store.write { sql in
            let seen = CaptureStatusValue(image: image, state: state, code: "disk_full", reason: "the disk is full")
            try FleetReports(in: sql, at: now).observe([seen], on: node)
        }
    }

    private func image(_ record: TestRecord, _ id: ImageID) async throws -> Image {
        try await record.store.read { try #require(try $0.images.find(id)) }
    }

    private func captures(_ record: TestRecord) async throws -> [ImageCapture] {
        try await record.store.read { try $0.imageCaptures.list() }
    }

    @Test("an image is made in steps that the record tells, and the node hears of its beginning and its end")
    func life() async throws {
        let (record, instance) = try await site()
        try await record.store.write { [image = record.image] sql in
            var image = image
            (image.properties, image.minRAMMiB) = (["readiness": "none", "os_type": "linux"], 256)
            try sql.images.update(image)
        }
        let before = try await record.node("cn1").assignmentRevision
        let made = try await record.request(by: record.ann, capture(properties: ["os_type": "bsd"]))
        #expect(made.status == .saving && made.visibility == .private && made.owner == instance.owner)
        #expect(made.properties == ["readiness": "none", "os_type": "bsd"] && made.minRAMMiB == 256)
        #expect(try await record.node("cn1").assignmentRevision > before)
        #expect(try await captures(record).map(\.instance) == [instance.id])

        try await observe(record, made.id, .copying(percent: 50))
        #expect(try await image(record, made.id).progress == 20)
        try await observe(record, made.id, .ready(manifestDigest: digest, sizeBytes: 10 << 30))
        #expect(try await captures(record).first?.state == .ready)
        try await record.request(by: .manager) { try $0.noteCapturePull(made.id, percent: 50) }
        #expect(try await image(record, made.id).progress == 69)
        let told = try await record.node("cn1").assignmentRevision
        try await record.request(by: .manager) { [digest] in
            try $0.finishCapture(made.id, manifestDigest: digest, sizeBytes: 10 << 30)
        }
        let done = try await image(record, made.id)
        #expect(done.status == .active && done.progress == 100 && done.format == "raw")
        #expect(done.manifestDigest == digest && done.sizeBytes == 10 << 30)
        #expect(try await record.operation(done.operation).status == .succeeded)
        #expect(try await captures(record).isEmpty)
        #expect(try await record.node("cn1").assignmentRevision > told)
        #expect(try await record.eventKinds().contains("image.active"))
        // A report that comes late changes nothing.
        try await observe(record, made.id, .copying(percent: 1))
        #expect(try await image(record, made.id) == done)
    }

    @Test(
        "properties that are older than their checks do not keep an image from being made; those that are given are checked"
    )
    func oldProperties() async throws {
        let (record, _) = try await site()
        try await record.store.write { [image = record.image] sql in
            var image = image
            image.properties = ["os_distro": "a b"]
            try sql.images.update(image)
        }
        for given in [["hw_video_model": "matrox"], ["os_distro": "c d"], ["hw_disk_bus": "ide"]] {
            try await record.refused(.unprocessable, by: record.ann, capture(properties: given))
        }
        let made = try await record.request(by: record.ann, capture(properties: ["hw_video_model": "vga"]))
        #expect(made.properties == ["os_distro": "a b", "hw_video_model": "vga"])
    }

    @Test("an image of a disk says of hardware what its guest has, and not what its source says by now")
    func hardware() async throws {
        let (record, instance) = try await site()
        try await record.store.write { [image = record.image] sql in
            var image = image
            image.properties = [
                "hw_disk_bus": "sata", "hw_vif_model": "ne2k", "hw_machine_type": "q35", "hw_cpu_threads": "2",
                "os_type": "windows", "site": "x",
            ]
            try sql.images.update(image)
        }
        let made = try await record.request(by: record.ann, capture())
        #expect(
            made.properties
                == ["hw_machine_type": "q35", "hw_cpu_threads": "2", "os_type": "windows", "site": "x"])
        #expect(instance.hardware.isEmpty)

        let other = try await TestRecord(hosts: 1)
        try await change(other) { ($0.inventory.copiesDisks, $0.inventory.shapesHardware) = (true, true) }
        func set(_ properties: [String: String]) async throws {
            try await other.store.write { [image = other.image] sql in
                var image = image
                image.properties = properties
                try sql.images.update(image)
            }
        }
        try await set(["hw_disk_bus": "scsi", "hw_vif_model": "e1000"])
        try await other.report(try await other.create("web", by: other.ann)[0].id, .running)
        try await set(["hw_vif_model": "e1000"])
        #expect(
            try await other.request(by: other.ann, capture(properties: ["hw_vif_model": "virtio"])).properties
                == ["hw_disk_bus": "scsi", "hw_vif_model": "virtio"])
    }

    @Test("a copy that was lost is made anew, and the old one is not taken for it")
    func anew() async throws {
        let (record, _) = try await site()
        let made = try await record.request(by: record.ann, capture())
        try await observe(record, made.id, .ready(manifestDigest: digest, sizeBytes: 4096))
        try await observe(record, made.id, .copying(percent: 0))
        #expect(try await captures(record).first?.state == .copying)
        try await record.refused(.conflict, by: .manager) { [digest] in
            try $0.finishCapture(made.id, manifestDigest: digest, sizeBytes: 4096)
        }
    }

    @Test("whose disk it is says who may: another's instance is not there (P9)")
    func permission() async throws {
        let (record, instance) = try await site()
        for reference in ["web", "\(instance.id)", "nobody"] {
            try await record.refused(.notFound, by: record.bob, capture(from: reference))
        }
        let made = try await record.request(by: record.root, capture(visibility: .public))
        #expect(made.visibility == .public && made.owner == record.root.user)
    }

    @Test("what cannot be copied now is refused, with what to do")
    func refusals() async throws {
        let (record, instance) = try await site()
        try await change(record) { $0.enabled = false }
        try await record.refused(.nodeDisabled, by: record.ann, capture())
        try await change(record) {
            $0.enabled = true; $0.liveness = .down
        }
        #expect(try await record.refused(.conflict, by: record.ann, capture())?.sentence.contains("is down") == true)
        try await change(record) {
            $0.liveness = .alive; $0.inventory.copiesDisks = nil
        }
        let old = try await record.refused(.conflict, by: record.ann, capture())
        #expect(old?.detailCode == "agent_too_old" && old?.sentence.contains("upgrade") == true)
        try await change(record) { $0.inventory.copiesDisks = true }

        let first = try await record.request(by: record.ann, capture())
        let second = try await record.refused(.conflict, by: record.ann, capture("other"))
        #expect(second?.operation == first.operation)
        // Once its disk is copied, another may be made.
        try await observe(record, first.id, .ready(manifestDigest: digest, sizeBytes: 4096))
        _ = try await record.request(by: record.ann, capture("other"))

        let building = try await record.create("new", by: record.ann)[0]
        #expect(
            try await record.refused(.conflict, by: record.ann, capture("x", from: "new"))?.operation
                == building.operation)
        _ = try await record.request(by: record.ann) { try $0.deleteInstance("\(instance.id)") }
        try await record.refused(.conflict, by: record.ann, capture("y"))
    }

    @Test("an image that is deleted meanwhile leaves the node's set; no file is taken for it before")
    func deletedImage() async throws {
        let (record, _) = try await site()
        let made = try await record.request(by: record.ann, capture())
        try await record.refused(.conflict, by: record.ann) { [manager] in
            try $0.beginUpload("\(made.id)", by: manager, continuing: true)
        }
        try await record.refused(.conflict, by: record.ann) { try $0.beginUpload("\(made.id)") }
        let before = try await record.node("cn1").assignmentRevision
        _ = try await record.request(by: record.ann) { try $0.deleteImage("golden") }
        #expect(try await captures(record).isEmpty)
        #expect(try await record.node("cn1").assignmentRevision > before)
        #expect(try await record.operation(made.operation).status == .failed)
        try await observe(record, made.id, .ready(manifestDigest: digest, sizeBytes: 4096))
        #expect(try await image(record, made.id).status == .deleted)
    }

    @Test("an instance that is deleted ends the copy of its disk; a copy that is whole outlives it")
    func deletedInstance() async throws {
        let (record, instance) = try await site()
        let whole = try await record.request(by: record.ann, capture("whole"))
        try await observe(record, whole.id, .ready(manifestDigest: digest, sizeBytes: 4096))
        let half = try await record.request(by: record.ann, capture("half"))
        _ = try await record.request(by: record.ann) { try $0.deleteInstance("\(instance.id)") }
        let failed = try await image(record, half.id)
        #expect(failed.status == .error && failed.statusReason.contains("instance was deleted"))
        #expect(try await record.operation(half.operation).errorCode == "instance_deleted")
        #expect(try await captures(record).map(\.image) == [whole.id])
    }

    @Test("what the node says ends it: a failure, an agent that cannot any more, or the node's removal")
    func ends() async throws {
        let (record, instance) = try await site()
        let full = try await record.request(by: record.ann, capture("full"))
        try await observe(record, full.id, .failed)
        #expect(try await image(record, full.id).statusReason == "the disk is full")
        #expect(try await record.operation(full.operation).errorCode == "disk_full")

        let old = try await record.request(by: record.ann, capture("old"))
        let node = try await record.node("cn1")
        let now = record.now
        try await record.store.write { sql in
            var inventory = node.inventory
            inventory.copiesDisks = false
            try FleetReports(in: sql, at: now).takeInventory(node.id, inventory, location: "")
        }
        #expect(try await record.operation(old.operation).errorCode == "agent_too_old")

        try await change(record) { $0.inventory.copiesDisks = true }
        let left = try await record.request(by: record.ann, capture("left"))
        try await observe(record, left.id, .ready(manifestDigest: digest, sizeBytes: 4096))
        _ = try await record.request(by: record.ann) { try $0.deleteInstance("\(instance.id)") }
        try await record.report(instance.id, .deleted)
        _ = try await record.request(by: record.root) { try $0.removeNode("cn1") }
        #expect(try await record.operation(left.operation).errorCode == "node_removed")
        #expect(try await captures(record).isEmpty)
    }

    @Test("what an image waits for is told: a node that is down, and what its agent says is in the way")
    func reasons() async throws {
        let (record, _) = try await site()
        let made = try await record.request(by: record.ann, capture())
        let node = try await record.node("cn1")
        let now = record.now
        try await record.store.write { sql in
            let seen = CaptureStatusValue(
                image: made.id, state: .copying(percent: 0), code: "x", reason: "libvirt is away")
            try FleetReports(in: sql, at: now).observe([seen], on: node.id)
        }
        #expect(try await image(record, made.id).statusReason == "libvirt is away")
        try await record.store.write { sql in
            try FleetReports(in: sql, at: now).setLiveness(
                node.id, .down, session: node.sessionEpoch, lastSeenAt: now, detail: "")
        }
        let waiting = try await image(record, made.id)
        #expect(waiting.status == .saving && waiting.statusReason.contains("is down"))
        try await observe(record, made.id, .copying(percent: 10))
    }

    @Test("a node speaks only for its own")
    func foreignNode() async throws {
        let (record, _) = try await site()
        let made = try await record.request(by: record.ann, capture())
        let now = record.now
        try await record.store.write { sql in
            let seen = CaptureStatusValue(image: made.id, state: .failed)
            try FleetReports(in: sql, at: now).observe([seen], on: .generate(at: now))
        }
        #expect(try await image(record, made.id).status == .saving)
    }
}
