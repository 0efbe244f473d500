import HTTPTypes
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI

@Suite("Devices over HTTP")
struct DeviceRouteTests {
    private static func items(_ reply: Reply, _ member: String) -> [String] {
        (reply.json["items"]?.array ?? []).compactMap { $0[member]?.string }
    }

    @Test("a rule is made, found, changed by merging, and deleted; each step is in the audit")
    func rules() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let made = try await client.post(
                "/v1/device-rules",
                [
                    "action": "alias", "alias": "K2_Grid",
                    "match": ["vendor_id": "10DE", "product_id": "11bf", "class": "03"],
                    "description": "as in the sources",
                ], as: "root")
            #expect(made.status == 201, "\(made.text)")
            #expect(made.json["match"] == ["vendor_id": "10de", "product_id": "11bf", "class": "03"])
            let path = try #require(made.header("Location"))
            let shown = try await client.get(path, as: "root")
            #expect(shown.json == made.json)
            let tag = try #require(shown.header("ETag"))
            let changed = try await client.patch(
                path, ["match": ["product_id": nil, "node": "cn*", "address": "0000:3B:*"]], as: "root",
                headers: ["If-Match": tag])
            #expect(
                changed.json["match"] == ["vendor_id": "10de", "class": "03", "address": "0000:3b:*", "node": "cn*"])
            #expect(changed.json["alias"] == "K2_Grid" && changed.json["description"] == "as in the sources")
            let late = try await client.patch(path, ["description": "x"], as: "root", headers: ["If-Match": tag])
            #expect(late.status == 412)
            let listed = try await client.get("/v1/device-rules?alias=K2_Grid&action=alias&sort=-alias", as: "root")
            #expect(Self.items(listed, "alias") == ["K2_Grid"])
            #expect(
                Self.items(try await client.get("/v1/device-rules?sort=alias", as: "root"), "alias") == [
                    "K2_Grid", "a100",
                ])
            let nothing = try await client.patch(
                path, ["match": ["vendor_id": nil, "class": nil, "address": nil, "node": nil]], as: "root")
            #expect(nothing.status == 422 && nothing.json["errors"]?.array?.first?["pointer"] == "/match")
            #expect(try await client.delete(path, as: "root").status == 204)
            #expect(try await client.get(path, as: "root").status == 404)
            let events = try await client.get("/v1/events?kind=device_rule", as: "root")
            #expect(
                Self.items(events, "kind") == ["device_rule.created", "device_rule.updated", "device_rule.deleted"])
        }
    }

    @Test("a rule about sets is made, read and changed like others; its sets are replaced as a whole")
    func partitions() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let made = try await client.post(
                "/v1/device-rules",
                [
                    "action": "partition", "match": ["node": "hgx*"],
                    "sets": [["0000:0A:00.0", "0000:07:00.0"], ["0000:07:00.0"]],
                ], as: "root")
            #expect(made.status == 201 && made.json["alias"] == .null, "\(made.text)")
            #expect(made.json["sets"] == [["0000:07:00.0", "0000:0a:00.0"], ["0000:07:00.0"]])
            let path = try #require(made.header("Location"))
            let changed = try await client.patch(path, ["sets": [["0000:07:00.0"]]], as: "root")
            #expect(changed.json["sets"] == [["0000:07:00.0"]] && changed.json["match"] == ["node": "hgx*"])
            let described = try await client.patch(path, ["description": "x"], as: "root")
            #expect(described.json["sets"] == [["0000:07:00.0"]])
            let none = try await client.patch(path, ["sets": []], as: "root")
            #expect(none.status == 422 && none.json["errors"]?.array?.first?["pointer"] == "/sets", "\(none.text)")
            let wrong = try await client.patch(path, ["sets": [["07:00.0"]]], as: "root")
            #expect(
                wrong.status == 400 && wrong.json["errors"]?.array?.first?["pointer"] == "/sets/0/0", "\(wrong.text)")
            #expect(
                try await client.get("/v1/device-rules?action=partition", as: "root").json["items"]?.array?.count == 1)
            #expect(try await client.delete(path, as: "root").status == 204)
        }
    }

    @Test("what a rule cannot say is refused by pointer")
    func wrongRules() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            for (body, status, pointer) in [
                (["action": "alias", "alias": "a", "match": [:]], 422, "/match"),
                (["action": "alias", "match": ["vendor_id": "10de"]], 422, "/alias"),
                (["action": "deny", "alias": "a", "match": ["vendor_id": "10de"]], 422, "/alias"),
                (["action": "ban", "match": ["vendor_id": "10de"]], 400, "/action"),
                (["action": "deny", "match": ["vendor_id": "10d"]], 400, "/match/vendor_id"),
                (["action": "deny", "match": ["vendor_id": "0x10"]], 400, "/match/vendor_id"),
                (["action": "deny", "match": ["class": "030"]], 400, "/match/class"),
                (["action": "deny", "match": ["address": "0000:3b:?"]], 400, "/match/address"),
                (["action": "deny", "match": ["colour": "green"]], 400, "/match/colour"),
                (["action": "alias", "alias": "a,b", "match": ["vendor_id": "10de"]], 400, "/alias"),
            ] as [(JSONValue, Int, String)] {
                let reply = try await client.post("/v1/device-rules", body, as: "root")
                let pointers = reply.json["errors"]?.array?.compactMap { $0["pointer"]?.string }
                #expect(reply.status == status && pointers == [pointer], "\(reply.text)")
            }
        }
    }

    @Test("a flavor with an alias that no rule gives is refused where it is said; a rule that flavors need stays")
    func flavors() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            func create(_ alias: String) async throws -> Reply {
                try await client.post(
                    "/v1/flavors",
                    [
                        "name": "gpu", "vcpus": 1, "ram_mib": 512, "disk_gib": 4,
                        "properties": ["pci_passthrough:alias": .string(alias)],
                    ], as: "root")
            }
            let refused = try await create("A100:1")
            #expect(refused.status == 422, "\(refused.text)")
            #expect(refused.json["errors"]?.array?.first?["pointer"] == "/properties/pci_passthrough:alias")
            #expect(refused.text.contains("there is 'a100'"))
            #expect(try await create("a100:2").status == 201)
            let path = "/v1/device-rules/\(fixtures.deviceRule.id)"
            for reply in [
                try await client.delete(path, as: "root"), try await client.patch(path, ["alias": "b"], as: "root"),
            ] {
                #expect(reply.status == 409 && reply.code == "in_use" && reply.text.contains("'gpu'"), "\(reply.text)")
            }
        }
    }

    @Test("devices are listed by what they are, where they are and whether a guest could have them")
    func list() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let now = SystemTime().timestamp
        let idle = try await site.store.write { sql in
            var node = Node(id: .generate(at: now), name: "cn2", certificateSerial: "02", joinedAt: now)
            node.enabled = false
            node.liveness = .alive
            try sql.nodes.insert(node)
            try sql.nodes.update(node)
            var facts = fixtures.device.facts
            facts.unusableReason = nil
            for address in ["0000:03:00.0", "0000:04:00.0"] {
                facts.address = address
                var device = Device(id: .generate(at: now), node: node.id, facts: facts, at: now)
                device.aliases = address.hasPrefix("0000:03") ? ["a100"] : []
                device.objection = device.aliases.isEmpty ? DeviceObjection(.host, "the IOMMU is off") : nil
                try sql.devices.insert(device)
            }
            return node
        }
        try await site.test { client async throws in
            func places(_ query: String) async throws -> [String] {
                let reply = try await client.get("/v1/devices?sort=node,address&\(query)", as: "root")
                #expect(reply.status == 200, "\(reply.text)")
                return (reply.json["items"]?.array ?? []).map {
                    "\($0["node"]?.string ?? "")/\($0["address"]?.string ?? "")"
                }
            }
            let (first, second, third) = ("cn1/0000:03:00.0", "cn2/0000:03:00.0", "cn2/0000:04:00.0")
            #expect(try await places("limit=10") == [first, second, third])
            #expect(try await places("free=true") == [first])
            #expect(try await places("free=false") == [second, third])
            #expect(try await places("alias=a100") == [first, second])
            #expect(try await places("alias=A100").isEmpty)
            #expect(try await places("node=cn2&alias=a100") == [second])
            #expect(try await places("node=\(idle.id)&address=0000:04:00.0") == [third])
            #expect(try await places("status=disabled") == [second])
            #expect(try await places("status=unusable") == [third])
            #expect(try await places("quarantined=true").isEmpty)
            #expect(try await client.get("/v1/devices?node=cn9", as: "root").status == 404)
            var (seen, after) = ([String](), "")
            repeat {
                let page = try await client.get("/v1/devices?sort=-status,node,-address&limit=1\(after)", as: "root")
                seen += Self.items(page, "status")
                after = page.json["next"]?.string.map { "&after=\($0)" } ?? ""
            } while !after.isEmpty
            #expect(seen == ["unusable", "free", "disabled"])
            let cut = try await client.get("/v1/devices?free=true&fields=name,reason,class", as: "root")
            #expect(cut.json["items"] == [["reason": "", "name": "10de:20b5", "class": "030200"]])
            let aliases = try await client.get("/v1/device-aliases?sort=-total", as: "root")
            #expect(
                aliases.json["items"] == [
                    [
                        "alias": "a100", "total": 2, "free": 1, "free_on_one_node": 1, "in_use": 0, "offline": 0,
                        "disabled": 1, "quarantined": 0,
                    ]
                ])
            for path in ["/v1/devices", "/v1/device-aliases", "/v1/device-rules"] {
                #expect(try await client.get(path, as: "ann").status == 403)
            }
        }
    }

    @Test("a device is kept out of service with a reason, and let back in")
    func quarantine() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let path = "/v1/devices/\(fixtures.device.id)"
            #expect(try await client.post(path + "/quarantine", [:], as: "root").status == 400)
            let kept = try await client.post(path + "/quarantine", ["reason": "its fan is stuck"], as: "root")
            #expect(kept.status == 200 && kept.json["status"] == "quarantined", "\(kept.text)")
            #expect(kept.json["reason"] == "its fan is stuck" && kept.json["quarantined_at"] != .null)
            #expect(try await client.get(path, as: "root").json == kept.json)
            let listed = try await client.get("/v1/devices?quarantined=true&free=false", as: "root")
            #expect(Self.items(listed, "id") == ["\(fixtures.device.id)"])
            let free = try await client.send(.post, path + "/release", as: "root")
            #expect(free.status == 200 && free.json["status"] == "free" && free.json["quarantined_at"] == .null)
            let events = try await client.get("/v1/events?kind=device", as: "root")
            #expect(Self.items(events, "kind") == ["device.quarantined", "device.released"])
        }
    }
}
