import Crypto
import Foundation
import JWTKit
import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization
import Testing

@testable import ManagerIdentity

@Suite("Tokens")
struct TokenServiceTests {
    @Test("signing in gives a token that says who it is, for 15 minutes")
    func signIn() async throws {
        let site = try await TokenSite()
        let issued = try await site.signIn()
        #expect(issued.lifetime == .seconds(900))
        let principal = try await site.service.verify(bearer: issued.access)
        #expect(principal.name == "bob")
        #expect(principal.rights == .builtIn(.user))
        site.time.advance(by: .seconds(899))
        #expect(try await site.service.verify(bearer: issued.access) == principal)
        site.time.advance(by: .seconds(1))
        #expect(await failure { try await site.service.verify(bearer: issued.access) } == .invalidToken(.expired))
    }

    @Test("a token is as RFC 9068 wants it, and another's library checks it with the published keys")
    func interoperable() async throws {
        struct Claims: JWTPayload {
            var iss: IssuerClaim
            var aud: AudienceClaim
            var exp: ExpirationClaim
            var sub: SubjectClaim
            var client_id: String
            var iat: IssuedAtClaim
            var jti: IDClaim
            var scope: String
            func verify(using algorithm: some JWTAlgorithm) async throws {}
        }
        let site = try await TokenSite()
        let issued = try await site.signIn()
        let parts = issued.access.split(separator: ".")
        let header = String(decoding: try #require(Base64URL.decode(parts[0])), as: UTF8.self)
        #expect(header.contains(#""typ":"at+jwt""#) && header.contains(#""alg":"ES256""#))
        let keys = JWTKeyCollection()
        for key in try await site.service.publishedKeys() {
            let jwk = #"{"kty":"EC","crv":"P-256","alg":"ES256","kid":"\#(key.id)","x":"\#(key.x)","y":"\#(key.y)"}"#
            try await keys.add(jwk: JSONDecoder().decode(JWK.self, from: Data(jwk.utf8)))
        }
        let claims = try await keys.verify(issued.access, as: Claims.self)
        #expect(claims.iss.value == TokenSite.issuer && claims.aud.value == [TokenSite.issuer])
        #expect(claims.sub.value == "\(try await site.user("bob").id)")
        #expect(claims.client_id == "roost" && claims.scope == "*" && TokenID(claims.jti.value) != nil)
    }

    @Test("a wrong password, an unknown name and a disabled user look alike")
    func refused() async throws {
        let site = try await TokenSite()
        try await site.change("ann") { $0.enabled = false }
        for (name, password) in [
            ("bob", "wrong horse!"), ("eve", TokenSite.password), ("ann", TokenSite.password), ("", ""),
        ] {
            let error = await failure {
                try await site.service.signIn(name: name, password: password, address: "127.0.0.1")
            }
            #expect(error == .wrongCredentials)
        }
    }

    @Test("guessing is slowed down, even for the right password")
    func guessing() async throws {
        let site = try await TokenSite()
        for _ in 0..<10 {
            _ = await failure { try await site.service.signIn(name: "bob", password: "wrong", address: "10.0.0.1") }
        }
        let error = await failure {
            try await site.service.signIn(name: "bob", password: TokenSite.password, address: "10.0.0.1")
        }
        #expect(error == .tooManyAttempts(retryAfterSeconds: 10))
        _ = try await site.service.signIn(name: "bob", password: TokenSite.password, address: "10.0.0.2")
        site.time.advance(by: .seconds(10))
        _ = try await site.service.signIn(name: "bob", password: TokenSite.password, address: "10.0.0.1")
    }

    @Test("a name that many guess at is slowed down, and not where it has signed in before")
    func distributed() async throws {
        let site = try await TokenSite()
        _ = try await site.signIn(from: "10.0.0.7")
        for index in 0..<110 {
            _ = await failure {
                try await site.service.signIn(name: "bob", password: "wrong", address: "10.1.0.\(index)")
            }
        }
        let error = await failure { try await site.signIn(from: "10.0.0.8") }
        #expect(error == .tooManyAttempts(retryAfterSeconds: 5))
        _ = try await site.signIn(from: "10.0.0.7")
        // The event log hears of them, and not of all.
        let told = try await site.events("user.sign_in_refused")
        let bob = try await site.user("bob").id
        #expect(told.count == 100 && told[0].owner == bob)
    }

    @Test("what was given for a name that is none is not told: it may be a password (SEC-14)")
    func unknownName() async throws {
        let site = try await TokenSite()
        _ = await failure { try await site.service.signIn(name: "my-secret", password: "x", address: "::1") }
        let events = try await site.events("user.sign_in_refused")
        #expect(events.count == 1 && !"\(events)".contains("my-secret"))
    }

    @Test("passwords are taken from networks of the site alone, and the refusal says what else there is")
    func networks() async throws {
        let site = try await TokenSite()
        _ = try await site.signIn(from: "192.168.3.4")
        let error = await failure { try await site.signIn(from: "198.51.100.7") }
        #expect(error == .passwordNotTakenHere(address: "198.51.100.7"))
        #expect("\(try #require(error))".contains("roost login --device"))
        // The manager's own page is no such program.
        _ = try await site.service.authenticate(
            name: "bob", password: TokenSite.password, address: "198.51.100.7")
    }

    @Test("a role counts as it is now, not as it was when the token was made")
    func roleChanges() async throws {
        let site = try await TokenSite()
        let issued = try await site.signIn("ann")
        #expect(try await site.service.verify(bearer: issued.access).rights == .complete)
        try await site.change("ann") { $0.roles = ["user"] }
        #expect(try await site.service.verify(bearer: issued.access).rights == .builtIn(.user))
    }

    @Test("disabling, revoking and removing a user count at once")
    func revocation() async throws {
        let site = try await TokenSite()
        let issued = try await site.signIn()
        site.time.advance(by: .milliseconds(1))
        let now = site.time.timestamp
        try await site.change("bob") { $0.tokensValidAfter = now }
        #expect(await failure { try await site.service.verify(bearer: issued.access) } == .invalidToken(.revoked))
        #expect(await failure { try await site.service.refresh(issued.refresh!) } == .invalidRefreshToken)
        let again = try await site.signIn()
        #expect(try await site.service.verify(bearer: again.access).name == "bob")
        try await site.change("bob") { $0.enabled = false }
        #expect(await failure { try await site.service.verify(bearer: again.access) } == .invalidToken(.disabled))
        #expect(await failure { try await site.service.refresh(again.refresh!) } == .invalidRefreshToken)
        let bob = try await site.user("bob").id
        try await site.store.write { sql in try sql.users.remove(bob) }
        #expect(await failure { try await site.service.verify(bearer: again.access) } == .invalidToken(.unknownUser))
    }

    @Test("a refresh token works once; used again it ends its whole session, with the tokens that are out")
    func reuse() async throws {
        let site = try await TokenSite()
        let first = try await site.signIn()
        let other = try await site.signIn()
        let second = try await site.service.refresh(first.refresh!)
        let third = try await site.service.refresh(second.refresh!)
        #expect(await failure { try await site.service.refresh(first.refresh!) } == .invalidRefreshToken)
        #expect(await failure { try await site.service.refresh(third.refresh!) } == .invalidRefreshToken)
        for issued in [first, second, third] {
            #expect(await failure { try await site.service.verify(bearer: issued.access) } == .invalidToken(.revoked))
        }
        #expect(try await site.events("user.session_revoked").count == 1)
        // Another session of the same user is not touched.
        _ = try await site.service.refresh(other.refresh!)
        _ = try await site.service.verify(bearer: other.access)
    }

    @Test("of many who present the same refresh token at once, one gets a new one")
    func race() async throws {
        let site = try await TokenSite()
        let issued = try await site.signIn()
        let wins = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<16 {
                group.addTask { await failure { try await site.service.refresh(issued.refresh!) } == nil }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(wins == 1)
    }

    @Test("a refresh token ends after a month, and with revocation; another client has no use for it")
    func refreshEnds() async throws {
        let site = try await TokenSite()
        let old = try await site.signIn()
        site.time.advance(by: TokenService.refreshLifetime)
        #expect(await failure { try await site.service.refresh(old.refresh!) } == .invalidRefreshToken)
        let new = try await site.signIn()
        #expect(
            await failure { try await site.service.refresh(new.refresh!, client: "portal") } == .invalidRefreshToken)
        try await site.service.revoke(new.refresh!, client: "portal")
        _ = try await site.service.verify(bearer: new.access)
        try await site.service.revoke(new.refresh!)
        try await site.service.revoke("rrt_unknown")
        #expect(await failure { try await site.service.refresh(new.refresh!) } == .invalidRefreshToken)
        #expect(await failure { try await site.service.verify(bearer: new.access) } == .invalidToken(.revoked))
    }

    @Test("an access token is revoked by itself, also after a restart, and its session goes on")
    func accessRevocation() async throws {
        let site = try await TokenSite()
        let issued = try await site.signIn()
        _ = try await site.service.verify(bearer: issued.access)
        try await site.service.revoke(issued.access)
        #expect(await failure { try await site.service.verify(bearer: issued.access) } == .invalidToken(.revoked))
        let restarted = try await site.another()
        #expect(await failure { try await restarted.verify(bearer: issued.access) } == .invalidToken(.revoked))
        _ = try await site.service.verify(bearer: try await site.service.refresh(issued.refresh!).access)
        // What is remembered of it is removed once it counts no more by itself.
        site.time.advance(by: TokenService.revocationLifetime + .seconds(1))
        let now = site.time.timestamp
        let removed = try await site.store.write { sql in
            try sql.retention.prune(.tokenRevocations, RetentionPolicy(), at: now, limit: 10)
        }
        #expect(removed == 1)
    }

    @Test("a scope narrows what a session covers, and renewal can only narrow it further")
    func scopes() async throws {
        let site = try await TokenSite()
        let issued = try await site.service.signIn(
            name: "bob", password: TokenSite.password, address: "::1", scope: try TokenScope("instances keypairs:read"))
        let principal = try await site.service.verify(bearer: issued.access)
        #expect(principal.scope.allows(.instancePower) && principal.scope.allows(.keyPairRead))
        #expect(!principal.scope.allows(.keyPairCreate) && !principal.scope.allows(.imageRead))
        let narrowed = try await site.service.refresh(issued.refresh!, narrowed: try TokenScope("instances:read"))
        #expect(try await !site.service.verify(bearer: narrowed.access).scope.allows(.instancePower))
        let full = try await site.service.refresh(narrowed.refresh!)
        #expect(try await site.service.verify(bearer: full.access).scope.allows(.instancePower))
        #expect(
            await refusal { try await site.service.refresh(full.refresh!, narrowed: .everything) } == .invalidScope)
        _ = try await site.service.refresh(full.refresh!)
    }

