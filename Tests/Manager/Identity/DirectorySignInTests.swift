import ManagerDirectory
import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization
import Testing

@testable import ManagerIdentity

@Suite("Sign-in by directory")
struct DirectorySignInTests {
    private static let ann = DirectoryPerson(
        name: "ann", dn: "uid=ann,dc=x", email: "ann@example.org", fullName: "Ann Example", unixName: "aex")

    private func signIn(_ tokens: TokenService, _ name: String = "ann", _ password: String = "x") async throws {
        _ = try await tokens.signIn(name: name, password: password, address: "127.0.0.1")
    }

    @Test
    func theFirstSignInMakesTheUserAndFurtherOnesFollowTheDirectory() async throws {
        let (site, directory) = (try await PeopleFixture(), PretendedDirectory())
        let tokens = try await site.tokens(directory, Provisioning(driver: .ldap))
        directory.says(.success(Self.ann))
        try await signIn(tokens)
        let first = try #require(try await site.user("ann"))
        #expect(first.source == .directory && first.passwordHash.isEmpty && first.roles == ["user"])
        #expect(first.email == "ann@example.org" && first.fullName == "Ann Example" && first.unixName == "aex")
        #expect(first.account == "default")
        try await signIn(tokens)
        #expect(try await site.events("user.changed").isEmpty)
        var moved = Self.ann
        moved.email = "ann@new.example.org"
        moved.unixName = nil
        directory.says(.success(moved))
        try await signIn(tokens)
        let second = try #require(try await site.user("ann"))
        #expect(second.id == first.id && second.email == "ann@new.example.org" && second.unixName == nil)
        #expect(try await site.events("user.changed").count == 1)
    }

