import Foundation
import ManagerModel
import ManagerStore
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
        try await site.test { client async throws in
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
        try await site.test { client async throws in
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
        try await site.test { client async throws in
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
        try await site.test { client async throws in
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
        try await site.test { client async throws in
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

    // MARK: Lists that no table holds, and sums

    @Test("roles, the system's own among them, are sorted, filtered, cut and paged like all else")
    func roles() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            for name in ["zeta", "alpha"] {
                let made = try await client.post(
                    "/v1/roles", ["name": .string(name), "permissions": ["nodeRead": "all"]], as: "root")
                try #require(made.status == 201, "\(made.text)")
            }
            let all = try await Self.pages(client, "/v1/roles?sort=name", as: "ann")
            #expect(all == all.sorted() && all.contains("superuser") && all.contains("zeta"))
            #expect(try await Self.pages(client, "/v1/roles?sort=-name", as: "ann") == all.reversed())
            let byAge = try await Self.pages(client, "/v1/roles?sort=-created_at,name", as: "ann")
            #expect(byAge.count == all.count && Set(byAge.prefix(2)) == ["zeta", "alpha"])
            #expect(try await Self.pages(client, "/v1/roles?built_in=false", as: "ann") == ["alpha", "zeta"])
            #expect(try await Self.pages(client, "/v1/roles?built_in=true", as: "ann").count == all.count - 2)
            let one = try await client.get("/v1/roles?name=alpha&fields=name,built_in", as: "ann")
            #expect(one.json["items"] == [["name": "alpha", "built_in": false]])
            let other = try await client.get("/v1/roles?sort=name&limit=1", as: "ann").json["next"]?.string ?? ""
            #expect(try await client.get("/v1/roles?sort=-name&after=\(other)", as: "ann").status == 422)
        }
    }

    @Test("managers by role and state")
    func managers() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            #expect(Self.names(try await client.get("/v1/managers?sort=-started_at&role=leader", as: "root")) == ["m1"])
            #expect(Self.names(try await client.get("/v1/managers?role=follower", as: "root")).isEmpty)
            #expect(Self.names(try await client.get("/v1/managers?status=alive&name=m1", as: "root")) == ["m1"])
            let cut = try await client.get("/v1/managers?fields=name,role", as: "root")
            #expect(cut.json["items"] == [["name": "m1", "role": "leader"]])
        }
    }

    @Test("the images on a node")
    func nodeImages() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.store.write { sql in
            try sql.images.insert(
                ImagePlacement(
                    image: fixtures.privateImage.id, node: fixtures.node.id, state: .fetching, upstream: nil,
                    chunksHeld: 1, chunksTotal: 5, requestedAt: SystemTime().timestamp,
                    updatedAt: SystemTime().timestamp))
        }
        @Sendable func images(_ client: Client, _ query: String) async throws -> [String] {
            let reply = try await client.get("/v1/nodes/cn1/images?\(query)", as: "root")
            #expect(reply.status == 200, "\(reply.text)")
            return (reply.json["items"]?.array ?? []).compactMap { $0["image"]?.string }
        }
        try await site.test { client async throws in
            #expect(try await images(client, "sort=image") == ["debian", "secret-image"])
            #expect(try await images(client, "sort=-image") == ["secret-image", "debian"])
            #expect(try await images(client, "state=held") == ["debian"])
            #expect(try await images(client, "image=secret-image&pinned=false") == ["secret-image"])
            #expect(try await images(client, "pinned=true").isEmpty)
            let first = try await client.get("/v1/nodes/cn1/images?sort=-image&limit=1", as: "root").json["next"]
            #expect(try await images(client, "sort=-image&limit=1&after=\(first?.string ?? "")") == ["debian"])
        }
    }

    @Test("usage by what was used most, page by page; of an account, flavor or instance, with its own total")
    func usage() async throws {
        let site = try await TestSite()
        let now = SystemTime().timestamp
        let ann = try #require(site.users["ann"])
        let (small, large) = (FlavorID.generate(at: now), FlavorID.generate(at: now))
        let instances = (0..<4).map { _ in InstanceID.generate(at: now) }
        let hours: [Int64] = [3, 1, 4, 1]
        try await site.store.write { sql in
            for (id, name) in [(small, "small"), (large, "large")] {
                try sql.flavors.insert(
                    Flavor(id: id, name: name, vcpus: 1, ramMiB: 64, diskGiB: 1, properties: [:], createdAt: now))
            }
            try sql.usage.add(
                instances.indices.map { index in
                    var amounts = UsageAmounts()
                    amounts.serverMilliseconds = hours[index] * 3_600_000
                    return .init(
                        hour: now.day.daysSince1970 * 24, instance: instances[index], owner: ann.id,
                        account: index == 3 ? "physics" : ann.account, flavor: index == 0 ? large : small,
                        amounts: amounts)
                })
        }
        @Sendable func found(_ client: Client, _ query: String) async throws -> (instances: [String], total: Double) {
            var (names, after, total) = ([String](), "", 0.0)
            repeat {
                let reply = try await client.get("/v1/usage?limit=1\(query)\(after)", as: "root")
                try #require(reply.status == 200, "\(reply.text)")
                names += (reply.json["items"]?.array ?? []).compactMap { $0["instance_id"]?.string }
                total = reply.json["totals"]?["server_hours"]?.number ?? -1
                after = reply.json["next"]?.string.map { "&after=\($0)" } ?? ""
            } while !after.isEmpty
            return (names, total)
        }
        let texts = instances.map(\.description)
        try await site.test { client async throws in
            let most = try await found(client, "&sort=-server_hours")
            #expect(most.instances == [texts[2], texts[0]] + [texts[1], texts[3]].sorted() && most.total == 9)
            #expect(try await found(client, "").instances == texts.sorted())
            #expect(try await found(client, "&sort=server_hours").instances.last == texts[2])
            #expect(try await found(client, "&flavor=large") == ([texts[0]], 3))
            #expect(try await found(client, "&account=physics") == ([texts[3]], 1))
            #expect(try await found(client, "&instance=\(texts[1])") == ([texts[1]], 1))
            let cut = try await client.get("/v1/usage?group_by=user&fields=user,server_hours", as: "root")
            #expect(cut.json["items"] == [["user": "ann", "server_hours": 9]])
            let byDay = try await client.get("/v1/usage?group_by=day&sort=-server_hours", as: "ann")
            #expect(byDay.json["items"]?.array?.count == 1)
            #expect(try await client.get("/v1/usage?instance=\(texts[1])", as: "bob").json["items"] == [])
        }
    }

    @Test("the whitelist is sorted and filtered; an entry changes as it was seen, and the audit says from what to what")
    func whitelist() async throws {
        let site = try await TestSite()
        let path = "/v1/registration-whitelist"
        @Sendable func patterns(_ client: Client, _ query: String) async throws -> [String] {
            let reply = try await client.get("\(path)?\(query)", as: "root")
            return (reply.json["items"]?.array ?? []).compactMap { $0["pattern"]?.string }
        }
        try await site.test { client async throws in
            var identifiers: [String] = []
            for pattern in ["*@example.org", "ann@example.com", "*@example.net"] {
                let made = try await client.post(path, ["pattern": .string(pattern)], as: "root")
                identifiers.append(made.json["id"]?.string ?? "")
            }
            #expect(
                try await patterns(client, "sort=-pattern") == ["ann@example.com", "*@example.org", "*@example.net"])
            #expect(try await patterns(client, "pattern=*@Example.net") == ["*@example.net"])
            let one = "\(path)/\(identifiers[0])"
            let tag = try await client.get(one, as: "root").header("ETag") ?? ""
            let changed = try await client.patch(
                one, ["pattern": "*@Physics.Example.org", "description": "the department"], as: "root",
                headers: ["If-Match": tag])
            #expect(changed.status == 200 && changed.json["pattern"] == "*@physics.example.org", "\(changed.text)")
            #expect(changed.header("ETag") != tag)
            #expect(
                try await client.patch(one, ["description": "x"], as: "root", headers: ["If-Match": tag]).status == 412)
            let taken = try await client.patch(one, ["pattern": "*@example.net"], as: "root")
            #expect(taken.status == 409 && taken.code == "name_taken")
            // Its own pattern is nobody else's.
            #expect(try await client.patch(one, ["pattern": "*@physics.example.org"], as: "root").status == 200)
            for bad in ["a@b@c", "a b", "", "ä@example.org"] {
                let refused = try await client.patch(one, ["pattern": .string(bad)], as: "root")
                #expect(
                    refused.status == 400 && refused.json["errors"]?.array?.first?["pointer"] == "/pattern", "\(bad)")
            }
            #expect(try await client.patch(one, ["description": "x"], as: "ann").status == 403)
            let events = try await client.get("/v1/events?kind=registration_entry.changed", as: "root").json["items"]
            #expect(events?.array?.count == 1)
            #expect(events?.array?.first?["changes"]?["pattern"]?["before"] == "*@example.org")
        }
    }

    @Test("API keys by name and owner")
    func apiKeys() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            for (name, user) in [("b", "ann"), ("a", "ann"), ("c", "bob")] {
                #expect(try await client.post("/v1/api-keys", ["name": .string(name)], as: user).status == 201)
            }
            #expect(try await Self.pages(client, "/v1/api-keys?sort=-name", as: "root") == ["c", "b", "a"])
            #expect(try await Self.pages(client, "/v1/api-keys?owner=ann&sort=name", as: "root") == ["a", "b"])
            #expect(try await Self.pages(client, "/v1/api-keys?name=c", as: "ann").isEmpty)
        }
    }

    @Test("what is kept is never older than the last commit, and each reader's own")
    func kept() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
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
        let large = PreparedBody([UInt8](repeating: 1, count: AnswerCache.maximumBytes / 4 - 1024), type: "t")
        for number in 1...5 { cache.keep(large, key(number), at: 7) }
        #expect((1...5).map { cache.body(key($0), at: 7) != nil } == [true, true, true, true, false])
        #expect(cache.body(key(1), at: 8) == nil)
        cache.keep(large, key(1), at: 8)
        #expect(cache.body(key(2), at: 8) == nil && cache.body(key(1), at: 7) == nil)
        // One that was made of what is old by now comes too late.
        cache.keep(large, key(3), at: 7)
        #expect(cache.body(key(3), at: 7) == nil && cache.body(key(3), at: 8) == nil)
    }

    @Test("kept answers are bounded with their keys; what is hardly asked twice is not kept")
    func cacheKeys() {
        let cache = AnswerCache()
        let empty = PreparedBody([], type: "t")
        func key(_ number: Int) -> AnswerCache.Key {
            .init(list: "l", scope: "s", query: String(repeating: "q", count: 400) + "\(number)")
        }
        let most = AnswerCache.maximumBytes / 600
        for number in 0...most { cache.keep(empty, key(number), at: 1) }
        #expect(cache.body(key(0), at: 1) != nil && cache.body(key(most), at: 1) == nil)
        let long = AnswerCache.Key(list: "l", scope: "s", query: String(repeating: "q", count: 513))
        let other = AnswerCache()
        other.keep(empty, long, at: 1)
        #expect(other.body(long, at: 1) == nil)
    }

    @Test("a key that stands twice counts once, so that each page's 'next' is accepted")
    func twice() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            try await Self.makeFlavors(client)
            let once = try await client.get("/v1/flavors?limit=1&sort=name", as: "ann").json
            let more = (0..<100).map { $0 % 2 == 0 ? "name" : "-name" }.joined(separator: ",")
            let often = try await client.get("/v1/flavors?limit=1&sort=\(more)", as: "ann").json
            #expect(often == once)
            let next = try #require(often["next"]?.string)
            let page = try await client.get("/v1/flavors?limit=1&sort=\(more)&after=\(next)", as: "ann")
            #expect(page.status == 200 && page.json["items"]?.array?.count == 1, "\(page.text)")
        }
    }

    @Test("nodes have their addresses in any order")
    func addresses() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let now = SystemTime().timestamp
        try await site.store.write { sql in
            // Younger, and first by name.
            try sql.nodes.insert(
                Node(id: .generate(at: now + .seconds(1)), name: "a0", certificateSerial: "02", joinedAt: now))
        }
        try await site.test { client async throws in
            for sort in ["name", "-name"] {
                let items = try await client.get("/v1/nodes?sort=\(sort)", as: "root").json["items"]?.array ?? []
                let node = items.first { $0["id"]?.string == fixtures.node.id.description }
                #expect(items.count == 2 && node?["addresses"] == ["192.168.177.12"], "\(sort)")
            }
        }
    }

    // MARK: What a change may change

    @Test("a flavor can be renamed; what instances were claimed by stays")
    func flavors() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
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
        try await site.test { client async throws in
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
        try await site.test { client async throws in
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
