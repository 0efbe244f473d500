import HTTPTypes
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI
@testable import ManagerIdentity

/// Limits at the API: who sees and sets whose (SEC-08, SEC-13), and what a refusal says.
@Suite("Quota routes")
struct QuotaRouteTests {
    /// Beside the default account: `physics` with its owner `carl` and the user `eve`.
    private static func site() async throws -> (site: TestSite, fixtures: Fixtures) {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.add("carl", roles: ["account_owner"], account: "physics")
        try await site.add("eve", roles: ["user"], account: "physics")
        return (site, fixtures)
    }

    private static let create: JSONValue = ["name": "more", "flavor": "small", "image": "debian"]

    @Test("limits are set, shown with what is used, and taken back with null; the document is that of a merge-patch")
    func life() async throws {
        let (site, _) = try await Self.site()
        try await site.test { client async throws in
            let before = try await client.get("/v1/users/ann/quota", as: "root")
            #expect(before.json["limits"]?["instances"] == .null && before.json["used"]?["instances"] == 1)
            #expect(before.json["used_flavors"] == ["small": 1] && before.json["kind"] == "user")
            let set = try await client.patch(
                "/v1/users/ann/quota", ["limits": ["instances": 5, "vcpus": -1], "flavor_caps": ["small": 1]],
                as: "root", headers: ["If-Match": before.header("ETag") ?? ""])
            #expect(set.status == 200, "\(set.text)")
            #expect(set.json["limits"]?["instances"] == 5 && set.json["limits"]?["vcpus"] == -1)
            #expect(set.json["effective_limits"]?["vcpus"] == .null && set.json["flavor_caps"] == ["small": 1])
            let stale = try await client.patch(
                "/v1/users/ann/quota", ["limits": ["instances": 6]], as: "root",
                headers: ["If-Match": before.header("ETag") ?? ""])
            #expect(stale.status == 412)
            let defaults = try await client.patch(
                "/v1/quota-defaults", ["users": ["limits": ["vcpus": 3, "gpus": 0]]], as: "root")
            #expect(defaults.json["users"]?["limits"]?["vcpus"] == 3, "\(defaults.text)")
            let taken = try await client.patch(
                "/v1/users/ann/quota", ["limits": ["vcpus": nil], "flavor_caps": ["small": nil]], as: "root")
            #expect(taken.json["limits"]?["vcpus"] == .null && taken.json["effective_limits"]?["vcpus"] == 3)
            #expect(taken.json["limits"]?["instances"] == 5 && taken.json["flavor_caps"] == [:])

            let events = try await client.get("/v1/events?kind=user.quota_changed&limit=10", as: "ann")
            let items = events.json["items"]?.array ?? []
            #expect(items.count == 2, "\(events.text)")
            #expect(items.last?["changes"]?["limits.vcpus"]?["before"] == "-1")
            #expect(items.last?["changes"]?["flavor_caps.small"]?["after"] == .null)
        }
    }

    @Test("limits of devices are by alias, beside the others, and go with null")
    func devices() async throws {
        let (site, _) = try await Self.site()
        try await site.test { client async throws in
            let rules = try await client.get("/v1/device-rules", as: "root")
            let alias = try #require(rules.json["items"]?.array?.compactMap { $0["alias"]?.string }.first)
            let set = try await client.patch(
                "/v1/accounts/default/quota", ["devices": .object([.init(alias, 4)])], as: "root")
            #expect(set.status == 200 && set.json["devices"] == .object([.init(alias, 4)]), "\(set.text)")
            #expect(set.json["effective_devices"] == .object([.init(alias, 4)]) && set.json["used_devices"] == [:])
            let none = try await client.patch("/v1/users/ann/quota", ["devices": ["nothing": 4]], as: "root")
            #expect(none.status == 400 && none.text.contains("/devices/nothing"), "\(none.text)")
            let summary = try await client.get("/v1/quota-summary", as: "root")
            let row = summary.json["resources"]?.array?.first { $0["alias"]?.string == alias }
            #expect(row?["resource"] == "devices" && row?["limit_sum"] == 4, "\(summary.text)")
            let taken = try await client.patch(
                "/v1/accounts/default/quota", ["devices": .object([.init(alias, .null)])], as: "root")
            #expect(taken.json["devices"] == [:])
        }
    }

