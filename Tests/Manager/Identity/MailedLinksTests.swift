import ManagerMail
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerIdentity

@Suite("Registration and new passwords by mail")
struct MailedLinksTests {
    private let stranger = Actor(
        user: nil, name: "anonymous", rights: .none, account: "", request: "r", address: "192.0.2.1")

    private func secret(in message: MailMessage) throws -> String {
        let rest = try #require(message.text.split(separator: "?token=").dropFirst().first)
        return String(rest.prefix { !$0.isWhitespace })
    }

    private func ann(_ password: String = "battery staple", name: String = "ann") -> MailedLinks.Introduction {
        .init(name: name, password: password, fullName: "Ann Example")
    }

    @Test
    func anAddressIsProvedBeforeAUserIsMade() async throws {
        let site = try await PeopleFixture()
        let links = site.links(Provisioning(driver: .email))
        try await links.askToRegister(email: "ann@example.org", by: stranger)
        let mail = site.outlet.takeAll()
        #expect(mail.map(\.to.text) == ["ann@example.org"])
        let secret = try secret(in: mail[0])
        #expect(mail[0].text.contains("https://cloud.test:7400/account/register?token=\(secret)\n"))
        // Not in the record: whoever reads a backup cannot register.
        let rows = try await site.store.read { try $0.registrations.link(LinkSecret.fresh().hash) }
        #expect(rows == nil)
        let user = try await links.register(secret, as: ann(), from: "192.0.2.7", request: "r1")
        #expect(user.email == "ann@example.org" && user.roles == ["user"] && user.account == "default")
        #expect(user.fullName == "Ann Example" && user.source == .local)
        // Once.
        let error = await refused {
            try await links.register(secret, as: ann(name: "eve"), from: "192.0.2.7", request: "r1")
        }
        #expect(error?.detailCode == "link_not_valid")
    }

    @Test
    func aLinkIsNotUsedUpByAMistake() async throws {
        let site = try await PeopleFixture()
        let links = site.links(Provisioning(driver: .email, makesAccountOwners: true))
        try await links.askToRegister(email: "ann@example.org", by: stranger)
        let secret = try secret(in: try #require(site.outlet.takeAll().first))
        #expect(
            await refused {
                try await links.register(secret, as: ann(name: "admin"), from: "192.0.2.7", request: "r1")
            }?.code == .nameTaken)
        guard
            case .passwordRefused? = await identityError({
                try await links.register(secret, as: ann("short"), from: "192.0.2.7", request: "r1")
            })
        else {
            Issue.record("the password is too short")
            return
        }
        let user = try await links.register(secret, as: ann(), from: "192.0.2.7", request: "r1")
        #expect(user.account == "ann")
        #expect(try await site.user("ann")?.roles == ["account_owner"])
    }

