import HTTPTypes
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI

@Suite("Prefills, policies and limits over HTTP")
struct PrefillRouteTests {
    /// A second node, so that something is left to send.
    private func second(_ site: TestSite) async throws {
        let now = SystemTime().timestamp
        try await site.store.write { transaction in
            var node = Node(id: .generate(at: now), name: "cn2", certificateSerial: "02", joinedAt: now)
            node.liveness = .alive
            try transaction.nodes.insert(node)
        }
    }

    @Test("a prefill is paused, resumed and cancelled, and shows each host")
    func control() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await second(site)
        try await site.test { client async throws in
            let begun = try await client.post(
                "/v1/images/debian/prefill", ["nodes": ["cn1", "cn2"]], as: "root")
            #expect(begun.status == 202, "\(begun.text)")
            let path = "/v1/operations/\(begun.json["id"]?.string ?? "")"
            let hosts = begun.json["result"]?["hosts"]?.array ?? []
            #expect(hosts.map { $0["state"]?.string } == ["held", "fetching"])
            #expect(hosts.first?["reason"]?.string == "it was there already")
            let paused = try await client.send(.post, path + "/pause", as: "root")
            #expect(paused.status == 200 && paused.json["paused"] == true && paused.json["status"] == "running")
            #expect(paused.json["result"]?["hosts"]?.array?[1]["state"] == "paused")
            let image = try await client.get("/v1/images/debian", as: "root")
            #expect(image.json["nodes"]?.array?.contains { $0["state"] == "paused" } == true)
            let resumed = try await client.send(.post, path + "/resume", as: "root")
            #expect(resumed.json["paused"] == false)
            let cancelled = try await client.post(path + "/cancel", ["drop": true], as: "root")
            #expect(cancelled.status == 200 && cancelled.json["status"] == "cancelled")
            #expect(cancelled.json["error"]?["code"] == "cancelled")
            let late = try await client.send(.post, path + "/pause", as: "root")
            #expect(late.status == 409 && late.code == "conflict")
            let events = try await client.get("/v1/events?limit=1000", as: "root")
            let kinds = events.json["items"]?.array?.compactMap { $0["kind"]?.string } ?? []
            for kind in ["requested", "paused", "resumed", "cancelled"] {
                #expect(kinds.contains("image.prefill_\(kind)"))
            }
        }
    }

    @Test("a policy shows which nodes still lack its image, and why")
    func policy() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await second(site)
        try await site.test { client async throws in
            let made = try await client.post("/v1/image-policies", ["image": "debian"], as: "root")
            #expect(made.status == 201, "\(made.text)")
            #expect(made.json["name"] == "debian-all" && made.json["state"] == "spreading")
            #expect(made.json["nodes"] == 2 && made.json["holding"] == 1)
            let lacking = made.json["lacking"]?.array ?? []
            #expect(lacking.map { $0["node"]?.string } == ["cn2"] && lacking[0]["state"] == "fetching")
            let taken = try await client.post("/v1/image-policies", ["image": "debian"], as: "root")
            #expect(taken.status == 409 && taken.code == "name_taken")
            let resting = try await client.patch("/v1/image-policies/debian-all", ["enabled": false], as: "root")
            #expect(resting.json["state"] == "disabled")
            #expect(try await client.delete("/v1/image-policies/debian-all", as: "root").status == 204)
            #expect(try await client.get("/v1/image-policies/debian-all", as: "root").status == 404)
        }
    }

    @Test("limits of the site and of a node: set one by one, taken away with null")
    func limits() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let rate = JSONValue.integer(100 << 20)
            let set = try await client.patch(
                "/v1/site", ["transfer": ["send_bytes_per_second": rate, "prefill_share_percent": 30]], as: "root")
            #expect(set.status == 200 && set.json["transfer"]?["send_bytes_per_second"] == rate, "\(set.text)")
            let more = try await client.patch("/v1/site", ["transfer": ["total_bytes_per_second": rate]], as: "root")
            #expect(more.json["transfer"]?["send_bytes_per_second"] == rate)
            #expect(more.json["transfer"]?["prefill_share_percent"] == 30)
            let none = try await client.patch(
                "/v1/site", ["transfer": ["send_bytes_per_second": .null]], as: "root")
            #expect(none.json["transfer"]?["send_bytes_per_second"] == .null)
            #expect(none.json["transfer"]?["total_bytes_per_second"] == rate)
            let node = try await client.patch("/v1/nodes/cn1", ["transfer": ["concurrent_images": 2]], as: "root")
            #expect(node.json["transfer"]?["concurrent_images"] == 2, "\(node.text)")
            let low = try await client.patch("/v1/site", ["transfer": ["send_bytes_per_second": 5]], as: "root")
            #expect(low.status == 400)
            #expect(try await client.get("/v1/site", as: "ann").status == 403)
        }
    }
}