    @Test("what a token is worth (RFC 7662)")
    func introspection() async throws {
        let site = try await TokenSite()
        let issued = try await site.signIn()
        let access = try #require(try await site.service.introspect(issued.access))
        #expect(access.userName == "bob" && access.isAccessToken && access.client == "roost")
        let refresh = try #require(try await site.service.introspect(issued.refresh!))
        #expect(!refresh.isAccessToken && refresh.session == access.session)
        _ = try await site.service.refresh(issued.refresh!)
        #expect(try await site.service.introspect(issued.refresh!) == nil)
        try await site.service.revoke(issued.access)
        for text in [issued.access, "nonsense", "a.b.c", ""] {
            #expect(try await site.service.introspect(text) == nil)
        }
    }

    @Test("no refresh token is kept in the clear")
    func atRest() async throws {
        let site = try await TokenSite()
        let issued = try await site.signIn()
        #expect(issued.refresh!.count == 68)
        site.store.close()
        for name in ["/roost.sqlite", "/roost.sqlite-wal"] {
            let bytes = (try? Data(contentsOf: URL(fileURLWithPath: site.folder + name))) ?? Data()
            #expect(bytes.range(of: Data(issued.refresh!.dropFirst(4).utf8)) == nil)
            // Nor is the key that signs.
            #expect(bytes.range(of: site.key.privateKey.rawRepresentation) == nil)
        }
    }
}

