import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI

/// Why instances go where they go, as the API tells it.
@Suite("Explanation of a placement over HTTP")
struct PlacementRouteTests {
    private static let path = "/v1/placement/explain"

    /// Nodes `a` (which has the image), `b`, `c` (disabled), `d` (not heard of), `e` (of another architecture), `f` (may be
    /// taken back) and `tiny`; `a` and `b` are in the zone `denver`, and `b` has GPUs.
    private static func site() async throws -> TestSite {
        let site = try await TestSite()
        let (now, owner) = (SystemTime().timestamp, site.users["root"]!.id)
        try await site.store.write { sql in
            for (number, name) in ["a", "b", "c", "d", "e", "f", "tiny"].enumerated() {
                let node = node(name, number, at: now)
                try sql.nodes.insert(node)
                try sql.nodes.update(node)
            }
            for (name, properties) in [
                ("small", [:]), ("gpu", ["gpu": "true"]), ("k2", ["pci_passthrough:alias": "K2:1"]),
            ] {
                try sql.flavors.insert(
                    Flavor(
                        id: .generate(at: now), name: name, vcpus: 8, ramMiB: 8192, diskGiB: 10, properties: properties,
                        createdAt: now))
            }
            let image = Image(
                id: .generate(at: now), name: "debian", owner: owner, visibility: .public, status: .active,
                sizeBytes: 2 << 30, properties: ["architecture": "x86_64"], createdAt: now, updatedAt: now)
            try sql.images.insert(image)
            let holder = try #require(try sql.nodes.find(name: "a"))
            try sql.images.insert(
                ImagePlacement(
                    image: image.id, node: holder.id, state: .held, upstream: nil, chunksHeld: 1, chunksTotal: 1,
                    requestedAt: now, updatedAt: now))
            for (name, metadata, nodes) in [
                ("denver", ["availability_zone": "denver"], ["a", "b"]), ("gpu", ["gpu": "true"], ["b"]),
            ] {
                let aggregate = Aggregate(
                    id: .generate(at: now), name: name, metadata: metadata, createdAt: now, updatedAt: now)
                try sql.aggregates.insert(aggregate)
                for node in nodes {
                    try sql.aggregates.add(try #require(try sql.nodes.find(name: node)).id, to: aggregate.id)
                }
            }
        }
        return site
    }

    private static func node(_ name: String, _ number: Int, at now: Timestamp) -> Node {
        var node = Node(id: .generate(at: now), name: name, certificateSerial: name, joinedAt: now)
        node.liveness = name == "d" ? .down : .alive
        node.enabled = name != "c"
        node.isOpportunistic = name == "f"
        node.inventory.cpuCount = name == "tiny" ? 1 : 16
        node.inventory.memoryBytes = 64 << 30
        node.inventory.diskBytes = 500 << 30
        node.inventory.guestSubnet = "10.77.\(number).0/24"
        node.inventory.architecture = name == "e" ? "aarch64" : "x86_64"
        return node
    }

    private static func removed(_ reply: Reply) -> [String: [String]] {
        var removed: [String: [String]] = [:]
        for filter in reply.json["filters"]?.array ?? [] where filter["removed"] != 0 {
            removed[filter["filter"]?.string ?? ""] = filter["nodes"]?.array?.compactMap(\.string)
        }
        return removed
    }

    private static func ranking(_ reply: Reply) -> [String] {
        (reply.json["ranking"]?.array ?? []).compactMap { $0["node"]?.string }
    }

    @Test("names who fell out by which filter, and weighs the others part by part")
    func parts() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            let reply = try await client.post(Self.path, ["flavor": "small", "image": "debian"], as: "root")
            #expect(reply.status == 200, "\(reply.text)")
            #expect(reply.json["nodes"] == 7 && reply.json["candidates"] == 3)
            #expect(
                Self.removed(reply) == ["enabled": ["c"], "alive": ["d"], "architecture": ["e"], "vcpus": ["tiny"]])
            #expect(Self.ranking(reply) == ["a", "b", "f"])
            let parts = (reply.json["ranking"]?.array ?? []).map { candidate in
                ["room", "image", "host", "group", "devices", "weight"].map { candidate[$0]?.number }
            }
            // 8 of 64 vCPUs and 8 of 64 GiB would be claimed.
            #expect(
                parts == [
                    [0.875, 0.25, 0, 0, 0, 1.125], [0.875, 0, 0, 0, 0, 0.875], [0.875, 0, -2, 0, 0, -1.125],
                ])
        }
    }

    @Test("heeds what is asked for: zone, metadata, only these nodes, not those")
    func wishes() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            for (question, ranking) in [
                (["flavor": "small", "availability_zone": "denver"], ["a", "b"]), (["flavor": "gpu"], ["b"]),
                (["flavor": "small", "nodes": ["e", "f"]], ["e", "f"]),
                (["flavor": "small", "exclude_nodes": ["a"]], ["b", "e", "f"]),
                (["flavor": "small", "nodes": ["c"]], []), (["flavor": "small", "image": nil], ["a", "b", "e", "f"]),
            ] as [(JSONValue, [String])] {
                let reply = try await client.post(Self.path, question, as: "root")
                #expect(Self.ranking(reply) == ranking, "\(reply.text)")
                #expect(reply.json["candidates"] == .count(ranking.count))
            }
        }
    }

    @Test("the limit cuts names and ranking, and counts stay whole")
    func limit() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            let question: JSONValue = ["flavor": "small", "exclude_nodes": ["a", "b", "e"], "limit": 1]
            let reply = try await client.post(Self.path, question, as: "root")
            #expect(Self.removed(reply)["excluded"] == ["a"] && Self.ranking(reply) == ["f"])
            let excluded = reply.json["filters"]?.array?.first { $0["filter"] == "excluded" }
            #expect(excluded?["removed"] == 3)
            for wrong in [0, 1001] {
                let refused = try await client.post(
                    Self.path, ["flavor": "small", "limit": .count(wrong)], as: "root")
                #expect(refused.status == 400 && refused.json["errors"]?.array?.first?["pointer"] == "/limit")
            }
        }
    }

    @Test("claims nothing, and is what then happens: the first of the ranking gets the instance, until nobody fits")
    func likeTheDecision() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            let question: JSONValue = ["flavor": "small", "image": "debian"]
            let nodes = try await client.get("/v1/nodes", as: "root").text
            let first = try await client.post(Self.path, question, as: "root")
            #expect(try await client.post(Self.path, question, as: "root").json == first.json)
            #expect(try await client.get("/v1/nodes", as: "root").text == nodes)
            #expect(try await client.get("/v1/instances", as: "root").json["items"] == [])
            // Eight of them fit on each of the three nodes.
            for number in 0..<24 {
                let expected = Self.ranking(try await client.post(Self.path, question, as: "root")).first
                let made = try await client.post(
                    "/v1/instances", ["name": .string("i\(number)"), "flavor": "small", "image": "debian"], as: "root")
                #expect(made.json["node"]?.string == expected && expected != nil, "\(made.text)")
            }
            let full = try await client.post(Self.path, question, as: "root")
            #expect(full.json["candidates"] == 0 && Self.ranking(full).isEmpty)
            let refused = try await client.post(
                "/v1/instances", ["name": "last", "flavor": "small", "image": "debian"], as: "root")
            #expect(refused.code == "no_capacity")
            let counts = (full.json["filters"]?.array ?? []).map {
                JSONValue.Member($0["filter"]?.string ?? "", $0["removed"] ?? .null)
            }
            #expect(refused.json["removed_by"] == .object(counts))
        }
    }

    @Test("what is not there is named; what cannot be done is said; only who may choose nodes is answered")
    func refusals() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            for (question, status, word) in [
                (["flavor": "huge"], 404, "flavor 'huge'"), (["flavor": "small", "image": "nix"], 404, "image 'nix'"),
                (["flavor": "small", "nodes": ["a", "z"]], 404, "node 'z'"),
                (["flavor": "small", "exclude_nodes": ["z"]], 404, "node 'z'"),
                (["flavor": "small", "availability_zone": "boulder"], 404, "denver"),
                (["flavor": "k2"], 422, "K2"), (["image": "debian"], 400, "flavor"),
            ] as [(JSONValue, Int, String)] {
                let reply = try await client.post(Self.path, question, as: "root")
                #expect(reply.status == status && reply.text.contains(word), "\(question): \(reply.text)")
            }
            #expect(try await client.post(Self.path, ["flavor": "small"], as: "ann").status == 403)
            #expect(try await client.post(Self.path, ["flavor": "small"]).status == 401)
        }
    }
}
