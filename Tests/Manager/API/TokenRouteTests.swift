import Foundation
import HTTPTypes
import ManagerModel
import ManagerStore
import Synchronization
import Testing

@testable import ManagerAPI

@Suite("Signing in over HTTP")
struct TokenRouteTests {
    private static let right = "grant_type=password&username=ann&password=correct+horse"

    @Test("a token is issued, works, is renewed, and ends with its session")
    func life() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let issued = try await client.form("/oauth/token", Self.right)
            #expect(issued.status == 200)
            #expect(SchemaCheck.faults(of: issued.json, in: .object(TokenRoutes.issued)) == [])
            #expect(issued.json["expires_in"] == 900)
            #expect(issued.header("Cache-Control") == "no-store")
            let access = try #require(issued.json["access_token"]?.string)
            let me = try await client.send(.get, "/v1/users/me", headers: ["Authorization": "Bearer \(access)"])
            #expect(me.json["name"] == "ann")

            let refresh = try #require(issued.json["refresh_token"]?.string)
            let renewed = try await client.form("/oauth/token", "grant_type=refresh_token&refresh_token=\(refresh)")
            #expect(renewed.status == 200)
            let again = try await client.form("/oauth/token", "grant_type=refresh_token&refresh_token=\(refresh)")
            #expect(again.status == 400)
            #expect(again.json["error"] == "invalid_grant")
            let last = try #require(renewed.json["refresh_token"]?.string)
            let ended = try await client.form("/oauth/token", "grant_type=refresh_token&refresh_token=\(last)")
            #expect(ended.json["error"] == "invalid_grant", "the reuse ended the family")

            let other = try #require(try await client.form("/oauth/token", Self.right).json["refresh_token"]?.string)
            #expect(try await client.form("/oauth/revoke", "token=\(other)").status == 200)
            #expect(try await client.form("/oauth/revoke", "token=unknown").status == 200)
            let revoked = try await client.form("/oauth/token", "grant_type=refresh_token&refresh_token=\(other)")
            #expect(revoked.json["error"] == "invalid_grant")
        }
    }

    @Test(
        "faults have the shape of RFC 6749 §5.2",
        arguments: [
            ("grant_type=password&username=ann&password=wrong", "invalid_grant"),
            ("grant_type=password&username=nobody&password=wrong", "invalid_grant"),
            ("grant_type=password&username=ann", "invalid_request"),
            ("grant_type=password&password=x", "invalid_request"),
            ("grant_type=implicit", "unsupported_grant_type"), ("username=ann", "invalid_request"),
            ("grant_type=authorization_code&code=x", "invalid_request"),
            ("grant_type=urn:ietf:params:oauth:grant-type:device_code&device_code=x", "invalid_grant"),
            ("grant_type=refresh_token", "invalid_request"),
            ("grant_type=refresh_token&refresh_token=x", "invalid_grant"),
            ("grant_type=password&username=ann&username=bob&password=x", "invalid_request"),
            ("%ff=%ff", "invalid_request"),
            ("grant_type=password&username=%00&password=x", "invalid_request"), ("x=1", "invalid_request"),
            ("grant_type=password&username=%27%20OR%201=1&password=x", "invalid_grant"),
        ])
    func faults(body: String, error: String) async throws {
        let site = try await TestSite()
        let reply = try await site.test { try await $0.form("/oauth/token", body) }
        #expect(reply.status == 400, "\(reply.text)")
        #expect(reply.json["error"] == .string(error), "\(reply.text)")
        #expect(reply.json["error_description"]?.string?.isEmpty == false)
    }

    @Test("guessing is slowed down with 429")
    func guessing() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            for _ in 0..<10 {
                let reply = try await client.form("/oauth/token", "grant_type=password&username=ann&password=guess")
                #expect(reply.status == 400)
            }
            let reply = try await client.form("/oauth/token", Self.right)
            #expect(reply.status == 429)
            #expect(Int(reply.header("Retry-After") ?? "") ?? 0 > 0)
        }
    }

    @Test("what a guest is told appears in no answer, log line, event, metric or operation (SEC-14)")
    func userData() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        let canary = "canary-user-data-7731"
        let encoded = Data("#cloud-config \(canary)".utf8).base64EncodedString()
        let body: JSONValue = [
            "name": "db", "flavor": "small", "image": "debian", "user_data": .string(encoded), "count": 2,
        ]
        try await site.test { client async throws in
            var said = [try await client.post("/v1/instances", body, as: "bob", headers: ["Idempotency-Key": "k"])]
            #expect(said[0].status == 202)
            said.append(try await client.post("/v1/instances", body, as: "bob", headers: ["Idempotency-Key": "k"]))
            let many = JSONValue.object((body.members ?? []).filter { $0.name != "count" } + [.init("count", 900)])
            said.append(try await client.post("/v1/instances", many, as: "bob"))
            #expect(said[2].code == "no_capacity")
            said.append(
                try await client.post("/v1/instances", .object((body.members ?? []) + [.init("x", 1)]), as: "bob"))
            said.append(try await client.patch("/v1/instances/db-1", ["user_data": .string(encoded)], as: "bob"))
            for path in [
                "/v1/instances", "/v1/instances/db-1", "/v1/operations", "/v1/events?limit=1000", "/metrics",
                "/v1/nodes/cn1",
            ] { said.append(try await client.get(path, as: "root")) }
            said.append(try await client.delete("/v1/instances/db-1", as: "bob"))
            let kept = try await site.store.read { sql in
                try sql.instances.list(.init()).filter { !$0.userData.isEmpty }.count
            }
            #expect(kept == 2, "the guests are told all the same")
            for text in said.map(\.text) + [site.lines.all.joined(separator: "\n")] {
                #expect(!text.isEmpty && !text.contains(canary) && !text.contains(encoded), "\(text)")
            }
        }
    }

    @Test("planted secrets appear in no log line, event or kept answer (SEC-14)")
    func canaries() async throws {
        let site = try await TestSite()
        let canary = "canary-Zebra-9911"
        let access = site.token("root")
        try await site.test { client async throws in
            _ = try await client.form("/oauth/token", "grant_type=password&username=ann&password=\(canary)")
            _ = try await client.get("/v1/users?after=\(canary)", as: "root")
            _ = try await client.post(
                "/v1/users", ["name": "eve", "password": .string(canary)], as: "root",
                headers: ["Idempotency-Key": "k-eve"])
            _ = try await client.patch(
                "/v1/users/ann", ["password": .string(canary), "current_password": "wrong"], as: "ann")
            let token = try await client.post(
                "/v1/nodes/tokens", [:], as: "root", headers: ["Idempotency-Key": "k-join"])
            let secret = try #require(token.json["token"]?.string)
            let events = try await client.get("/v1/events?limit=1000", as: "root")
            let lines = site.lines.all.joined(separator: "\n")
            #expect(!lines.isEmpty)
            for text in [canary, secret, access] {
                #expect(!lines.contains(text))
                #expect(!events.text.contains(text))
            }
            for key in ["k-eve", "k-join"] {
                let kept = try await site.store.read { try $0.idempotency.find(user: site.users["root"]!.id, key: key) }
                let text = String(decoding: try #require(kept).body, as: UTF8.self)
                #expect(!text.contains(canary) && !text.contains(secret))
            }
            // The secret was shown once; a repetition does not show it, and makes no second token in silence.
            let again = try await client.post(
                "/v1/nodes/tokens", [:], as: "root", headers: ["Idempotency-Key": "k-join"])
            #expect(again.status == 409)
        }
    }
}