@Suite("Cached identities")
struct IdentityCacheTests {
    @Test("checks do not ask the database, and hear of each change")
    func cached() async throws {
        let site = try await TokenSite()
        let issued = try await site.signIn()
        _ = try await site.service.verify(bearer: issued.access)
        try await site.change("bob") { $0.roles = ["superuser"] }
        #expect(try await site.service.verify(bearer: issued.access).rights == .complete)
        site.store.close()
        #expect(try await site.service.verify(bearer: issued.access).name == "bob")
    }

    @Test("once the changes of others are not heard of, each check asks the record, and none is let in without it")
    func notCurrent() async throws {
        let site = try await TokenSite()
        let issued = try await site.signIn()
        _ = try await site.service.verify(bearer: issued.access)
        site.isCurrent.withLock { $0 = false }
        _ = try await site.service.verify(bearer: issued.access)
        site.store.close()
        await #expect(throws: StoreError.self) { try await site.service.verify(bearer: issued.access) }
        site.isCurrent.withLock { $0 = true }
        _ = try await site.service.verify(bearer: issued.access)
    }

    @Test("what another manager changed is refused once the feed tells of it")
    func otherManager() async throws {
        let site = try await TokenSite()
        let other = try await site.another()
        let issued = try await site.signIn()
        _ = try await other.verify(bearer: issued.access)
        try await site.service.revoke(issued.access)
        #expect(await failure { try await other.verify(bearer: issued.access) } == .invalidToken(.revoked))
    }
}

