import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

/// Who may see, use and change an image, and what becomes of one that is put out of use.
@Suite("Images: sharing, deactivation, protection, replacement")
struct ImageChangeTests {
    /// A record with `cyd`, whose account is `physics`, and a private image of ann's.
    private func site() async throws -> (record: TestRecord, cyd: Actor, image: Image) {
        let record = try await TestRecord(hosts: 2)
        let now = record.now
        let cyd = User(
            id: .generate(at: now), name: "cyd", role: .user, account: "physics", email: nil, passwordHash: "",
            tokensValidAfter: now, createdAt: now)
        try await record.store.write { sql in
            try sql.accounts.insert(Account(id: .generate(at: now), name: "physics", createdAt: now))
            try sql.users.insert(cyd)
        }
        let image = try await make(record, "tools", .private, by: record.ann)
        return (record, Actor(user: cyd.id, name: "cyd", role: .user, account: "physics"), image)
    }

    private func make(
        _ record: TestRecord, _ name: String, _ visibility: Image.Visibility, by actor: Actor
    ) async throws -> Image {
        try await record.request(by: actor) { commands in
            let image = try commands.createImage(
                name: name, format: "raw", minDiskGiB: 4, minRAMMiB: 1024, properties: ["os_type": "linux"],
                visibility: visibility)
            _ = try commands.beginUpload("\(image.id)")
            let digest = ContentDigest(bytes: Array(repeating: 9, count: 32))!
            _ = try commands.beginConversion(image.id, uploadBytes: 512, checksum: digest)
            try commands.finishImport(image.id, .init(format: "raw", sizeBytes: 512, manifestDigest: digest))
            return try commands.image("\(image.id)")
        }
    }

    private func names(_ record: TestRecord, _ actor: Actor) async throws -> [String] {
        try await record.store.read {
            try $0.images.list(actor.scope(.imageRead)!, offeredTo: actor.user, only: .ownOrOffered).map(\.name)
                .sorted()
        }
    }

    private func launch(_ image: String) -> @Sendable (Commands) throws -> [Instance] {
        { try $0.createInstances(InstanceCreation(name: "i", flavor: "small", image: image)) }
    }

    @Test("an image is seen and used by its owner's choice of accounts alone (P9)")
    func sharing() async throws {
        let (record, cyd, image) = try await site()
        for reference in ["tools", "\(image.id)"] {
            for actor in [record.bob, cyd] {
                try await record.refused(.notFound, by: actor) { try $0.image(reference) }
            }
        }
        try await record.refused(.invalidRequest, by: record.ann) { try $0.shareImage("tools", with: "nobody-has-it") }
        try await record.refused(.notFound, by: cyd) { try $0.shareImage("\(image.id)", with: "physics") }
        let shared = try await record.request(by: record.ann) { try $0.shareImage("tools", with: "physics") }
        #expect(shared.visibility == .shared)
        // Shared once more, nothing changes.
        try await record.request(by: record.ann) { try $0.shareImage("tools", with: "physics") }
        #expect(try await names(record, cyd) == ["debian", "tools"])
        #expect(try await names(record, record.bob) == ["debian"])
        #expect(try await record.request(by: cyd, launch("tools")).count == 1)
        try await record.refused(.notFound, by: record.bob, launch("\(image.id)"))
        for change: @Sendable (Commands) throws -> Image in [
            { try $0.shareImage("tools", with: "default") }, { try $0.unshareImage("tools", with: "physics") },
            { try $0.deactivateImage("tools") }, { try $0.reactivateImage("tools") }, { try $0.deleteImage("tools") },
            { try $0.replaceImage("tools", by: "debian") },
            {
                try $0.updateImage(
                    "tools", name: "mine", visibility: nil, properties: nil, minDiskGiB: nil, minRAMMiB: nil)
            },
        ] { try await record.refused(.forbidden, by: cyd, change) }
        let alone = try await record.request(by: record.ann) { try $0.unshareImage("tools", with: "physics") }
        #expect(alone.visibility == .private)
        try await record.refused(.notFound, by: cyd) { try $0.image("tools") }
        // Made private, it is shared with nobody, also once it is shared again.
        try await record.request(by: record.ann) { commands in
            _ = try commands.shareImage("tools", with: "physics")
            _ = try commands.updateImage(
                "tools", name: nil, visibility: .private, properties: nil, minDiskGiB: nil, minRAMMiB: nil)
            _ = try commands.shareImage("tools", with: "default")
        }
        #expect(try await record.store.read { try $0.images.accounts(of: image.id) } == ["default"])
        try await record.refused(.notFound, by: cyd) { try $0.image("tools") }
        try await record.refused(.conflict, by: record.root) { try $0.shareImage("debian", with: "physics") }
    }

