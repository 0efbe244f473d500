import Crypto
import Foundation
import HTTPTypes
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI
@testable import ManagerIdentity

extension Client {
    /// A form, with further headers.
    func form(_ path: String, _ fields: [(String, String)], headers: [String: String] = [:]) async throws -> Reply {
        let body = fields.map { FormText.encode($0.0) + "=" + FormText.encode($0.1) }.joined(separator: "&")
        return try await send(
            .post, path, body: Array(body.utf8), type: "application/x-www-form-urlencoded", headers: headers)
    }

    func me(_ token: String?) async throws -> Reply {
        try await send(.get, "/v1/users/me", headers: ["Authorization": "Bearer \(token ?? "")"])
    }
}

private func basic(_ id: String, _ secret: String) -> [String: String] {
    ["Authorization": "Basic " + Data("\(FormText.encode(id)):\(FormText.encode(secret))".utf8).base64EncodedString()]
}

@Suite("OAuth: clients and API keys")
struct OAuthClientTests {
    @Test("a key is shown once, gets tokens by header and by body, is used within its scopes, and ends")
    func life() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let made = try await client.post(
                "/v1/api-keys", ["name": "robot", "scopes": ["instances:read", "users:read"]], as: "ann")
            #expect(made.status == 201)
            #expect(SchemaCheck.faults(of: made.json, in: .object(APIKeyRoutes.created)) == [])
            let id = try #require(made.json["id"]?.string)
            let secret = try #require(made.json["secret"]?.string)
            let shown = try await client.get("/v1/api-keys/robot", as: "ann")
            #expect(shown.json["secret"] == nil && shown.json["owner"] == "ann" && shown.json["last_used_at"] == .null)
            #expect(shown.header("ETag") == made.header("ETag"))