@Suite("Signing keys")
struct SigningKeyTests {
    @Test("a new key is published, then signs, and the old one vouches until its tokens have ended")
    func rotation() async throws {
        let site = try await TokenSite()
        let first = try await site.signIn()
        let key = try await site.rotate()
        #expect(try await site.service.publishedKeys().map(\.id) == [site.key.identifier, key.id])
        let second = try await site.signIn()
        #expect(try await site.service.verify(bearer: second.access).name == "bob")
        await #expect(throws: Refusal.self) { try await site.rotate() }
        site.time.advance(by: KeyRing.lead)
        let third = try await site.signIn()
        for (issued, id) in [(first, site.key.identifier), (second, site.key.identifier), (third, key.id)] {
            #expect(SignedToken(issued.access)?.keyID == id)
            _ = try await site.service.verify(bearer: issued.access)
        }
        site.time.advance(by: TokenService.accessLifetime - .seconds(1))
        _ = try await site.service.verify(bearer: third.access)
        site.time.advance(by: .seconds(122))
        #expect(try await site.service.publishedKeys().map(\.id) == [key.id])
        let now = site.time.timestamp
        try await site.store.write { sql in
            #expect(try SigningKeys.needsTending(age: .seconds(86_400), at: now, in: sql))
            try SigningKeys(secret: TokenSite.secret).tend(age: .seconds(86_400), at: now, in: sql)
            #expect(try sql.credentials.signingKeys().map(\.id) == [key.id])
        }
    }

    @Test("by age a key is followed by another, once")
    func age() async throws {
        let site = try await TokenSite()
        site.time.advance(by: .seconds(86_400))
        let now = site.time.timestamp
        for _ in 0..<2 {
            try await site.store.write { sql in
                try SigningKeys(secret: TokenSite.secret).tend(age: .seconds(86_400), at: now, in: sql)
            }
        }
        #expect(try await site.service.publishedKeys().count == 2)
    }

    @Test("a stolen key is discarded with all that it signed; sessions stay")
    func discard() async throws {
        let site = try await TokenSite()
        let issued = try await site.signIn()
        _ = try await site.service.verify(bearer: issued.access)
        _ = try await site.rotate(discardingOld: true)
        #expect(await failure { try await site.service.verify(bearer: issued.access) } == .invalidToken(.revoked))
        _ = try await site.service.verify(bearer: try await site.service.refresh(issued.refresh!).access)
    }

    @Test("a secret of another site opens no key, and the manager says so before it serves")
    func otherSecret() async throws {
        let site = try await TokenSite()
        let error = await failure {
            try await TokenService(
                store: StoreCredentials(site.store), hasher: site.hasher, key: site.key, secret: [1, 2, 3],
                issuer: TokenSite.issuer)
        }
        guard case .signingKey(_, let reason)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(reason.contains("request-secret"))
    }

    @Test("all managers agree on one name, which the operator may set")
    func issuer() async throws {
        let site = try await TokenSite()
        func agreed(_ configured: String?, _ fallback: String) async throws -> String {
            try await TokenService.agreedIssuer(configured: configured, fallback: fallback, in: site.store)
        }
        #expect(try await agreed(nil, "https://m1:7400") == "https://m1:7400")
        #expect(try await agreed(nil, "https://m2:7400") == "https://m1:7400")
        #expect(try await agreed("https://cloud", "https://m2:7400") == "https://cloud")
        #expect(try await agreed(nil, "https://m2:7400") == "https://cloud")
    }
}

