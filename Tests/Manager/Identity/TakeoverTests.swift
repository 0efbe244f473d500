import ManagerDirectory
import ManagerMail
import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization
import Testing

@testable import ManagerIdentity

/// What somebody who once held a password, a token or a key must not keep.
@Suite("Nobody keeps what was taken from them")
struct TakeoverTests {
    private func setPassword(of name: String, _ site: TokenSite) async throws {
        let (user, now) = (try await site.user(name), site.time.timestamp)
        try await site.store.write { sql in
            _ = try UserService().change(user, .init(passwordHash: "new"), by: .console, at: now, in: sql)
        }
    }

    @Test("a device that was let in opens no session after the password was changed")
    func device() async throws {
        let site = try await TokenSite()
        let client = OAuthClients.commandLine
        let codes = try await site.service.authorizeDevice(client: client, scope: .everything, address: "::1")
        let grant = try #require(try await site.service.waitingDevice(codes.userCode, address: "::1"))
        #expect(try await site.service.decide(grant, user: try await site.user("bob")))
        try await setPassword(of: "bob", site)
        await #expect(throws: GrantRefusal.self) {
            try await site.service.exchange(deviceCode: codes.deviceCode, client: client.id, address: "::1")
        }
    }

    @Test("a password that was right when it was looked at opens nothing once it is another")
    func proof() async throws {
        let site = try await TokenSite()
        let proved = try await site.user("bob")
        try await setPassword(of: "bob", site)
        #expect(await failure { try await site.service.issue(to: proved) } == .wrongCredentials)
        let codes = try await site.service.authorizeDevice(
            client: OAuthClients.commandLine, scope: .everything, address: "::1")
        let grant = try #require(try await site.service.waitingDevice(codes.userCode, address: "::1"))
        #expect(await failure { try await site.service.decide(grant, user: proved) } == .wrongCredentials)
    }

    @Test("a key that ends makes none that lasts longer, nor goes on itself")
    func keyEnd() async throws {
        let site = try await TokenSite()
        let end = site.time.timestamp + .seconds(3600)
        let (key, secret) = try await site.makeKey(until: end)
        let issued = try await site.service.issue(key: key.id.description, secret: secret, address: "::1")
        let principal = try await site.service.verify(bearer: issued.access)
        let (owner, now) = (try await site.user("bob"), site.time.timestamp)
        for later in [nil, end + .seconds(1)] as [Timestamp?] {
            await #expect(throws: Refusal.self) {
                try await site.store.write { sql in
                    _ = try APIKeyService().create(
                        .init(name: "more", scope: .everything, expiresAt: later), for: owner, by: principal,
                        actor: principal.actor(request: nil, from: nil), at: now, in: sql)
                }
            }
            await #expect(throws: Refusal.self) {
                try await site.store.write { sql in
                    _ = try APIKeyService().change(
                        key, .init(expiresAt: .some(later)), by: principal,
                        actor: principal.actor(request: nil, from: nil), at: now, in: sql)
                }
            }
        }
        let sooner = try await site.store.write { sql in
            try APIKeyService().change(
                key, .init(expiresAt: .some(end - .seconds(60))), by: principal,
                actor: principal.actor(request: nil, from: nil), at: now, in: sql)
        }
        #expect(sooner.expiresAt == end - .seconds(60))
    }

    @Test("nobody widens or ends the key of whoever may more than they (SEC-08)")
    func rank() async throws {
        let site = try await TokenSite()
        let (key, _) = try await site.makeKey("ann", scope: "flavors:read")
        let principal = try await site.service.verify(bearer: try await site.signIn("bob").access)
        let actor = principal.actor(request: nil, from: nil)
        let now = site.time.timestamp
        await #expect(throws: Refusal.self) {
            try await site.store.write { sql in
                _ = try APIKeyService().change(
                    key, .init(scope: .everything), by: principal, actor: actor, at: now, in: sql)
            }
        }
        await #expect(throws: Refusal.self) {
            try await site.store.write { sql in
                try APIKeyService().remove(key, by: principal, actor: actor, at: now, in: sql)
            }
        }
    }

    @Test("a new password makes older mailed links useless")
    func links() async throws {
        let site = try await PeopleFixture()
        let links = site.links(Provisioning())
        let stranger = Actor(user: nil, name: "anonymous", rights: .none, account: "", address: "192.0.2.7")
        try await links.askForReset(email: "admin@example.org", by: stranger)
        let text = try #require(site.outlet.takeAll().first).text
        let secret = try #require(text.split(separator: "token=").last?.split(separator: "\n").first)
        #expect(try await links.isGood(String(secret), for: .passwordReset))
        let (admin, now) = (try #require(try await site.user("admin")), site.time.timestamp)
        try await site.store.write { sql in
            _ = try UserService().change(admin, .init(passwordHash: "new"), by: .console, at: now, in: sql)
        }
        #expect(try await !links.isGood(String(secret), for: .passwordReset))
    }

    @Test("whoever owns an account no more, or leaves it, manages nobody's users")
    func ownership() async throws {
        let site = try await PeopleFixture()
        let now = site.time.timestamp
        try await site.store.write { sql in
            let physics = try AccountService().create(
                name: "physics", description: "", by: .console, at: now, in: sql)
            var new = UserService.NewUser(name: "ann", email: nil, passwordHash: "x")
            new.account = "physics"
            let ann = try UserService().create(new, by: .console, at: now, in: sql)
            var account = try AccountService().change(
                physics, .init(owner: .some(ann.id)), by: .console, at: now, in: sql)
            #expect(try sql.users.find(ann.id)?.roles == ["account_owner"])
            account = try AccountService().change(account, .init(owner: .some(nil)), by: .console, at: now, in: sql)
            #expect(try sql.users.find(ann.id)?.roles == ["user"])
            _ = try AccountService().change(account, .init(owner: .some(ann.id)), by: .console, at: now, in: sql)
            let moved = try UserService().change(
                #require(try sql.users.find(ann.id)), .init(account: "default"), by: .console, at: now, in: sql)
            #expect(moved.roles == ["user"])
        }
    }

    @Test("a directory that refuses without saying why is asked no more often than for wrong passwords")
    func refusedElsewhere() async throws {
        let (site, directory) = (try await PeopleFixture(), PretendedDirectory())
        let tokens = try await site.tokens(directory, Provisioning(driver: .ldap))
        directory.says(.failure(.refused("the account is locked")))
        var last: IdentityError?
        for _ in 0..<20 {
            last = await identityError { try await tokens.signIn(name: "ann", password: "x", address: "::1") }
        }
        guard case .tooManyAttempts? = last else {
            Issue.record("\(String(describing: last))")
            return
        }
        // Another spelling of the same name is no name at all.
        let asked = directory.questions.withLock { $0 }
        for name in [" bob", "bob ", "b\u{AD}ob"] {
            let error = await identityError { try await tokens.signIn(name: name, password: "x", address: "127.0.0.2") }
            #expect(error == .wrongCredentials)
        }
        #expect(directory.questions.withLock { $0 } == asked)
    }

    @Test("whoever has an IPv6 network counts as one")
    func customers() {
        #expect(LoginNetworks.customer(of: "2001:db8:1:2::1") == LoginNetworks.customer(of: "2001:db8:1:2:ff::9"))
        #expect(LoginNetworks.customer(of: "2001:db8:1:2::1") != LoginNetworks.customer(of: "2001:db8:1:3::1"))
        #expect(LoginNetworks.customer(of: "192.0.2.7") == "192.0.2.7")
        #expect(LoginNetworks.customer(of: "::ffff:192.0.2.7") == "::ffff:192.0.2.7")
    }
}