    @Test
    func twoWhoUseALinkAtOnceMakeOneUser() async throws {
        let site = try await PeopleFixture()
        let links = site.links(Provisioning(driver: .email))
        try await links.askToRegister(email: "ann@example.org", by: stranger)
        let secret = try secret(in: try #require(site.outlet.takeAll().first))
        let made = await withTaskGroup(of: Bool.self) { group in
            for index in 0..<8 {
                group.addTask {
                    (try? await links.register(secret, as: ann(name: "ann\(index)"), from: "192.0.2.7", request: "r1"))
                        != nil
                }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(made == 1)
    }

    @Test
    func linksEnd() async throws {
        let site = try await PeopleFixture()
        let links = site.links(Provisioning(driver: .email))
        try await links.askToRegister(email: "ann@example.org", by: stranger)
        try await links.askForReset(email: "admin@example.org", by: stranger)
        let secrets = try site.outlet.takeAll().map { try secret(in: $0) }
        // Neither does the other's work.
        #expect(
            await refused { try await links.register(secrets[1], as: ann(), from: "192.0.2.7", request: "r1") }?
                .detailCode == "link_not_valid")
        #expect(
            await refused {
                try await links.reset(secrets[0], password: "battery staple", from: nil, request: nil)
            }?.detailCode == "link_not_valid")
        #expect(try await links.isGood(secrets[0], for: .registration))
        site.time.advance(by: .seconds(24 * 3600))
        #expect(try await !links.isGood(secrets[0], for: .registration))
        #expect(
            await refused { try await links.register(secrets[0], as: ann(), from: "192.0.2.7", request: "r1") }?
                .detailCode == "link_not_valid")
        for wrong in ["", "x", "rml_", "rml_" + String(repeating: "0", count: 64), secrets[0] + "0"] {
            #expect(
                await refused { try await links.register(wrong, as: ann(), from: "192.0.2.7", request: "r1") }?
                    .detailCode == "link_not_valid")
        }
        let now = site.time.timestamp + .seconds(2 * 86_400)
        let removed = try await site.store.write { sql in
            try sql.retention.prune(.mailedLinks, RetentionPolicy(), at: now, limit: 100)
        }
        #expect(removed == 2)
    }

    /// Who asks learns nothing: what there is to say goes to the address.
    @Test
    func nobodyIsToldWhoExists() async throws {
        let site = try await PeopleFixture()
        try await site.allow("*@example.org")
        let links = site.links(Provisioning(driver: .email, isWhitelistOnly: true))
        try await links.askToRegister(email: "Admin@Example.org", by: stranger)
        let known = site.outlet.takeAll()
        #expect(known.count == 1 && known[0].text.contains("registered already") && !known[0].text.contains("token="))
        try await links.askToRegister(email: "eve@elsewhere.org", by: stranger)
        try await links.askForReset(email: "eve@elsewhere.org", by: stranger)
        #expect(site.outlet.takeAll().isEmpty)
        try await links.askToRegister(email: "ann@example.org", by: stranger)
        #expect(site.outlet.takeAll().count == 1)
    }

    @Test
    func mailIsNotAWayToFloodSomebody() async throws {
        let site = try await PeopleFixture()
        let links = site.links(Provisioning(driver: .email))
        for _ in 0..<5 { try await links.askToRegister(email: "ann@example.org", by: stranger) }
        guard
            case .tooManyAttempts? = await identityError({
                try await links.askToRegister(email: "ANN@example.org", by: stranger)
            })
        else {
            Issue.record("a sixth")
            return
        }
        #expect(site.outlet.takeAll().count == 5)
        // Others are not held up.
        try await links.askToRegister(email: "bob@example.org", by: stranger)
        site.time.advance(by: .seconds(601))
        try await links.askToRegister(email: "ann@example.org", by: stranger)
    }

    @Test
    func whereNothingIsMailedOneIsTold() async throws {
        let site = try await PeopleFixture()
        for provisioning in [Provisioning(), Provisioning(driver: .ldap)] {
            let error = await refused {
                try await site.links(provisioning).askToRegister(email: "ann@example.org", by: stranger)
            }
            #expect(error?.detailCode == "registration_closed")
        }
        let error = await refused {
            try await site.links(Provisioning(driver: .email), sendsMail: false).askForReset(
                email: "admin@example.org", by: stranger)
        }
        #expect(error?.detailCode == "mail_not_configured")
        let wrong = await refused {
            try await site.links(Provisioning(driver: .email)).askToRegister(email: "a@b\r\nBcc: c@d", by: stranger)
        }
        #expect(wrong?.fields.first?.pointer == "/email")
    }

    @Test
    func aNewPasswordEndsAllSessionsAndOtherLinks() async throws {
        let site = try await PeopleFixture()
        let links = site.links(Provisioning())
        let tokens = try await site.tokens(PretendedDirectory(), Provisioning())
        let before = try await tokens.signIn(name: "admin", password: PeopleFixture.password, address: "127.0.0.1")
        try await links.askForReset(email: "ADMIN@example.org", by: stranger)
        try await links.askForReset(email: "admin@example.org", by: stranger)
        let secrets = try site.outlet.takeAll().map { try secret(in: $0) }
        site.time.advance(by: .seconds(1))
        try await links.reset(secrets[0], password: "battery staple", from: "192.0.2.1", request: "r")
        #expect(
            await refused {
                try await links.reset(secrets[1], password: "battery staples", from: nil, request: nil)
            }?.detailCode == "link_not_valid")
        #expect(await identityError { try await tokens.verify(bearer: before.access) } == .invalidToken(.revoked))
        _ = try await tokens.signIn(name: "admin", password: "battery staple", address: "127.0.0.1")
        let event = try #require(try await site.events("user.changed").last)
        #expect(event.actor == "admin" && event.data["password"] == "changed")
    }

    @Test
    func whoIsDisabledOrElsewhereGetsNoLink() async throws {
        let site = try await PeopleFixture()
        let links = site.links(Provisioning())
        let now = site.time.timestamp
        try await site.store.write { sql in
            for (name, source, enabled) in [("ann", User.Source.directory, true), ("bob", .local, false)] {
                try sql.users.insert(
                    User(
                        id: .generate(at: now), name: name, roles: ["user"], email: "\(name)@example.org",
                        source: source,
                        enabled: enabled, passwordHash: "", tokensValidAfter: now, createdAt: now))
            }
        }
        try await links.askForReset(email: "ann@example.org", by: stranger)
        let mail = site.outlet.takeAll()
        #expect(mail.count == 1 && !mail[0].text.contains("token=") && mail[0].text.contains("directory"))
        try await links.askForReset(email: "bob@example.org", by: stranger)
        #expect(site.outlet.takeAll().isEmpty)
    }

    @Test(
        arguments: [
            ("ann@example.org", "Ann@Example.org", true), ("*@example.org", "ann@example.org", true),
            ("*@example.org", "ann@evil-example.org", false), ("*@example.org", "ann@example.org.evil", false),
            ("*@*.example.org", "ann@a.b.example.org", true), ("*@*.example.org", "ann@example.org", false),
            ("a*n*@*", "ann@x", true), ("a*n*@*", "bob@x", false), ("*", "ann@example.org", false),
            ("ann", "ann@example.org", false), ("a**b@x", "ab@x", true), ("*@", "ann@", true),
        ])
    func patterns(_ pattern: String, _ email: String, _ isMeant: Bool) throws {
        #expect(try #require(WhitelistPattern(pattern)).matches(email: email, name: nil) == isMeant)
    }

    @Test
    func patternsOfNames() throws {
        #expect(try #require(WhitelistPattern("st*")).matches(email: nil, name: "Student"))
        #expect(try !#require(WhitelistPattern("*@*")).matches(email: nil, name: "student"))
        for wrong in ["", "a b", "a@b@c", "ä", "a\n", String(repeating: "a", count: 255)] {
            #expect(WhitelistPattern(wrong) == nil)
        }
        // Does not take for ever.
        let bad = try #require(WhitelistPattern(String(repeating: "a*", count: 120) + "b"))
        #expect(!bad.matches(email: nil, name: String(repeating: "a", count: 254)))
    }
}