@Suite("API keys")
struct APIKeyTests {
    @Test("a key gets tokens of its own scope, without a session")
    func issue() async throws {
        let site = try await TokenSite()
        let (key, secret) = try await site.makeKey(scope: "instances:read images:read")
        let issued = try await site.service.issue(key: "\(key.id)", secret: secret, address: "10.0.0.9")
        #expect(issued.refresh == nil)
        let principal = try await site.service.verify(bearer: issued.access, from: "10.0.0.9")
        #expect(principal.name == "bob" && principal.key == key.id)
        #expect(principal.scope.allows(.instanceRead) && !principal.scope.allows(.instanceCreate))
        let narrow = try await site.service.issue(
            key: "\(key.id)", secret: secret, scope: try TokenScope("images:read"), address: "10.0.0.9")
        #expect(try await !site.service.verify(bearer: narrow.access).scope.allows(.instanceRead))
        #expect(
            await refusal {
                try await site.service.issue(
                    key: "\(key.id)", secret: secret, scope: try TokenScope("instances"), address: "")
            } == .invalidScope)
        try await site.service.recordUses()
        let used = try #require(try await site.store.read { sql in try sql.apiKeys.find(key.id) })
        #expect(used.lastUsedAt == site.time.timestamp && used.lastUsedFrom == "10.0.0.9")
    }

    @Test("a wrong secret, an ended key, a disabled owner and a deleted key are refused alike")
    func refused() async throws {
        let site = try await TokenSite()
        let (key, secret) = try await site.makeKey(until: site.time.timestamp + .seconds(60))
        func code(_ id: String, _ secret: String) async -> GrantRefusal.Code? {
            await refusal { try await site.service.issue(key: id, secret: secret, address: "") }
        }
        for wrong in ["", "x", secret + "0", String(secret.dropLast()) + (secret.hasSuffix("0") ? "1" : "0")] {
            #expect(await code("\(key.id)", wrong) == .invalidClient)
        }
        #expect(await code("bob", secret) == .invalidClient)
        let issued = try await site.service.issue(key: "\(key.id)", secret: secret, address: "")
        #expect(issued.lifetime == .seconds(60), "a token does not outlive its key")
        try await site.change("bob") { $0.enabled = false }
        #expect(await code("\(key.id)", secret) == .invalidClient)
        try await site.change("bob") { $0.enabled = true }
        #expect(await code("\(key.id)", secret) == nil)
        site.time.advance(by: .seconds(60))
        #expect(await code("\(key.id)", secret) == .invalidClient)
    }

    @Test("what a key loses, its tokens lose at once (SEC-08)")
    func narrowed() async throws {
        let site = try await TokenSite()
        let (key, secret) = try await site.makeKey()
        let issued = try await site.service.issue(key: "\(key.id)", secret: secret, address: "")
        #expect(try await site.service.verify(bearer: issued.access).scope.allows(.instanceCreate))
        try await site.store.write { sql in
            var changed = key
            changed.scopes = ["instances:read"]
            try sql.apiKeys.update(changed)
        }
        let scope = try await site.service.verify(bearer: issued.access).scope
        #expect(scope.allows(.instanceRead) && !scope.allows(.instanceCreate))
        try await site.store.write { sql in try sql.apiKeys.remove(key.id) }
        #expect(await failure { try await site.service.verify(bearer: issued.access) } == .invalidToken(.revoked))
    }

    @Test("a token makes no key that covers more than it does (SEC-08)")
    func delegation() async throws {
        let site = try await TokenSite()
        let issued = try await site.service.signIn(
            name: "bob", password: TokenSite.password, address: "::1", scope: try TokenScope("api-keys instances:read"))
        let principal = try await site.service.verify(bearer: issued.access)
        let (owner, now) = (try await site.user("bob"), site.time.timestamp)
        for (scope, isAllowed) in [("instances:read", true), ("instances", false), ("*", false), ("api-keys", true)] {
            let new = APIKeyService.NewKey(name: scope, scope: try TokenScope(scope), expiresAt: nil)
            let error: (any Error)? = await {
                do {
                    _ = try await site.store.write { sql in
                        try APIKeyService().create(
                            new, for: owner, by: principal, actor: principal.actor(request: nil, from: nil), at: now,
                            in: sql)
                    }
                    return nil
                } catch { return error }
            }()
            #expect((error == nil) == isAllowed, "\(scope): \(String(describing: error))")
            #expect(isAllowed || (error as? Refusal)?.code == .forbidden)
        }
    }

    @Test("derived scopes never exceed their parents, whatever is combined (SEC-08)")
    func property() throws {
        var random = SeededRandom(state: 7)
        let words = TokenScope.known
        for _ in 0..<2000 {
            func scope() throws -> TokenScope {
                let chosen = (0..<Int.random(in: 1...4, using: &random)).map { _ in
                    words.randomElement(using: &random)!
                }
                return try TokenScope(words: chosen)
            }
            let (a, b) = (try scope(), try scope())
            let both = a.limited(to: b)
            for permission in Permission.allCases where permission != .notYetServed && !permission.isOpen {
                #expect(both.allows(permission) == (a.allows(permission) && b.allows(permission)))
            }
            #expect(a.covers(both) && b.covers(both))
        }
    }
}

