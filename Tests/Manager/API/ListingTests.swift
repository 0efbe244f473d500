import Foundation
import ManagerModel
import ProtocolModel
import Testing

@testable import ManagerAPI
@testable import ManagerIdentity

/// Sorting, filters, pages and members of lists.
@Suite("Lists")
struct ListingTests {
    private static func names(_ reply: Reply) -> [String] {
        (reply.json["items"]?.array ?? []).compactMap { $0["name"]?.string }
    }

    /// All pages of a list, two items each.
    private static func pages(_ client: Client, _ path: String, as user: String) async throws -> [String] {
        var (names, after) = ([String](), "")
        repeat {
            let reply = try await client.get("\(path)&limit=2\(after)", as: user)
            try #require(reply.status == 200, "\(reply.text)")
            names += Self.names(reply)
            after = reply.json["next"]?.string.map { "&after=\($0)" } ?? ""
        } while !after.isEmpty
        return names
    }

    private static func makeFlavors(_ client: Client) async throws {
        for (name, vcpus, ram) in [("c", 1, 64), ("a", 2, 64), ("e", 1, 128), ("b", 4, 64), ("d", 1, 64)] {
            let made = try await client.post(
                "/v1/flavors",
                [
                    "name": .string(name), "vcpus": .count(vcpus), "ram_mib": .count(ram), "disk_gib": 1,
                    "properties": ["p": .string(name)],
                ], as: "root")
            try #require(made.status == 201)
        }
    }

    @Test("pages follow the order that was asked for, to the last item, each item once")
    func sorted() async throws {
        let site = try await TestSite()
        try await site.test { client in
            try await Self.makeFlavors(client)
            for (sort, wanted) in [
                ("name", "abcde"), ("-name", "edcba"), ("vcpus,name", "cdeab"), ("vcpus,-name", "edcab"),
                ("-vcpus,ram_mib", "bacde"), ("ram_mib,-vcpus,name", "bacde"), ("created_at", "caebd"),
                ("-created_at,name", "dbeac"),
            ] {
                let found = try await Self.pages(client, "/v1/flavors?sort=\(sort)", as: "ann")
                #expect(found.joined() == wanted, "\(sort)")
            }
        }
    }

    @Test("a page's end belongs to its order")
    func otherOrder() async throws {
        let site = try await TestSite()
        try await site.test { client in
            try await Self.makeFlavors(client)
            let byName = try await client.get("/v1/flavors?sort=name&limit=2", as: "ann").json["next"]?.string ?? ""
            let byAge = try await client.get("/v1/flavors?limit=2", as: "ann").json["next"]?.string ?? ""
            for query in ["limit=2&after=\(byName)", "sort=-name&after=\(byName)", "sort=name&after=\(byAge)"] {
                let reply = try await client.get("/v1/flavors?\(query)", as: "ann")
                #expect(reply.status == 422 && reply.json["errors"]?.array?.first?["pointer"] == "?after", "\(query)")
            }
        }
    }

