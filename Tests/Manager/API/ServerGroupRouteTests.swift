import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI

@Suite("Server groups over HTTP")
struct ServerGroupRouteTests {
    private static let path = "/v1/server-groups"

    /// Two nodes with room for many, a flavor `small` and an image `debian`.
    private static func site() async throws -> TestSite {
        let site = try await TestSite()
        let (now, owner) = (SystemTime().timestamp, site.users["root"]!.id)
        try await site.store.write { sql in
            for number in 1...2 {
                var node = Node(
                    id: .generate(at: now), name: "cn\(number)", certificateSerial: "\(number)", joinedAt: now)
                node.liveness = .alive
                node.inventory.cpuCount = 16
                node.inventory.memoryBytes = 64 << 30
                node.inventory.diskBytes = 500 << 30
                node.inventory.guestSubnet = "10.77.\(number).0/24"
                try sql.nodes.insert(node)
                try sql.nodes.update(node)
            }
            try sql.flavors.insert(
                Flavor(id: .generate(at: now), name: "small", vcpus: 1, ramMiB: 512, diskGiB: 4, createdAt: now))
            try sql.images.insert(
                Image(
                    id: .generate(at: now), name: "debian", owner: owner, visibility: .public, status: .active,
                    sizeBytes: 2 << 30, createdAt: now, updatedAt: now))
        }
        return site
    }

    private static func instances(_ name: String, _ count: Int, in group: JSONValue) -> JSONValue {
        [
            "name": .string(name), "flavor": "small", "image": "debian", "count": .count(count), "server_group": group,
        ]
    }

    private static func names(_ reply: Reply) -> [String] {
        (reply.json["items"]?.array ?? []).compactMap { $0["name"]?.string }
    }