    @Test("a refusal says whose limit it is, how much is used, and who can raise it, for people and for machines")
    func refusal() async throws {
        let (site, _) = try await Self.site()
        try await site.test { client async throws in
            _ = try await client.patch("/v1/users/ann/quota", ["limits": ["instances": 1]], as: "root")
            _ = try await client.patch("/v1/accounts/default/quota", ["flavor_caps": ["small": 1]], as: "root")
            let refused = try await client.post("/v1/instances", Self.create, as: "ann")
            #expect(refused.status == 403 && refused.code == "quota_exceeded", "\(refused.text)")
            #expect(
                refused.json["limits"]?.array == [
                    [
                        "kind": "user", "name": "ann", "account": "default", "resource": "instances", "flavor": nil,
                        "alias": nil, "limit": 1, "used": 1, "requested": 1,
                    ],
                    [
                        "kind": "account", "name": "default", "account": "default", "resource": "instances",
                        "flavor": "small", "alias": nil, "limit": 1, "used": 1, "requested": 1,
                    ],
                ])
            #expect(SchemaCheck.faults(of: refused.json, in: .object(OpenAPIDocument.problem)) == [])
            #expect(
                refused.json["detail"]?.string?.contains("or a superuser can raise the limit of user 'ann'") == true)
            let bob = try await client.post("/v1/instances", Self.create, as: "bob")
            #expect(bob.code == "quota_exceeded", "the account's cap holds for all of its users: \(bob.text)")
            _ = try await client.patch("/v1/accounts/default/quota", ["flavor_caps": ["small": nil]], as: "root")
            #expect(try await client.post("/v1/instances", Self.create, as: "bob").status == 202)
        }
    }

    @Test("everybody sees their own limits and their account's; others' are not there, or not theirs to change")
    func reach() async throws {
        let (site, _) = try await Self.site()
        try await site.test { client async throws in
            let cases: [(String, String, Int)] = [
                ("ann", "/v1/users/me/quota", 200), ("ann", "/v1/users/bob/quota", 404),
                ("ann", "/v1/users/eve/quota", 404), ("ann", "/v1/accounts/default/quota", 200),
                ("ann", "/v1/accounts/physics/quota", 404), ("ann", "/v1/quota-defaults", 200),
                ("ann", "/v1/quota-summary", 403), ("carl", "/v1/users/eve/quota", 200),
                ("carl", "/v1/users/ann/quota", 404), ("carl", "/v1/accounts/physics/quota", 200),
                ("carl", "/v1/accounts/default/quota", 404), ("root", "/v1/users/eve/quota", 200),
                ("root", "/v1/accounts/physics/quota", 200), ("root", "/v1/users/nobody/quota", 404),
                ("root", "/v1/accounts/nothing/quota", 404), ("root", "/v1/quota-summary", 200),
            ]
            for (name, path, status) in cases {
                let reply = try await client.get(path, as: name)
                #expect(reply.status == status, "\(name) \(path): \(reply.text)")
            }
            let changes: [(String, String, Int)] = [
                ("ann", "/v1/users/me/quota", 403), ("ann", "/v1/users/bob/quota", 403),
                ("ann", "/v1/accounts/default/quota", 403), ("ann", "/v1/quota-defaults", 403),
                ("carl", "/v1/users/eve/quota", 200), ("carl", "/v1/users/me/quota", 403),
                ("carl", "/v1/users/ann/quota", 404), ("carl", "/v1/accounts/physics/quota", 403),
                ("carl", "/v1/quota-defaults", 403), ("root", "/v1/users/carl/quota", 200),
                ("root", "/v1/accounts/physics/quota", 200),
            ]
            for (name, path, status) in changes {
                let reply = try await client.patch(path, ["limits": ["instances": 2]], as: name)
                #expect(reply.status == status, "\(name) PATCH \(path): \(reply.text)")
            }
            for (name, kind, names) in [
                ("ann", "user", ["ann"]), ("ann", "account", ["default"]), ("carl", "user", ["carl", "eve"]),
                ("carl", "account", ["physics"]), ("root", "account", ["default", "physics"]),
                ("root", "user", ["ann", "bob", "carl", "eve", "root"]),
            ] {
                let reply = try await client.get("/v1/quotas?kind=\(kind)", as: name)
                let seen = reply.json["items"]?.array?.compactMap { $0["name"]?.string }.sorted()
                #expect(seen == names, "\(name) \(kind): \(reply.text)")
            }
        }
    }

    @Test("the owner of an account gives its users no more than it has (SEC-08)")
    func grants() async throws {
        let (site, _) = try await Self.site()
        try await site.test { client async throws in
            func give(_ limits: JSONValue, _ caps: JSONValue = [:]) async throws -> Reply {
                try await client.patch("/v1/users/eve/quota", ["limits": limits, "flavor_caps": caps], as: "carl")
            }
            _ = try await client.patch(
                "/v1/accounts/physics/quota", ["limits": ["instances": 10], "flavor_caps": ["small": 2]], as: "root")
            _ = try await client.patch("/v1/quota-defaults", ["users": ["limits": ["vcpus": 8]]], as: "root")
            #expect(try await give(["instances": 10, "vcpus": 8, "ram_mib": 1_000_000], ["small": 2]).status == 200)
            for (limits, caps, pointer) in [
                (["instances": 11], [:], "/limits/instances"), (["instances": -1], [:], "/limits/instances"),
                // The account has no limit of it, so what every user has is the most.
                (["vcpus": 9], [:], "/limits/vcpus"), (["vcpus": -1], [:], "/limits/vcpus"),
                ([:], ["small": 3], "/flavor_caps/small"), ([:], ["small": -1], "/flavor_caps/small"),
            ] as [(JSONValue, JSONValue, String)] {
                let refused = try await give(limits, caps)
                #expect(refused.status == 403 && refused.json["errors"]?.array?.first?["pointer"]?.string == pointer)
            }
            #expect(try await give(["instances": nil, "vcpus": 0]).status == 200)
            #expect(try await client.get("/v1/users/eve/quota", as: "eve").json["limits"]?["vcpus"] == 0)
        }
    }

    @Test("what names no flavor, and what is no limit, is refused by its place")
    func badInput() async throws {
        let (site, _) = try await Self.site()
        try await site.test { client async throws in
            for (body, pointer) in [
                (["flavor_caps": ["nosuch": 1]], "/flavor_caps/nosuch"),
                (["limits": ["instances": -2]], "/limits/instances"),
                (["limits": ["instance": 1]], "/limits/instance"),
                (["limits": ["vcpus": .number(1.5)]], "/limits/vcpus"),
                (["limits": ["vcpus": .number(9e18)]], "/limits/vcpus"),
                (["flavor_caps": ["small": "1"]], "/flavor_caps/small"),
            ] as [(JSONValue, String)] {
                let reply = try await client.patch("/v1/users/ann/quota", body, as: "root")
                #expect(reply.status == 400, "\(reply.text)")
                #expect(reply.json["errors"]?.array?.first?["pointer"]?.string == pointer, "\(reply.text)")
            }
        }
    }

    @Test("the operator sees limits beside capacity, which they may exceed (AUT-36), and is warned when it runs out")
    func summary() async throws {
        let (site, _) = try await Self.site()
        try await site.test { client async throws in
            func row(_ resource: String, _ summary: JSONValue) -> JSONValue? {
                summary["resources"]?.array?.first { $0["resource"]?.string == resource }
            }
            _ = try await client.patch("/v1/quota-defaults", ["accounts": ["limits": ["vcpus": 60]]], as: "root")
            let promised = try await client.get("/v1/quota-summary", as: "root").json
            // 16 processors, each taken by four.
            let vcpus = row("vcpus", promised)
            #expect(vcpus?["capacity"] == 64 && vcpus?["limit_sum"] == 120 && vcpus?["unlimited_accounts"] == 0)
            #expect(vcpus?["promised_beyond_capacity"] == true && vcpus?["exhausted"] == false && vcpus?["used"] == 1)
            #expect(row("images", promised)?["capacity"] == .null && promised["warnings"] == [])
            try await site.store.write { transaction in
                var node = try #require(try transaction.nodes.find(name: "cn1"))
                node.inventory.diskBytes = 4 << 30
                try transaction.nodes.update(node)
            }
            let full = try await client.get("/v1/quota-summary", as: "root").json
            #expect(row("disk_gib", full)?["exhausted"] == true)
            #expect(full["warnings"]?.array?.first?.string?.contains("4 of 4 GiB of disk are used") == true, "\(full)")
        }
    }
}