    @Test("one write of a batch sees what another has shared")
    func sharingInOneBatch() async throws {
        let (record, cyd, _) = try await site()
        let (now, ann) = (record.now, record.ann)
        try await record.store.write { sql in
            let commands = { (actor: Actor) in Commands(in: sql, actor: actor, at: now, settings: LifecycleSettings()) }
            #expect(throws: Refusal.self) { try commands(cyd).image("tools") }
            _ = try commands(ann).shareImage("tools", with: "physics")
            #expect(try commands(cyd).image("tools").name == "tools")
        }
    }

    @Test("a deactivated image is offered to nobody, what runs goes on, and its owner may still start it (IMG-08)")
    func deactivation() async throws {
        let record = try await TestRecord(hosts: 2)
        let web = try await record.create("web", by: record.ann)[0]
        try await record.report(web.id, .running)
        try await record.refused(.forbidden, by: record.ann) { try $0.deactivateImage("debian") }
        let off = try await record.request(by: record.root) { try $0.deactivateImage("debian") }
        #expect(off.status == .deactivated)
        #expect(try await names(record, record.ann) == [])
        #expect(try await names(record, record.root) == ["debian"])
        let refusal = try await record.refused(.imageNotReady, by: record.ann, launch("debian"))
        #expect(refusal?.sentence.contains("deactivated") == true)
        #expect(try await record.instance(web.id).status == .active)
        #expect(try await record.request(by: record.root, launch("debian")).count == 1)
        // What was stopped starts again.
        try await record.request(by: record.ann) { try $0.stopInstance("web", force: false) }
        try await record.report(web.id, .stopped)
        try await record.request(by: record.ann) { try $0.startInstance("web") }
        // Asked again, nothing changes.
        #expect(try await record.request(by: record.root) { try $0.deactivateImage("debian") } == off)
        #expect(try await record.request(by: record.root) { try $0.reactivateImage("debian") }.status == .active)
        #expect(try await record.request(by: record.ann, launch("debian")).count == 1)
        #expect(try await record.eventKinds().contains("image.deactivated"))
    }

    @Test("a protected image is not deleted until that is taken away")
    func protection() async throws {
        let (record, _, image) = try await site()
        func protect(_ value: Bool) async throws {
            try await record.request(by: record.ann) {
                _ = try $0.updateImage(
                    "tools", name: nil, visibility: nil, properties: nil, minDiskGiB: nil, minRAMMiB: nil,
                    isProtected: value)
            }
        }
        try await protect(true)
        for actor in [record.ann, record.root] {
            let refusal = try await record.refused(.conflict, by: actor) { try $0.deleteImage("\(image.id)") }
            #expect(refusal?.detailCode == "image_protected")
        }
        try await protect(false)
        #expect(try await record.request(by: record.ann) { try $0.deleteImage("tools") }.status == .deleted)
    }

    @Test("another image takes the name in one step; the old one is kept, and can take it back (IMG-07)")
    func replacement() async throws {
        let (record, cyd, old) = try await site()
        try await record.request(by: record.ann) { try $0.shareImage("tools", with: "physics") }
        let new = try await make(record, "tools_new", .private, by: record.ann)
        let web = try await record.request(by: cyd, launch("tools"))[0]
        let replaced = try await record.request(by: record.ann) { try $0.replaceImage("tools", by: "tools_new") }
        #expect(replaced.id == new.id && replaced.name == "tools" && replaced.visibility == .shared)
        // The one name means the new image, for those with whom the old one was shared, too.
        #expect(try await record.request(by: cyd) { try $0.image("tools") }.id == new.id)
        let retired = try await record.request(by: record.ann) { try $0.image("\(old.id)") }
        #expect(retired.status == .deactivated && retired.name == "tools_retired-20260921T141320Z")
        #expect(try await record.instance(web.id).image == old.id, "what runs from it goes on")
        // Back again.
        record.pass(.seconds(60))
        let back = try await record.request(by: record.ann) { try $0.replaceImage("tools", by: retired.name) }
        #expect(back.id == old.id && back.status == .active && back.name == "tools")
        #expect(try await record.request(by: cyd) { try $0.image("tools") }.id == old.id)
        let again = try await record.request(by: record.ann) { try $0.image("\(new.id)") }
        #expect(again.name == "tools_retired-20260921T141420Z")
        try await record.refused(.invalidRequest, by: record.ann) { try $0.replaceImage("tools", by: "tools") }
        // An image that everybody uses is a superuser's affair, also where another owns it.
        let own = try await make(record, "open", .public, by: record.ann)
        try await record.refused(.forbidden, by: record.ann) { try $0.replaceImage("\(own.id)", by: "tools") }
        let unfinished = try await record.request(by: record.ann) {
            try $0.createImage(
                name: "unfinished", format: nil, minDiskGiB: 0, minRAMMiB: 0, properties: [:], visibility: .private)
        }
        try await record.refused(.imageNotReady, by: record.ann) {
            try $0.replaceImage("tools", by: "\(unfinished.id)")
        }
        #expect(Commands.retiredName(of: String(repeating: "n", count: 128), at: record.now).utf8.count <= 128)
    }