            let byHeader = try await client.form(
                "/oauth/token", [("grant_type", "client_credentials")], headers: basic(id, secret))
            #expect(byHeader.status == 200 && byHeader.json["refresh_token"] == nil)
            #expect(byHeader.json["scope"] == "instances:read users:read")
            let byBody = try await client.form(
                "/oauth/token",
                [
                    ("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret),
                    ("scope", "users:read"),
                ])
            #expect(byBody.json["scope"] == "users:read")

            let token = byHeader.json["access_token"]?.string
            #expect(try await client.me(token).json["name"] == "ann")
            let pair: JSONValue = ["name": "x", "public_key": .string(Fixtures.ed25519)]
            let refused = try await client.send(
                .post, "/v1/keypairs", body: pair.bytes,
                headers: ["Authorization": "Bearer \(token ?? "")"])
            #expect(refused.status == 403 && refused.code == "insufficient_scope")
            #expect(refused.header("WWW-Authenticate")?.contains("insufficient_scope") == true)

            try await site.services.tokens.recordUses()
            let used = try await client.get("/v1/api-keys/\(id)", as: "ann")
            #expect(used.json["last_used_at"]?.string != nil && used.json["last_used_from"]?.string != nil)
            #expect(used.header("ETag") == made.header("ETag"), "using it is no change")
            let changed = try await client.patch(
                "/v1/api-keys/robot", ["scopes": ["users:read"], "name": "bot"], as: "ann",
                headers: ["If-Match": used.header("ETag") ?? ""])
            #expect(changed.status == 200 && changed.json["name"] == "bot")
            let again = try await client.get("/v1/api-keys/bot", as: "ann").header("ETag")
            #expect(changed.header("ETag") == again && again != used.header("ETag"))
            let stale = try await client.delete(
                "/v1/api-keys/bot", as: "ann", headers: ["If-Match": used.header("ETag") ?? ""])
            #expect(stale.status == 412)
            #expect(try await client.delete("/v1/api-keys/bot", as: "ann").status == 204)
            #expect(try await client.me(token).status == 401)
        }
    }

    @Test("who is not a key's owner finds no key, and makes none for others")
    func foreign() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let path = "/v1/api-keys/\(fixtures.apiKey.id)"
            #expect(try await client.get(path, as: "bob").status == 404)
            #expect(try await client.patch(path, ["name": "mine"], as: "bob").status == 404)
            #expect(try await client.delete(path, as: "bob").status == 404)
            #expect(try await client.get("/v1/api-keys", as: "bob").json["items"]?.array?.isEmpty == true)
            #expect(try await client.get("/v1/api-keys", as: "root").json["items"]?.array?.count == 1)
            #expect(try await client.post("/v1/api-keys", ["name": "x", "owner": "ann"], as: "bob").status == 404)
            let made = try await client.post("/v1/api-keys", ["name": "x", "owner": "ann"], as: "root")
            #expect(made.status == 201 && made.json["owner"] == "ann")
            #expect(try await client.post("/v1/api-keys", ["name": "x", "owner": "ann"], as: "root").status == 409)
            for body: JSONValue in [
                ["name": "y", "scopes": ["instnces"]], ["name": "y", "scopes": []],
                ["name": "y", "expires_at": "2001-01-01T00:00:00Z"], ["name": "y", "expires_at": "soon"],
            ] {
                let reply = try await client.post("/v1/api-keys", body, as: "ann")
                #expect(reply.status == 400, "\(reply.text)")
                #expect(reply.json["errors"]?.array?.isEmpty == false)
            }
        }
    }

    @Test("wrong clients are refused as RFC 6749 §5.2 says")
    func wrong() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let grant = [("grant_type", "client_credentials")]
            let noKey = basic("\(APIKeyID.generate(at: .init(milliseconds: 0)))", "rks_1")
            for headers in [basic("nobody", "x"), noKey, [:]] as [[String: String]] {
                let reply = try await client.form("/oauth/token", grant, headers: headers)
                #expect(reply.status == 401 && reply.json["error"] == "invalid_client")
                #expect(reply.header("WWW-Authenticate")?.hasPrefix("Basic") == true)
            }
            let password = [("grant_type", "password"), ("username", "ann"), ("password", TestSite.password)]
            let unknown = try await client.form("/oauth/token", password + [("client_id", "unknown")])
            #expect(unknown.status == 401 && unknown.json["error"] == "invalid_client")
            let twice = try await client.form(
                "/oauth/token", password + [("client_secret", "x")], headers: basic("roost", ""))
            #expect(twice.status == 400 && twice.json["error"] == "invalid_request")
            let scope = try await client.form("/oauth/token", password + [("scope", "openid")])
            #expect(scope.json["error"] == "invalid_scope")
            let target = try await client.form("/oauth/token", password + [("resource", "https://elsewhere")])
            #expect(target.json["error"] == "invalid_target")
            // What is not known is not looked at.
            let more = try await client.form(
                "/oauth/token", password + [("audience", "x"), ("client_id", "roost")], headers: basic("roost", ""))
            #expect(more.status == 200)
        }
    }

    @Test("introspection and revocation, by those who may")
    func introspection() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            func worth(_ token: String, as user: String) async throws -> Reply {
                try await client.form(
                    "/oauth/introspect", [("token", token)],
                    headers: ["Authorization": "Bearer \(site.token(user))"])
            }
            let ann = site.token("ann")
            let reply = try await worth(ann, as: "root")
            #expect(reply.status == 200 && reply.json["active"] == true && reply.json["username"] == "ann")
            #expect(SchemaCheck.faults(of: reply.json, in: .object(TokenRoutes.worth)) == [])
            #expect(try await worth("x", as: "root").json == ["active": false])
            #expect(try await worth(ann, as: "bob").status == 403)
            #expect(try await client.form("/oauth/introspect", [("token", ann)]).status == 401)

            let key = try await client.post("/v1/api-keys", ["name": "checker"], as: "root")
            let headers = basic(key.json["id"]?.string ?? "", key.json["secret"]?.string ?? "")
            let byKey = try await client.form("/oauth/introspect", [("token", ann)], headers: headers)
            #expect(byKey.json["active"] == true)
            // A key of the same user that does not cover it.
            let narrow = try await client.post("/v1/api-keys", ["name": "n", "scopes": ["instances"]], as: "root")
            let narrowHeaders = basic(narrow.json["id"]?.string ?? "", narrow.json["secret"]?.string ?? "")
            #expect(
                try await client.form("/oauth/introspect", [("token", ann)], headers: narrowHeaders).status == 403)

            #expect(try await client.form("/oauth/revoke", [("token", ann)]).status == 200)
            #expect(try await client.me(ann).status == 401)
            #expect(try await worth(ann, as: "root").json == ["active": false])
        }
    }

    @Test("a superuser acts as a user, who could not have asked for it, make keys or go further")
    func masquerade() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            func ask(_ name: String, as user: String) async throws -> Reply {
                try await client.send(.post, "/v1/users/\(name)/masquerade", as: user, body: nil)
            }
            #expect(try await ask("bob", as: "ann").status == 403)
            #expect(try await ask("root", as: "root").status == 403)
            #expect(try await ask("nobody", as: "root").status == 404)
            let issued = try await ask("ann", as: "root")
            #expect(issued.status == 201 && issued.json["refresh_token"] == nil)
            let token = issued.json["access_token"]?.string ?? ""
            #expect(try await client.me(token).json["name"] == "ann")
            let key: JSONValue = ["name": "mine"]
            let made = try await client.send(
                .post, "/v1/api-keys", body: key.bytes, headers: ["Authorization": "Bearer \(token)"])
            #expect(made.status == 403 && made.json["detail"]?.string?.contains("root") == true)
            let events = try await client.get("/v1/events?kind=user.masqueraded", as: "root")
            #expect(events.json["items"]?.array?.first?["actor"] == "root")
        }
    }

    @Test("discovery names what is served, and nothing else")
    func discovery() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let server = try await client.get("/.well-known/oauth-authorization-server")
            #expect(server.status == 200)
            let issuer = try #require(server.json["issuer"]?.string)
            for member in server.json.members ?? []
            where member.name.hasSuffix("_endpoint") || member.name == "jwks_uri" {
                let path = try #require(member.value.string).dropFirst(issuer.count)
                #expect(APIRoutes.all.contains { $0.pattern == path }, "\(member.name)")
            }
            let resource = try await client.get("/.well-known/oauth-protected-resource")
            // Whoever comes without a token, with a bad one, or with one that covers less, is told where to read on.
            #expect(resource.json["resource"]?.string == issuer)
            let pointer = "resource_metadata=\"\(issuer)/.well-known/oauth-protected-resource\""
            for headers in [[:], ["Authorization": "Bearer x"], ["Authorization": "Basic eDp5"]] {
                for path in ["/v1/users/me", "/oauth/introspect"] {
                    let method: HTTPRequest.Method = path.hasPrefix("/v1") ? .get : .post
                    let refused = try await client.send(method, path, headers: headers)
                    let challenge = refused.header("WWW-Authenticate") ?? ""
                    #expect(refused.status == 401 && challenge.contains("Bearer "), "\(path) \(headers): \(challenge)")
                    #expect(challenge.hasSuffix(", \(pointer)"), "\(path) \(headers): \(challenge)")
                }
            }
            let wrongClient = try await client.form("/oauth/token", [("grant_type", "client_credentials")])
            #expect(wrongClient.header("WWW-Authenticate")?.contains("resource_metadata") != true)
            #expect(resource.json["authorization_servers"] == [.string(issuer)])
            let keys = try await client.get("/oauth/jwks").json["keys"]?.array
            #expect(keys?.count == 1 && keys?.first?["d"] == nil, "no private part")
            let rotated = try await client.post("/v1/signing-keys/rotate", [:], as: "root")
            #expect(rotated.status == 201)
            #expect(try await client.get("/oauth/jwks").json["keys"]?.array?.count == 2)
            #expect(try await client.post("/v1/signing-keys/rotate", [:], as: "root").status == 409)
            #expect(try await client.post("/v1/signing-keys/rotate", [:], as: "ann").status == 403)
        }
    }
}