    @Test("only what has the value, by name or ID; what is unknown or has no such value is said")
    func filtered() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        _ = fixtures
        try await site.test { client in
            try await Self.makeFlavors(client)
            #expect(Self.names(try await client.get("/v1/flavors?name=b", as: "ann")) == ["b"])
            #expect(Self.names(try await client.get("/v1/flavors?name=none", as: "ann")).isEmpty)
            #expect(Self.names(try await client.get("/v1/users?enabled=false", as: "root")).isEmpty)
            #expect(
                Self.names(try await client.get("/v1/users?enabled=true&sort=name&name=ann", as: "root")) == ["ann"])
            let owned = try await client.get("/v1/instances?owner=ann&sort=name", as: "root")
            #expect(owned.status == 200)
            #expect((owned.json["items"]?.array ?? []).allSatisfy { $0["owner"] == "ann" })
            #expect(try await client.get("/v1/instances?owner=nobody", as: "root").status == 404)
            #expect(try await client.get("/v1/instances?status=WRONG", as: "root").status == 400)
        }
    }

    @Test("a filter shows nobody what they may not see (P9)")
    func filterIsNoLoophole() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client in
            let all = try await client.get("/v1/instances?sort=name", as: "root")
            let others = try await client.get("/v1/instances?sort=name", as: "bob")
            #expect((others.json["items"]?.array ?? []).allSatisfy { $0["owner"] == "bob" })
            #expect((all.json["items"]?.array ?? []).count > (others.json["items"]?.array ?? []).count)
            for query in ["owner=ann", "node=n1", "account=other"] {
                let reply = try await client.get("/v1/instances?\(query)", as: "bob")
                #expect(
                    reply.status >= 403 || (reply.json["items"]?.array ?? []).allSatisfy { $0["owner"] == "bob" },
                    "\(query): \(reply.text)")
            }
        }
    }

    @Test("only the members that were asked for")
    func cut() async throws {
        let site = try await TestSite()
        try await site.test { client in
            try await Self.makeFlavors(client)
            let reply = try await client.get("/v1/flavors?fields=name,vcpus&sort=name&limit=1", as: "ann")
            #expect(reply.json["items"] == [["name": "a", "vcpus": 2]])
            #expect(reply.json["next"]?.string?.isEmpty == false)
            for wrong in [
                "fields=nam", "fields=", "fields=name,", "fields=name%20", "sort=colour", "sort=", "sort=--name",
                "sort=name;id",
            ] {
                let reply = try await client.get("/v1/flavors?\(wrong)", as: "ann")
                #expect(reply.status == 400 && reply.json["errors"]?.array?.isEmpty == false, "\(wrong)")
            }
        }
    }

    @Test("what is kept is never older than the last commit, and each reader's own")
    func kept() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client in
            let path = "/v1/instances?limit=100"
            let first = try await client.get(path, as: "ann")
            #expect(try await client.get(path, as: "ann").bytes == first.bytes)
            #expect(try await client.get(path, as: "bob").bytes != first.bytes)
            #expect(try await client.get(path + "&fields=id", as: "ann").bytes != first.bytes)
            let identifier = first.json["items"]?.array?.first?["id"]?.string ?? ""
            for number in 1...20 {
                let name = "renamed-\(number)"
                let changed = try await client.patch("/v1/instances/\(identifier)", ["name": .string(name)], as: "ann")
                #expect(changed.status == 200)
                let items = try await client.get(path, as: "ann").json["items"]?.array ?? []
                #expect(items.contains { $0["name"]?.string == name })
            }
        }
    }

    @Test("kept answers are bounded, and gone with the revision that they were of")
    func cache() {
        let cache = AnswerCache()
        func key(_ number: Int) -> AnswerCache.Key { .init(list: "l", scope: "s", query: "\(number)") }
        let large = PreparedBody([UInt8](repeating: 1, count: AnswerCache.maximumBytes / 4), type: "t")
        for number in 1...5 { cache.keep(large, key(number), at: 7) }
        #expect((1...5).map { cache.body(key($0), at: 7) != nil } == [true, true, true, true, false])
        #expect(cache.body(key(1), at: 8) == nil)
        cache.keep(large, key(1), at: 8)
        #expect(cache.body(key(2), at: 8) == nil && cache.body(key(1), at: 7) == nil)
        // One that was made of what is old by now comes too late.
        cache.keep(large, key(3), at: 7)
        #expect(cache.body(key(3), at: 7) == nil && cache.body(key(3), at: 8) == nil)
    }

    // MARK: What a change may change

    @Test("a flavor can be renamed; what instances were claimed by stays")
    func flavors() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client in
            try await Self.makeFlavors(client)
            let before = try await client.get("/v1/flavors/a", as: "root")
            let tag = before.header("ETag") ?? ""
            let changed = try await client.patch(
                "/v1/flavors/a", ["name": "large", "vcpus": 8, "properties": ["p": nil, "q": "1"]], as: "root",
                headers: ["If-Match": tag])
            #expect(changed.status == 200)
            #expect(changed.json["name"] == "large" && changed.json["vcpus"] == 8)
            #expect(changed.json["properties"] == ["q": "1"])
            #expect(
                try await client.patch("/v1/flavors/large", ["vcpus": 1], as: "root", headers: ["If-Match": tag]).status
                    == 412)
            #expect(try await client.patch("/v1/flavors/large", ["name": "b"], as: "root").code == "name_taken")
            #expect(try await client.patch("/v1/flavors/large", ["name": "x"], as: "ann").status == 403)
            let used = try await client.get("/v1/instances?limit=1", as: "root").json["items"]?.array?.first
            let flavor = used?["flavor_id"]?.string ?? ""
            #expect(try await client.patch("/v1/flavors/\(flavor)", ["name": "renamed"], as: "root").status == 200)
            let refused = try await client.patch("/v1/flavors/\(flavor)", ["ram_mib": 4096], as: "root")
            #expect(refused.status == 409 && refused.code == "in_use")
            let events = try await client.get("/v1/events?kind=flavor.updated", as: "root")
            #expect(events.json["items"]?.array?.count == 2)
        }
    }

    @Test("a key pair that is made here shows its private key once, and ssh-keygen reads it")
    func generatedKey() async throws {
        let site = try await TestSite()
        try await site.test { client in
            let key = ["Idempotency-Key": "once"]
            let made = try await client.post("/v1/keypairs", ["name": "made"], as: "ann", headers: key)
            #expect(made.status == 201)
            let secret = try #require(made.json["private_key"]?.string)
            #expect(secret.hasPrefix("-----BEGIN OPENSSH PRIVATE KEY-----\n"))
            let again = try await client.post("/v1/keypairs", ["name": "made"], as: "ann", headers: key)
            #expect(again.status == 409 && !again.text.contains("PRIVATE KEY"))
            #expect(!(try await client.get("/v1/keypairs/made", as: "ann")).text.contains("PRIVATE KEY"))
            #expect(!(try await client.get("/v1/events", as: "root")).text.contains("PRIVATE KEY"))
            #expect(!site.lines.all.contains { $0.contains("PRIVATE KEY") })
            let file = site.folder + "/key"
            try #require(
                FileManager.default.createFile(
                    atPath: file, contents: Data(secret.utf8), attributes: [.posixPermissions: 0o600]))
            let (status, text) = try Self.run("/usr/bin/ssh-keygen", ["-y", "-f", file])
            #expect(status == 0)
            let wanted = made.json["public_key"]?.string?.split(separator: " ").prefix(2).joined(separator: " ") ?? "?"
            #expect(text.hasPrefix(wanted))
        }
    }

    @Test("a key pair that was sent is answered again without a secret")
    func sentKey() async throws {
        let site = try await TestSite()
        try await site.test { client in
            let body: JSONValue = ["name": "sent", "public_key": .string(Fixtures.ed25519)]
            let first = try await client.post("/v1/keypairs", body, as: "ann", headers: ["Idempotency-Key": "k"])
            let again = try await client.post("/v1/keypairs", body, as: "ann", headers: ["Idempotency-Key": "k"])
            #expect(first.status == 201 && again.status == 201 && again.bytes == first.bytes)
            #expect(first.json["private_key"] == nil)
            let renamed = try await client.patch("/v1/keypairs/sent", ["name": "laptop"], as: "ann")
            #expect(renamed.status == 200 && renamed.json["name"] == "laptop")
            #expect(try await client.patch("/v1/keypairs/laptop", ["name": "x"], as: "bob").status == 404)
        }
    }

    private static func run(_ program: String, _ arguments: [String]) throws -> (status: Int32, text: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }
}