    @Test("a name that several offered images have is refused; one that was put out of use is not meant (HLT-34)")
    func ambiguity() async throws {
        let (record, _, _) = try await site()
        let second = try await make(record, "tools", .private, by: record.ann)
        try await record.refused(.ambiguousName, by: record.ann, launch("tools"))
        try await record.refused(.ambiguousName, by: record.root) { try $0.prefill("tools", on: ["cn1"]) }
        try await record.request(by: record.ann) { try $0.deactivateImage("\(second.id)") }
        #expect(try await record.request(by: record.ann, launch("tools")).count == 1)
    }

    @Test("a flavor below what an image needs is refused with both numbers (IMG-15)")
    func minimum() async throws {
        let (record, _, _) = try await site()
        try await record.request(by: record.root) { commands in
            _ = try commands.createFlavor(name: "flat", vcpus: 1, ramMiB: 2048, diskGiB: 3, properties: [:])
            _ = try commands.createFlavor(name: "dull", vcpus: 1, ramMiB: 512, diskGiB: 8, properties: [:])
        }
        for (flavor, numbers) in [("flat", ["4 GiB", "3 GiB"]), ("dull", ["1024 MiB", "512 MiB"])] {
            let refusal = try await record.refused(.flavorTooSmall, by: record.ann) {
                try $0.createInstances(InstanceCreation(name: "i", flavor: flavor, image: "tools"))
            }
            for number in numbers { #expect(refusal?.sentence.contains(number) == true) }
        }
    }

    @Test(
        "properties that mean something are checked, others are free",
        arguments: [
            ("service_url", "https://{}", nil), ("service_url", "http://{}:8080/health?full", nil),
            ("service_url", "https://example.org/{}", "service_url"),
            ("service_url", "https://{}.example.org/", "service_url"),
            ("service_url", "file:///etc/shadow", "service_url"), ("service_url", "https://{}/{}", "service_url"),
            ("service_url", "https://{}@example.org/", "service_url"),
            ("service_url", "https://{}:99999/", "service_url"),
            ("hw_video_model", "qxl", nil), ("hw_video_model", "qxl' />", "hw_video_model"), ("hw_video_ram", "8", nil),
            ("hw_video_ram", "-8", "hw_video_ram"), ("hw_cpu_cores", "many", "hw_cpu_cores"),
            ("os_type", "windows", nil),
            ("configure_x", "true", nil), ("configure_x", "perhaps", "configure_x"), ("image_type", "loginnode", nil),
            ("active", "false", "active"), ("min_disk", "8", "min_disk"),
            ("our:own.key", "anything at all; $(id)", nil),
            ("a b", "x", "a b"), ("../x", "x", "..~1x"), ("", "x", ""),
        ] as [(String, String, String?)])
    func properties(name: String, value: String, fault: String?) async throws {
        let faults = ImageProperties.faults(in: [name: value])
        #expect(faults.map(\.pointer) == (fault.map { ["/properties/\($0)"] } ?? []), "\(faults)")
    }

    @Test("too many or too long properties are refused, and nothing is changed")
    func tooManyProperties() async throws {
        let (record, _, _) = try await site()
        let many = Dictionary(uniqueKeysWithValues: (0...128).map { ("key\($0)", "v") })
        for wrong in [many, ["k": String(repeating: "v", count: 1025)], ["k": "a\nb"]] {
            try await record.refused(.invalidRequest, by: record.ann) {
                try $0.updateImage(
                    "tools", name: nil, visibility: nil, properties: wrong, minDiskGiB: nil, minRAMMiB: nil)
            }
        }
    }
}