@Suite("Acting as another user")
struct MasqueradeTests {
    @Test("a superuser acts as a user, marked and without a session to renew")
    func acts() async throws {
        let site = try await TokenSite()
        let ann = try await site.service.verify(bearer: try await site.signIn("ann").access)
        let issued = try await site.service.masquerade(
            as: try await site.user("bob"), by: ann, actor: ann.actor(request: nil, from: nil))
        #expect(issued.refresh == nil)
        let principal = try await site.service.verify(bearer: issued.access)
        #expect(principal.name == "bob" && principal.rights == .builtIn(.user) && principal.impersonator?.name == "ann")
        #expect(throws: Refusal.self) { try principal.checkIsOneself("do this") }
        await #expect(throws: Refusal.self) {
            try await site.service.masquerade(
                as: try await site.user("bob"), by: principal, actor: principal.actor(request: nil, from: nil))
        }
        #expect(try await site.events("user.masqueraded").map(\.actor) == ["ann"])
        #expect(try await site.service.introspect(issued.access)?.impersonator?.name == "ann")
    }

    @Test("never as a superuser, by a user, as a disabled user, or by an API key")
    func refused() async throws {
        let site = try await TokenSite()
        let (ann, bob) = (try await site.user("ann"), try await site.user("bob"))
        let bobs = try await site.service.verify(bearer: try await site.signIn().access)
        await #expect(throws: Refusal.self) {
            try await site.service.masquerade(as: ann, by: bobs, actor: bobs.actor(request: nil, from: nil))
        }
        let anns = try await site.service.verify(bearer: try await site.signIn("ann").access)
        await #expect(throws: Refusal.self) {
            try await site.service.masquerade(as: ann, by: anns, actor: anns.actor(request: nil, from: nil))
        }
        let (key, secret) = try await site.makeKey("ann")
        let robot = try await site.service.verify(
            bearer: try await site.service.issue(key: "\(key.id)", secret: secret, address: "").access)
        await #expect(throws: Refusal.self) {
            try await site.service.masquerade(as: bob, by: robot, actor: robot.actor(request: nil, from: nil))
        }
        try await site.change("bob") { $0.enabled = false }
        await #expect(throws: Refusal.self) {
            try await site.service.masquerade(as: bob, by: anns, actor: anns.actor(request: nil, from: nil))
        }
    }

    @Test("it ends with what it rests on")
    func ends() async throws {
        for end in 0..<4 {
            let site = try await TokenSite()
            let session = try await site.signIn("ann")
            let ann = try await site.service.verify(bearer: session.access)
            let issued = try await site.service.masquerade(
                as: try await site.user("bob"), by: ann, actor: ann.actor(request: nil, from: nil))
            _ = try await site.service.verify(bearer: issued.access)
            switch end {
            case 0: try await site.service.revoke(session.refresh!)
            case 1: try await site.change("ann") { $0.enabled = false }
            case 2: try await site.change("ann") { $0.roles = ["user"] }
            default: try await site.change("bob") { $0.roles = ["superuser"] }
            }
            #expect(await failure { try await site.service.verify(bearer: issued.access) } != nil, "\(end)")
        }
    }
}

@Suite("Forged tokens")
struct ForgedTokenTests {
    private static func encode(_ text: String) -> String { Base64URL.encode(Array(text.utf8)) }