    @Test
    func manyFirstSignInsAtOnceMakeOneUser() async throws {
        let (site, directory) = (try await PeopleFixture(), PretendedDirectory())
        let tokens = try await site.tokens(directory, Provisioning(driver: .ldap, makesAccountOwners: true))
        directory.says(.success(Self.ann))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<8 { group.addTask { try await signIn(tokens) } }
            try await group.waitForAll()
        }
        #expect(try await site.events("user.created").count == 2)
        let ann = try #require(try await site.user("ann"))
        let account = try await site.store.read { try $0.accounts.find(name: "ann") }
        #expect(ann.roles == ["account_owner"] && ann.account == "ann" && account?.owner == ann.id)
    }

    /// AUT-09: a superuser is never looked for in the directory, nor is any other user of our own.
    @Test
    func ourOwnUsersAreNotAskedFor() async throws {
        let (site, directory) = (try await PeopleFixture(), PretendedDirectory())
        let tokens = try await site.tokens(directory, Provisioning(driver: .ldap))
        directory.says(.success(DirectoryPerson(name: "admin", dn: "uid=admin,dc=x")))
        #expect(await identityError { try await signIn(tokens, "admin", "x") } == .wrongCredentials)
        #expect(directory.questions.withLock { $0 } == 0)
        try await signIn(tokens, "admin", PeopleFixture.password)
        #expect(directory.questions.withLock { $0 } == 0)
        // The directory finds names in any case; that must not make somebody there our admin.
        #expect(await identityError { try await signIn(tokens, "ADMIN", "x") } == .wrongCredentials)
        #expect(directory.questions.withLock { $0 } == 1)
        #expect(try await site.user("admin")?.source == .local)
    }

    /// Nor one that was made a superuser later.
    @Test
    func aSuperuserOfTheDirectoryCannotSignIn() async throws {
        let (site, directory) = (try await PeopleFixture(), PretendedDirectory())
        let tokens = try await site.tokens(directory, Provisioning(driver: .ldap))
        directory.says(.success(Self.ann))
        try await signIn(tokens)
        let now = site.time.timestamp
        try await site.store.write { sql in
            var ann = try #require(try sql.users.find(name: "ann"))
            ann.roles = ["superuser"]
            try sql.users.update(ann)
        }
        #expect(await identityError { try await signIn(tokens) } == .wrongCredentials)
        let hash = try await site.hasher.hash(PeopleFixture.password, userName: "")
        try await site.store.write { sql in try OperatorService().setPassword(hash, of: "ann", at: now, in: sql) }
        try await signIn(tokens, "ann", PeopleFixture.password)
    }

    @Test
    func itsTroublesAreNotWrongPasswords() async throws {
        let (site, directory) = (try await PeopleFixture(), PretendedDirectory())
        let tokens = try await site.tokens(directory, Provisioning(driver: .ldap))
        let server = DirectoryServer(host: "ldap1.secret.test", port: 636, encryption: .ldaps)
        let troubles: [DirectoryError] = [
            .unavailable([ServerTrouble(server, .slow)]), .unavailable([ServerTrouble(server, .unreachable("x"))]),
            .unavailable([ServerTrouble(server, .insecure("x"))]), .misconfigured("secret dn"),
        ]
        var sentences: Set<String> = []
        for trouble in troubles {
            directory.says(.failure(trouble))
            // More often than guessing would be allowed.
            for _ in 0..<20 {
                guard case .directoryUnavailable(let sentence)? = await identityError({ try await signIn(tokens) })
                else {
                    Issue.record("\(trouble)")
                    break
                }
                sentences.insert(sentence)
            }
        }
        #expect(sentences.count == 4 && sentences.allSatisfy { !$0.contains("secret") })
        directory.says(.failure(.notEligible("not in the group")))
        #expect(await identityError { try await signIn(tokens) } == .notAdmitted("not in the group"))
        directory.says(.failure(.busy))
        #expect(await identityError { try await signIn(tokens) } == .busy)
        // A wrong password counts, and is slowed down.
        directory.says(.failure(.wrongCredentials))
        var last: IdentityError?
        for _ in 0..<20 { last = await identityError { try await signIn(tokens) } }
        guard case .tooManyAttempts? = last else {
            Issue.record("\(String(describing: last))")
            return
        }
    }

    @Test
    func whoIsLetInIsTheSitesToSay() async throws {
        let (site, directory) = (try await PeopleFixture(), PretendedDirectory())
        directory.says(.success(Self.ann))
        for provisioning in [Provisioning(), Provisioning(driver: .email), .init(driver: .ldap, isWhitelistOnly: true)]
        {
            let tokens = try await site.tokens(directory, provisioning)
            guard case .notAdmitted? = await identityError({ try await signIn(tokens) }) else {
                Issue.record("\(provisioning)")
                continue
            }
        }
        #expect(try await site.user("ann") == nil)
        try await site.allow("an?", "bob", "*@other.org")
        let tokens = try await site.tokens(directory, Provisioning(driver: .ldap, isWhitelistOnly: true))
        guard case .notAdmitted? = await identityError({ try await signIn(tokens) }) else {
            Issue.record("not on the list")
            return
        }
        try await site.allow("ann")
        try await signIn(tokens)
        // Once a user, the list is not asked any more; and one who is disabled here is out.
        try await site.store.write { sql in
            var ann = try #require(try sql.users.find(name: "ann"))
            ann.enabled = false
            try sql.users.update(ann)
        }
        #expect(await identityError { try await signIn(tokens) } == .wrongCredentials)
    }

    @Test(arguments: [
        "me", "a b", "-a", "ä", "00000000-0000-7000-8000-000000000001", String(repeating: "a", count: 65),
    ])
    func aNameThatCannotBeAUsersIsTold(_ name: String) async throws {
        let (site, directory) = (try await PeopleFixture(), PretendedDirectory())
        let tokens = try await site.tokens(directory, Provisioning(driver: .ldap))
        directory.says(.success(DirectoryPerson(name: name, dn: "x")))
        guard case .notAdmitted? = await identityError({ try await signIn(tokens) }) else {
            Issue.record("\(name)")
            return
        }
    }

    @Test
    func aPasswordOfTheDirectoryIsNotSetHere() async throws {
        let (site, directory) = (try await PeopleFixture(), PretendedDirectory())
        let tokens = try await site.tokens(directory, Provisioning(driver: .ldap))
        directory.says(.success(Self.ann))
        try await signIn(tokens)
        let now = site.time.timestamp
        let error = await refused {
            try await site.store.write { sql in try OperatorService().setPassword("x", of: "ann", at: now, in: sql) }
        }
        #expect(error?.code == .conflict)
        let other = await refused {
            try await site.store.write { sql in
                let ann = try #require(try sql.users.find(name: "ann"))
                _ = try UserService().change(ann, .init(passwordHash: "x"), by: .console, at: now, in: sql)
            }
        }
        #expect(other?.code == .conflict)
    }
}