@Suite("OAuth: codes in the browser")
struct AuthorizationCodeTests {
    private static let verifier = String(repeating: "verifier-", count: 6)
    private static let challenge = Base64URL.encode(SHA256.hash(data: Array(verifier.utf8)))
    private static let redirect = "http://127.0.0.1:9999/callback"

    /// A request in order, but for `changes`; an empty value leaves one out.
    private static func request(_ changes: [String: String] = [:]) -> [(String, String)] {
        let usual = [
            "response_type": "code", "client_id": "roost", "redirect_uri": redirect, "code_challenge": challenge,
            "code_challenge_method": "S256", "state": "s t&te",
        ]
        return usual.merging(changes) { $1 }.filter { !$0.value.isEmpty }.map { ($0.key, $0.value) }
    }

    private static func query(_ fields: [(String, String)]) -> String {
        "/oauth/authorize?" + fields.map { FormText.encode($0.0) + "=" + FormText.encode($0.1) }.joined(separator: "&")
    }

    /// What the redirect carries.
    private static func answer(_ reply: Reply) throws -> [String: String] {
        let location = try #require(reply.header("Location"))
        #expect(location.hasPrefix(redirect + "?"))
        let pairs = try #require(FormText.pairs(location.dropFirst(redirect.count + 1).utf8))
        return Dictionary(pairs.map { ($0.name, $0.value) }) { $1 }
    }