    @Test("a group is made, shown with its instances, and deleted once they are gone")
    func life() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            let made = try await client.post(Self.path, ["name": "web", "policy": "anti-affinity"], as: "ann")
            #expect(made.status == 201, "\(made.text)")
            #expect(made.json["policy"] == "anti-affinity" && made.json["max_per_host"] == .null)
            #expect(made.json["owner"] == "ann" && made.json["instances"] == [])
            let location = try #require(made.header("Location"))
            #expect(try await client.get(location, as: "ann").json == made.json)
            #expect(try await client.get(Self.path + "/web", as: "ann").json == made.json)
            let both = try await client.post("/v1/instances", Self.instances("i", 2, in: "web"), as: "ann")
            #expect(both.status == 202, "\(both.text)")
            let items = both.json["items"]?.array ?? []
            #expect(Set(items.compactMap { $0["node"]?.string }) == ["cn1", "cn2"])
            #expect(items.allSatisfy { $0["server_group"] == "web" && $0["server_group_id"] == made.json["id"] })
            let third = try await client.post("/v1/instances", Self.instances("j", 1, in: "web"), as: "ann")
            #expect(third.code == "no_capacity" && third.json["removed_by"]?["server_group"] == 2, "\(third.text)")
            let plain = try await client.post("/v1/instances", Self.instances("k", 1, in: nil), as: "ann")
            #expect(plain.json["server_group"] == .null && plain.json["server_group_id"] == .null, "\(plain.text)")
            let shown = try await client.get(Self.path + "/web", as: "ann")
            #expect(shown.json["instance_count"] == 2)
            #expect((shown.json["instances"]?.array ?? []).compactMap { $0["name"]?.string } == ["i-1", "i-2"])
            #expect(
                Self.names(try await client.get("/v1/instances?server_group=web&sort=name", as: "ann")) == [
                    "i-1", "i-2",
                ])
            #expect(try await client.get("/v1/instances?server_group=none", as: "ann").status == 404)
            let used = try await client.delete(Self.path + "/web", as: "ann")
            #expect(used.code == "in_use" && used.text.contains("i-1, i-2"))
            try await site.store.write { sql in
                for instance in try sql.instances.list(.init()) { try sql.instances.finishDeletion(instance) }
            }
            let stale = try await client.delete(
                Self.path + "/web", as: "ann", headers: ["If-Match": shown.header("ETag") ?? ""])
            #expect(stale.status == 412)
            #expect(try await client.delete(Self.path + "/web", as: "ann").status == 204)
            #expect(try await client.get(location, as: "ann").status == 404)
            let kinds = try await client.get("/v1/events?kind=server_group", as: "ann").json["items"]?.array ?? []
            #expect(kinds.compactMap { $0["kind"]?.string } == ["server_group.created", "server_group.deleted"])
        }
    }

    @Test("what cannot be a group, or is another's, is refused with the field")
    func refusals() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            for (body, status, pointer) in [
                (["name": "a"], 400, "/policy"), (["name": "a", "policy": "apart"], 400, "/policy"),
                (["policy": "affinity"], 400, "/name"), (["name": "a b", "policy": "affinity"], 400, "/name"),
                (["name": "a", "policy": "anti-affinity", "max_per_host": 0], 400, "/max_per_host"),
                (["name": "a", "policy": "affinity", "max_per_host": 2], 422, "/max_per_host"),
            ] as [(JSONValue, Int, String)] {
                let reply = try await client.post(Self.path, body, as: "ann")
                #expect(reply.status == status, "\(reply.text)")
                #expect(reply.json["errors"]?.array?.first?["pointer"]?.string == pointer, "\(reply.text)")
            }
            let limited: JSONValue = ["name": "web", "policy": "anti-affinity", "max_per_host": 3]
            let made = try await client.post(Self.path, limited, as: "ann")
            #expect(made.json["max_per_host"] == 3)
            #expect(try await client.post(Self.path, limited, as: "ann").code == "name_taken")
            let id = made.json["id"]?.string ?? ""
            for path in [Self.path + "/web", Self.path + "/" + id] {
                #expect(try await client.get(path, as: "bob").status == 404)
                #expect(try await client.delete(path, as: "bob").status == 404)
            }
            let stolen = try await client.post("/v1/instances", Self.instances("i", 1, in: .string(id)), as: "bob")
            #expect(stolen.status == 404)
            let foreign = try await client.post("/v1/instances", Self.instances("i", 1, in: .string(id)), as: "root")
            #expect(foreign.status == 422 && foreign.json["errors"]?.array?.first?["pointer"] == "/server_group")
            #expect(try await client.patch(Self.path + "/web", ["name": "b"], as: "ann").status == 405)
        }
    }

    @Test("lists show one's own, in any order, filtered, cut and in pages")
    func lists() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            for (name, policy, user) in [
                ("c", "affinity", "ann"), ("a", "soft-affinity", "ann"), ("b", "affinity", "ann"),
                ("d", "affinity", "bob"),
            ] {
                let body: JSONValue = ["name": .string(name), "policy": .string(policy)]
                #expect(try await client.post(Self.path, body, as: user).status == 201)
            }
            #expect(Self.names(try await client.get(Self.path, as: "ann")) == ["c", "a", "b"])
            #expect(Self.names(try await client.get(Self.path + "?sort=name", as: "root")) == ["a", "b", "c", "d"])
            #expect(Self.names(try await client.get(Self.path + "?sort=policy,-name", as: "ann")) == ["c", "b", "a"])
            #expect(
                Self.names(try await client.get(Self.path + "?policy=affinity&sort=name", as: "ann")) == ["b", "c"])
            #expect(Self.names(try await client.get(Self.path + "?owner=bob", as: "root")) == ["d"])
            #expect(try await client.get(Self.path + "?policy=apart", as: "ann").status == 400)
            let first = try await client.get(Self.path + "?sort=name&limit=2&fields=name,instance_count", as: "ann")
            #expect(first.json["items"] == [["name": "a", "instance_count": 0], ["name": "b", "instance_count": 0]])
            let next = try #require(first.json["next"]?.string)
            let rest = try await client.get(Self.path + "?sort=name&limit=2&after=\(next)", as: "ann")
            #expect(Self.names(rest) == ["c"] && rest.json["next"] == .null)
        }
    }

    @Test("an explanation and a filling of nodes heed a group")
    func elsewhere() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            let group: JSONValue = ["name": "web", "policy": "anti-affinity", "max_per_host": 3]
            #expect(try await client.post(Self.path, group, as: "root").status == 201)
            let fill: JSONValue = [
                "name": "wn", "flavor": "small", "image": "debian", "server_group": "web", "dry_run": false,
            ]
            let filled = try await client.post("/v1/nodes/fill", fill, as: "root")
            #expect(filled.json["count"] == 6 && filled.json["stopped_by"] == "no_capacity", "\(filled.text)")
            let question: JSONValue = ["flavor": "small", "server_group": "web"]
            let full = try await client.post("/v1/placement/explain", question, as: "root")
            let removal = (full.json["filters"]?.array ?? []).first { $0["filter"] == "server_group" }
            #expect(full.json["candidates"] == 0 && removal?["nodes"] == ["cn1", "cn2"], "\(full.text)")
            let unknown = try await client.post(
                "/v1/placement/explain", ["flavor": "small", "server_group": "nix"], as: "root")
            #expect(unknown.status == 404 && unknown.text.contains("server group 'nix'"))
        }
    }

    @Test("groups are handed over with their instances; those of a user who has none left go with the user")
    func handingOver() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            for user in ["ann", "bob"] {
                let made = try await client.post(Self.path, ["name": "web", "policy": "anti-affinity"], as: user)
                #expect(made.status == 201)
            }
            let one = try await client.post("/v1/instances", Self.instances("i", 1, in: "web"), as: "ann")
            #expect(one.status == 202)
            #expect(try await client.delete("/v1/users/ann?hand_over_to=bob", as: "root").status == 204)
            #expect(Self.names(try await client.get(Self.path + "?sort=name", as: "bob")) == ["web", "web-ann"])
            let kept = try await client.get("/v1/instances/i", as: "bob")
            #expect(kept.json["server_group"] == "web-ann" && kept.json["owner"] == "bob", "\(kept.text)")
            let next = try await client.post("/v1/instances", Self.instances("j", 1, in: "web-ann"), as: "bob")
            #expect(next.status == 202 && next.json["node"] != kept.json["node"])
            try await site.store.write { sql in
                for instance in try sql.instances.list(.init()) { try sql.instances.finishDeletion(instance) }
            }
            #expect(try await client.delete("/v1/users/bob", as: "root").status == 204)
            #expect(Self.names(try await client.get(Self.path, as: "root")).isEmpty)
        }
    }
}