    @Test("garbage, other algorithms, other types and altered tokens are refused (SEC-09)")
    func forged() async throws {
        let site = try await TokenSite()
        let good = try await site.signIn().access
        let parts = good.split(separator: ".").map(String.init)
        let kid = site.key.identifier
        func header(_ text: String) -> String { Self.encode(text.replacing("KID", with: kid)) }
        let none = header(#"{"alg":"none","typ":"at+jwt","kid":"KID"}"#)
        let hmacHeader = header(#"{"alg":"HS256","typ":"at+jwt","kid":"KID"}"#)
        // The classic: the public key taken as the secret of an HMAC.
        let hmac = HMAC<SHA256>.authenticationCode(
            for: Data((hmacHeader + "." + parts[1]).utf8),
            using: SymmetricKey(data: Data(site.key.privateKey.publicKey.pemRepresentation.utf8)))
        let otherPayload = Self.encode(
            #"{"iss":"https://site.test","sub":"x","name":"ann","role":"superuser","iat":0,"exp":9e9,"jti":"x"}"#)
        var forged = [
            "", ".", "..", "a.b", "a.b.c", "a.b.c.d", good + "x", good + ".", "." + good, good + "=",
            parts[0] + "." + parts[1] + ".",
            "\(none).\(parts[1]).", "\(none).\(parts[1]).\(parts[2])",
            "\(hmacHeader).\(parts[1]).\(Base64URL.encode(Array(hmac)))",
            "\(parts[0]).\(otherPayload).\(parts[2])", "\(parts[0]).\(parts[1]).\(String(parts[2].reversed()))",
            String(repeating: "a", count: 100_000), "\(parts[0]).\(Self.encode("{}")).\(parts[2])", "\0\0.\0.\0",
            Self.encode(#"{"alg":"ES256","kid":"other"}"#) + "." + parts[1] + "." + parts[2],
            // r and s of zero, which some libraries once took (CVE-2022-21449).
            parts[0] + "." + parts[1] + "." + Base64URL.encode([UInt8](repeating: 0, count: 64)),
        ]
        // Rightly signed, but no access token of ours by its header.
        for text in [
            #"{"alg":"ES256","typ":"JWT","kid":"KID"}"#, #"{"alg":"ES256","kid":"KID"}"#,
            #"{"alg":"ES256","typ":"at+jwt","kid":"KID","crit":["b64"],"b64":false}"#,
            #"{"alg":"ES384","typ":"at+jwt","kid":"KID"}"#, #"{"alg":"es256","typ":"at+jwt","kid":"KID"}"#,
            #"{"alg":"ES256","typ":"at+jwt","kid":"../KID"}"#,
            #"{"alg":"ES256","typ":"at+jwt","jwk":{"kty":"EC"}}"#,
        ] {
            let signed = header(text) + "." + parts[1]
            let signature = try site.key.privateKey.signature(for: Array(signed.utf8)).rawRepresentation
            forged.append(signed + "." + Base64URL.encode(signature))
        }
        for token in forged {
            let error = await failure { try await site.service.verify(bearer: token) }
            #expect(error == .invalidToken(.malformed), "\(token.prefix(80))")
        }
        #expect(try await site.service.verify(bearer: good).name == "bob")
    }

    @Test("a token of another site, for another audience, by another key, or of a later time is refused")
    func otherSite() async throws {
        let site = try await TokenSite()
        let bob = try await site.user("bob")
        let now = site.time.timestamp
        let seconds = Double(now.milliseconds) / 1000
        let right = AccessClaims(
            iss: TokenSite.issuer, aud: TokenSite.issuer, sub: "\(bob.id)", name: "bob", client: "roost", scope: "*",
            iat: seconds, exp: seconds + 900, jti: "\(TokenID.generate(at: now))")
        func error(
            _ key: TokenKey? = nil, _ body: (inout AccessClaims) -> Void = { _ in }
        ) async throws -> IdentityError? {
            var claims = right
            body(&claims)
            let key = key ?? site.key
            let text = try SignedToken.sign(claims, keyID: site.key.identifier, key: key.privateKey)
            return await failure { try await site.service.verify(bearer: text) }
        }
        #expect(try await error() == nil)
        #expect(try await error { $0.iss = "https://other.test" } == .invalidToken(.wrongIssuer))
        #expect(try await error { $0.aud = "https://other.test" } == .invalidToken(.wrongAudience))
        #expect(try await error { $0.iat = seconds + 60 } == .invalidToken(.notYetValid))
        #expect(try await error { $0.exp = seconds } == .invalidToken(.expired))
        for body: (inout AccessClaims) -> Void in [
            { $0.jti = "x" }, { $0.sid = "x" }, { $0.scope = "" }, { $0.scope = "nonsense" }, { $0.sub = "bob" },
            { $0.exp = 1e300 }, { $0.act = .init(sub: "ann", name: "ann") },
        ] {
            #expect(try await error(nil, body) == .invalidToken(.malformed))
        }
        let stranger = TokenKey(privateKey: P256.Signing.PrivateKey())
        #expect(try await error(stranger) == .invalidToken(.malformed))
        let byOther = try SignedToken.sign(right, keyID: stranger.identifier, key: stranger.privateKey)
        #expect(await failure { try await site.service.verify(bearer: byOther) } == .invalidToken(.malformed))
    }

    @Test("the example of RFC 7515, appendix A.3, is genuine by its key and no token of ours")
    func vector() throws {
        let text =
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
            + "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        let parts = text.split(separator: ".")
        let x = try #require(Base64URL.decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"))
        let y = try #require(Base64URL.decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"))
        let key = try P256.Signing.PublicKey(rawRepresentation: x + y)
        let signature = try P256.Signing.ECDSASignature(
            rawRepresentation: try #require(Base64URL.decode(parts[2])))
        #expect(key.isValidSignature(signature, for: Array((parts[0] + "." + parts[1]).utf8)))
        #expect(SignedToken(text) == nil, "it does not say that it is an access token")
    }
}

/// Numbers that are the same in each run.
struct SeededRandom: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ (state >> 29)
    }
}

@Suite("Small parts of signing in")
struct SignInPartsTests {
    @Test(
        "redirects to the same machine on any port, and nothing that a browser would read as elsewhere",
        arguments: [
            ("http://127.0.0.1:9/", true), ("http://127.0.0.1", true), ("http://[::1]:65535/a?b=c", true),
            ("http://127.0.0.1:0/", false), ("http://127.0.0.1:65536/", false), ("http://localhost:80/", false),
            ("https://127.0.0.1/", false), ("http://127.0.0.1.evil.test/", false),
            ("http://127.0.0.1@evil.test/", false),
            ("http://127.0.0.1:80@evil.test/", false), ("http://127.0.0.1/#x", false),
            ("http://127.0.0.1\\evil", false),
            ("http://127.0.0.1/ x", false), ("", false), ("javascript:alert(1)", false),
            ("http://127.0.0.1:8x/", false),
        ])
    func loopback(redirect: String, isAllowed: Bool) {
        #expect(OAuthClients.commandLine.allows(redirect: redirect) == isAllowed)
    }

    @Test("the portal's redirects are compared letter by letter")
    func exact() throws {
        let clients = OAuthClients(portalRedirects: ["https://p.test/cb"])
        let portal = try #require(clients.find("portal"))
        #expect(portal.allows(redirect: "https://p.test/cb"))
        for other in ["https://p.test/cb/", "https://p.test/cb?x", "https://p.test", "http://127.0.0.1/"] {
            #expect(!portal.allows(redirect: other))
        }
        #expect(clients.find("nobody") == nil)
    }

    @Test("networks hold what lies in them")
    func networks() {
        let networks = LoginNetworks(["10.1.0.0/16", "192.0.2.7", "2001:db8::/33", "nonsense", "10.0.0.0/99"])
        for inside in ["10.1.255.255", "192.0.2.7", "::ffff:10.1.2.3", "2001:db8:7fff::1", "local", "2001:db8::1%eth0"]
        {
            #expect(networks.contains(inside), "\(inside)")
        }
        for outside in ["10.2.0.0", "192.0.2.8", "2001:db8:8000::1", "", "::1", "10.1", "x", "::ffff:10.2.0.1"] {
            #expect(!networks.contains(outside), "\(outside)")
        }
    }

    @Test("scopes mean what they say, and what is no scope is named")
    func scopes() throws {
        #expect(try TokenScope("") == .everything)
        #expect(try TokenScope("instances * images").permissions == nil)
        #expect(try TokenScope("keypairs:write").permissions?.contains(.keyPairCreate) == true)
        #expect(try TokenScope("keypairs:write").permissions?.contains(.keyPairRead) == false)
        #expect(try TokenScope("instancePower").permissions == [.instancePower])
        #expect(try TokenScope("instances:power instances:power").words == ["instances:power"])
        for text in ["instance", "instances:", "openid", "notYetServed", "Instances", "instances;drop"] {
            #expect(throws: TokenScope.Fault.self) { try TokenScope(text) }
        }
        // What is longer, no token could carry.
        let long = TokenScope.known.filter { $0 != "*" }
        #expect(long.joined(separator: " ").utf8.count > TokenScope.maximumBytes)
        let error = #expect(throws: TokenScope.Fault.self) { try TokenScope(words: long) }
        #expect(error == .tooLong && error?.description.contains("1024") == true)
        #expect(throws: TokenScope.Fault.self) { try TokenScope(long.joined(separator: " ")) }
        #expect(try TokenScope(words: Array(repeating: "instances:read", count: 200)).words == ["instances:read"])
        // Each permission has a word.
        for permission in Permission.allCases where permission != .notYetServed && !permission.isOpen {
            #expect(TokenScope.known.contains { $0.contains(":") && (try? TokenScope($0))?.allows(permission) == true })
        }
    }
}

@Suite("Token key")
struct TokenKeyTests {
    @Test("the file is private, is never replaced, and reads back")
    func file() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("key-\(UUID())").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        #expect(throws: IdentityError.self) { try TokenKey.load(fromFolder: folder) }
        let key = try TokenKey.create(inFolder: folder)
        let path = folder + "/" + TokenKey.fileName
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        #expect(try TokenKey.load(fromFolder: folder).identifier == key.identifier)
        #expect(throws: IdentityError.self) { try TokenKey.create(inFolder: folder) }
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: path)
        #expect(throws: IdentityError.self) { try TokenKey.load(fromFolder: folder) }
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        try Data("nonsense".utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        #expect(throws: IdentityError.self) { try TokenKey.load(fromFolder: folder) }
    }
}