    private static let signIn = [("username", "ann"), ("password", TestSite.password), ("action", "allow")]

    private static func exchange(_ code: String, _ changes: [String: String] = [:]) -> [(String, String)] {
        [
            ("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect), ("client_id", "roost"),
            ("code_verifier", verifier),
        ].map { ($0.0, changes[$0.0] ?? $0.1) }
    }

    @Test("the page leads back with a code that is good once")
    func life() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let page = try await client.get(Self.query(Self.request(["scope": "instances"])))
            #expect(page.status == 200 && page.text.contains("instances") && page.text.contains("s t&amp;te"))
            let policy = page.header("Content-Security-Policy") ?? ""
            #expect(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"))
            #expect(policy.contains("form-action 'self' http://127.0.0.1:9999;"))
            #expect(!page.text.contains("<script"))

            let reply = try await client.form(
                "/oauth/authorize", Self.request(["scope": "users:read"]) + Self.signIn,
                headers: ["Sec-Fetch-Site": "same-origin"])
            #expect(reply.status == 303)
            let answer = try Self.answer(reply)
            #expect(answer["state"] == "s t&te" && answer["iss"] == site.services.tokens.issuer)
            let code = try #require(answer["code"])
            let tokens = try await client.form("/oauth/token", Self.exchange(code))
            #expect(tokens.status == 200 && tokens.json["scope"] == "users:read")
            #expect(try await client.me(tokens.json["access_token"]?.string).json["name"] == "ann")

            // The same code again ends what it opened.
            let again = try await client.form("/oauth/token", Self.exchange(code))
            #expect(again.status == 400 && again.json["error"] == "invalid_grant")
            #expect(try await client.me(tokens.json["access_token"]?.string).status == 401)
            let refresh = tokens.json["refresh_token"]?.string ?? ""
            #expect(
                try await client.form("/oauth/token", [("grant_type", "refresh_token"), ("refresh_token", refresh)])
                    .json["error"] == "invalid_grant")
        }
    }

    @Test("a code is bound to verifier, client and redirect, and is used up by a wrong attempt")
    func bound() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            for (name, value) in [
                ("code_verifier", String(repeating: "x", count: 50)), ("code_verifier", Self.challenge),
                ("redirect_uri", Self.redirect + "/"), ("client_id", "portal"), ("code", "rac_0"),
            ] {
                let reply = try await client.form("/oauth/authorize", Self.request() + Self.signIn)
                let code = try #require(try Self.answer(reply)["code"])
                let wrong = try await client.form("/oauth/token", Self.exchange(code, [name: value]))
                #expect(wrong.status == 400 && wrong.json["error"] == "invalid_grant", "\(name)")
                guard name != "code" else { continue }
                #expect(try await client.form("/oauth/token", Self.exchange(code)).status == 400, "\(name)")
            }
            let reply = try await client.form("/oauth/authorize", Self.request() + Self.signIn)
            let code = try #require(try Self.answer(reply)["code"])
            let without = Self.exchange(code).filter { $0.0 != "code_verifier" }
            #expect(try await client.form("/oauth/token", without).json["error"] == "invalid_request", "PKCE downgrade")
        }
    }

    @Test("what is wrong is told to the client where that is safe, and to the user where it is not")
    func wrong() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            for (changes, error) in [
                (["code_challenge": ""], "invalid_request"), (["code_challenge": "short"], "invalid_request"),
                (["code_challenge_method": "plain"], "invalid_request"),
                (["code_challenge_method": ""], "invalid_request"),
                (["response_type": "token"], "unsupported_response_type"), (["scope": "nonsense"], "invalid_scope"),
                (["resource": "https://elsewhere"], "invalid_target"),
            ] as [([String: String], String)] {
                let reply = try await client.get(Self.query(Self.request(changes)))
                #expect(reply.status == 303, "\(changes)")
                let answer = try Self.answer(reply)
                #expect(answer["error"] == error && answer["state"] == "s t&te", "\(answer)")
            }
            for changes: [String: String] in [
                ["redirect_uri": "https://evil.test/"], ["redirect_uri": ""], ["client_id": "nobody"],
                ["redirect_uri": "http://127.0.0.1:9999@evil.test/"], ["client_id": "portal"],
                ["redirect_uri": "http://localhost:9999/callback"],
            ] {
                let reply = try await client.get(Self.query(Self.request(changes)))
                #expect(reply.status == 400 && reply.header("Location") == nil, "\(changes)")
                let posted = try await client.form("/oauth/authorize", Self.request(changes) + Self.signIn)
                #expect(posted.status == 400 && posted.header("Location") == nil, "\(changes)")
            }
            let denied = try await client.form("/oauth/authorize", Self.request() + [("action", "deny")])
            #expect(try Self.answer(denied)["error"] == "access_denied")
            let wrong = try await client.form(
                "/oauth/authorize",
                Self.request() + [("username", "<b>ann"), ("password", "wrong"), ("action", "allow")])
            #expect(wrong.status == 403 && wrong.text.contains("&lt;b&gt;ann") && !wrong.text.contains("<b>ann"))
            let foreign = try await client.form(
                "/oauth/authorize", Self.request() + Self.signIn, headers: ["Sec-Fetch-Site": "cross-site"])
            #expect(foreign.status == 403)
        }
    }
}

@Suite("OAuth: devices")
struct DeviceTests {
    private static let grant = "urn:ietf:params:oauth:grant-type:device_code"

    private static func poll(_ device: Reply, _ client: Client) async throws -> Reply {
        try await client.form(
            "/oauth/token",
            [("grant_type", grant), ("device_code", device.json["device_code"]?.string ?? ""), ("client_id", "roost")])
    }

    @Test("a device shows a code, waits, and is let in by its user")
    func life() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let device = try await client.form(
                "/oauth/device_authorization", [("client_id", "roost"), ("scope", "users:read")])
            #expect(device.status == 200 && device.json["interval"] == 5)
            let code = try #require(device.json["user_code"]?.string)
            #expect(code.wholeMatch(of: /[B-Z]{4}-[B-Z]{4}/) != nil)
            #expect(try await Self.poll(device, client).json["error"] == "authorization_pending")
            #expect(try await Self.poll(device, client).json["error"] == "slow_down")

            #expect(try await client.get("/oauth/device").status == 200)
            let page = try await client.get("/oauth/device?user_code=\(code.lowercased())")
            #expect(page.status == 200 && page.text.contains("users:read") && page.text.contains(code))
            func decide(_ password: String, _ action: String) async throws -> Reply {
                try await client.form(
                    "/oauth/device",
                    [("user_code", code), ("username", "ann"), ("password", password), ("action", action)])
            }
            #expect(try await decide("wrong", "allow").status == 403)
            #expect(try await decide(TestSite.password, "allow").status == 200)
            #expect(try await decide(TestSite.password, "allow").status == 404, "decided once")
            let tokens = try await Self.poll(device, client)
            #expect(tokens.status == 200 && tokens.json["scope"] == "users:read")
            #expect(try await client.me(tokens.json["access_token"]?.string).json["name"] == "ann")
            #expect(try await Self.poll(device, client).json["error"] == "invalid_grant", "let in once")
        }
    }

    @Test("a device that is not let in hears so, and another client gets nothing")
    func denied() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let device = try await client.form("/oauth/device_authorization", [])
            let code = try #require(device.json["user_code"]?.string)
            let other = try await client.form(
                "/oauth/token",
                [
                    ("grant_type", Self.grant), ("device_code", device.json["device_code"]?.string ?? ""),
                    ("client_id", "portal"),
                ])
            #expect(other.json["error"] == "invalid_grant")
            #expect(try await client.form("/oauth/device", [("user_code", code), ("action", "deny")]).status == 200)
            #expect(try await Self.poll(device, client).json["error"] == "access_denied")
            #expect(try await client.form("/oauth/device_authorization", [("client_id", "x")]).status == 401)
        }
    }

    @Test("codes are not to be guessed")
    func guessing() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            var statuses: [Int] = []
            for index in 0..<31 {
                let code = String(repeating: ["B", "C", "D", "F"][index % 4], count: 8)
                statuses.append(try await client.get("/oauth/device?user_code=\(code)").status)
            }
            #expect(statuses.prefix(30).allSatisfy { $0 == 404 } && statuses.last == 429, "\(statuses)")
        }
    }

    @Test("decisions by time")
    func decisions() throws {
        let start = Timestamp(milliseconds: 1_800_000_000_000)
        let user = UserID.generate(at: start)
        let hash = try #require(ContentDigest(bytes: SHA256.hash(data: [1])))
        var grant = DeviceGrant(
            hash: hash, userCode: "BCDFGHJK", client: "roost", scope: "*", createdAt: start,
            expiresAt: start + .seconds(600), intervalSeconds: 5)
        func decide(_ seconds: Int) -> DeviceDecision {
            DeviceDecision.decide(grant, client: "roost", at: start + .seconds(seconds))
        }
        guard case .wait(let asked, .authorizationPending) = decide(0) else {
            Issue.record("not pending")
            return
        }
        grant = asked
        guard case .wait(let slower, .slowDown) = decide(4) else {
            Issue.record("not too soon")
            return
        }
        #expect(slower.intervalSeconds == 10)
        guard case .wait(_, .authorizationPending) = decide(5) else {
            Issue.record("not pending again")
            return
        }
        #expect(decide(600) == .end(.expiredToken))
        grant.status = .denied
        #expect(decide(10) == .end(.accessDenied))
        grant.status = .granted
        grant.user = user
        #expect(decide(10) == .open(user: user))
        #expect(DeviceDecision.decide(grant, client: "other", at: start) == .refuse(.invalidGrant))
        #expect(DeviceDecision.decide(nil, client: "roost", at: start) == .refuse(.invalidGrant))
        #expect(UserCode.read(" bcdf ghjk ") == "BCDFGHJK" && UserCode.read("AEIOUAEI") == nil)
    }
}
