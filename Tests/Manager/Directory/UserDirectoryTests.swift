import Glibc
import Logging
import ManagerDirectory
import ProtocolModel
import Testing
import TestsSupportDirectory

/// Against a real slapd.
@Suite("Users of an LDAP directory")
struct UserDirectoryTests {
    private let slapd: DirectoryServerProcess

    init() throws { slapd = try DirectoryServerProcess.shared() }

    private func settings(
        _ hosts: [String]? = nil, startTLS: Bool = true, base: String = DirectoryServerProcess.people,
        reader: DirectorySettings.Reader? = nil, attributes: DirectorySettings.Attributes = .init(),
        requiredAttribute: String? = nil
    ) throws -> DirectorySettings {
        let servers = try (hosts ?? ["ldap://127.0.0.1:\(slapd.port)"]).map {
            try #require(DirectoryServer($0, startTLS: startTLS))
        }
        var settings = try DirectorySettings(
            servers: servers, searchBase: base, attributes: attributes, reader: reader,
            requiredAttribute: requiredAttribute)
        settings.authorityFile = slapd.authority
        settings.timeout = .seconds(20)
        return settings
    }

    private func directory(_ settings: DirectorySettings) -> UserDirectory {
        UserDirectory(settings, time: SystemTime(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    private static let alice = DirectoryPerson(
        name: "alice", dn: "uid=alice,ou=people,dc=example,dc=org", email: "alice@example.org",
        fullName: "Alice Example", unixName: "alice")

    /// What was wrong with each server, in a word.
    private func trouble(_ error: (any Error)?) -> [String] {
        guard case .unavailable(let troubles)? = error as? DirectoryError else { return [] }
        return troubles.map { trouble in
            switch trouble.kind {
            case .unreachable: "unreachable"
            case .slow: "slow"
            case .insecure: "insecure"
            case .unwilling: "unwilling"
            }
        }
    }

    private func refusal(_ settings: DirectorySettings, _ name: String, _ password: String) async -> (any Error)? {
        do {
            _ = try await directory(settings).authenticate(name: name, password: password)
            return nil
        } catch {
            return error
        }
    }

    @Test
    func theRightPasswordLetsInWithWhatTheEntrySays() async throws {
        var attributes = DirectorySettings.Attributes()
        #expect(try await directory(settings()).authenticate(name: "alice", password: "alice password") == Self.alice)
        attributes.unixName = "displayName"
        let person = try await directory(settings(attributes: attributes)).authenticate(
            name: "ALICE", password: "alice password")
        #expect(person.name == "alice" && person.unixName == "al1001")
        // No mail in the entry.
        let bob = try await directory(settings()).authenticate(name: "bob", password: "bob password")
        #expect(bob.email == nil)
    }

    @Test(
        arguments: [
            ("alice", "wrong"), ("alice", ""), ("alice", "alice password\u{0}"), ("nosuch", "x"), ("", "x"),
            ("nobody", "x"), ("carol", "carol password"), (String(repeating: "a", count: 257), "x"),
        ])
    func aWrongOneDoesNot(_ name: String, _ password: String) async throws {
        #expect(try await refusal(settings(), name, password) as? DirectoryError == .wrongCredentials)
    }

    /// No name is read as more than a name, whoever's password is sent with it.
    @Test(
        arguments: [
            "*", "*)(uid=*", "alice)(uid=*", "a*", "*)(|(uid=alice", "alice)(&", #"alice\"#, #"al\69ce"#, "alice\u{0}x",
            "uid=alice,ou=people,dc=example,dc=org", "(alice)", "alice,ou=people", "*)(objectClass=*))(|(x=",
        ],
        ["alice password", ""])
    func namesInjectNothing(_ name: String, _ password: String) async throws {
        for base in [DirectoryServerProcess.people, "uid=%s," + DirectoryServerProcess.people] {
            #expect(try await refusal(settings(base: base), name, password) as? DirectoryError == .wrongCredentials)
        }
    }

    /// A name full of special characters is somebody's all the same.
    @Test
    func aStrangeNameWorks() async throws {
        let person = try await directory(settings()).authenticate(name: "star*)(x", password: "star password")
        #expect(person.dn.hasPrefix("cn=star"))
    }

    @Test
    func aTemplateNamesTheEntry() async throws {
        let settings = try settings(base: "uid=%s," + DirectoryServerProcess.people)
        #expect(try await directory(settings).authenticate(name: "alice", password: "alice password") == Self.alice)
        #expect(await refusal(settings, "nosuch", "x") as? DirectoryError == .wrongCredentials)
    }

    @Test
    func aReaderSeesWhatOthersDoNot() async throws {
        let reader = DirectorySettings.Reader(name: DirectoryServerProcess.reader, password: "reader password")
        let base = "ou=hidden,dc=example,dc=org"
        let person = try await directory(settings(base: base, reader: reader)).authenticate(
            name: "carol", password: "carol password")
        #expect(person.email == "carol@example.org")
        #expect(
            try await refusal(settings(base: base, reader: reader), "carol", "wrong") as? DirectoryError
                == .wrongCredentials)
        let wrong = DirectorySettings.Reader(name: DirectoryServerProcess.reader, password: "wrong")
        guard
            case .misconfigured(let sentence)? = try await refusal(settings(base: base, reader: wrong), "carol", "x")
                as? DirectoryError
        else {
            Issue.record("a reader with a wrong password is a matter of the settings")
            return
        }
        #expect(sentence.contains("ldap.bind_uname") && !sentence.contains("wrong"))
    }

    @Test
    func aGroupIsRequired() async throws {
        for (group, isIn, isOut) in [("cloud", "alice", "bob"), ("unique", "alice", "bob"), ("unix", "bob", "alice")] {
            for reader in [
                nil, DirectorySettings.Reader(name: DirectoryServerProcess.reader, password: "reader password"),
            ] {
                var settings = try settings(reader: reader)
                settings.requiredGroup = "cn=\(group),dc=example,dc=org"
                _ = try await directory(settings).authenticate(name: isIn, password: "\(isIn) password")
                guard case .notEligible? = await refusal(settings, isOut, "\(isOut) password") as? DirectoryError else {
                    Issue.record("\(isOut) is not in \(group)")
                    continue
                }
                // Who does not know the password does not learn who is in.
                #expect(await refusal(settings, isOut, "x") as? DirectoryError == .wrongCredentials)
            }
        }
        var settings = try settings()
        settings.requiredGroup = "cn=nosuch,dc=example,dc=org"
        guard case .misconfigured? = await refusal(settings, "alice", "alice password") as? DirectoryError else {
            Issue.record("a group that does not exist is a matter of the settings")
            return
        }
    }

    @Test
    func anAttributeIsRequired() async throws {
        _ = try await directory(settings(requiredAttribute: "employeeNumber")).authenticate(
            name: "alice", password: "alice password")
        guard
            case .notEligible(let sentence)? = try await refusal(
                settings(requiredAttribute: "employeeNumber"), "bob", "bob password") as? DirectoryError
        else {
            Issue.record("bob has no number")
            return
        }
        #expect(sentence.contains("employeeNumber"))
    }

    @Test
    func settingsThatDoNotFitAreTold() async throws {
        for (settings, name) in [
            (try settings(), "twin"), (try settings(base: "ou=nosuch,dc=example,dc=org"), "alice"),
        ] {
            guard case .misconfigured? = await refusal(settings, name, "x") as? DirectoryError else {
                Issue.record("\(name)")
                continue
            }
        }
    }

    @Test
    func theNextServerIsAskedWhereOneIsDown() async throws {
        let hosts = ["ldap://127.0.0.1:1", "ldap://127.0.0.1:\(slapd.port)"]
        #expect(
            try await directory(settings(hosts)).authenticate(name: "alice", password: "alice password") == Self.alice)
        // Its word counts: a server before it that is down does not make a wrong password a right one or an outage.
        #expect(try await refusal(settings(hosts), "alice", "wrong") as? DirectoryError == .wrongCredentials)
    }

    @Test(arguments: ["ldap", "ldaps"], [true, false])
    func theNextServerIsAskedWhereOneKeepsSilent(_ scheme: String, _ startTLS: Bool) async throws {
        let silent = try SilentServer()
        var settings = try settings(
            ["\(scheme)://127.0.0.1:\(silent.port)", "ldap://127.0.0.1:\(slapd.port)"], startTLS: startTLS)
        settings.timeout = .milliseconds(700)
        // Generous for the one that answers: only the silent one may run out of time. Both share the setting, so try again.
        let directory = directory(settings)
        var person: DirectoryPerson?
        for _ in 0..<10 where person == nil {
            person = try? await directory.authenticate(name: "alice", password: "alice password")
        }
        #expect(person == Self.alice)
        settings.servers.removeLast()
        #expect(trouble(await refusal(settings, "alice", "alice password")) == ["slow"])
    }

    @Test
    func absenceIsNoWrongPassword() async throws {
        let slapd = try DirectoryServerProcess()
        let settings = try settings(["ldap://127.0.0.1:\(slapd.port)"])
        var own = settings
        own.authorityFile = slapd.authority
        let directory = directory(own)
        _ = try await directory.authenticate(name: "alice", password: "alice password")
        try slapd.stop()
        let error = await #expect(throws: DirectoryError.self) {
            try await directory.authenticate(name: "alice", password: "alice password")
        }
        guard trouble(error) == ["unreachable"] else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(error?.sentence.contains("cannot be reached") == true)
        try slapd.start()
        _ = try await directory.authenticate(name: "alice", password: "alice password")
    }

    @Test
    func bothWaysOfTLSWork() async throws {
        for host in ["ldap://127.0.0.1:\(slapd.port)", "ldaps://127.0.0.1:\(slapd.tlsPort)"] {
            var settings = try settings([host])
            _ = try await directory(settings).authenticate(name: "alice", password: "alice password")
            settings.authorityFile = nil
            settings.authorityFolder = slapd.authorities
            _ = try await directory(settings).authenticate(name: "alice", password: "alice password")
        }
    }

    /// Nothing is sent to a server that does not prove who it is.
    @Test
    func aWrongAuthorityIsRefused() async throws {
        for host in ["ldap://127.0.0.1:\(slapd.port)", "ldaps://127.0.0.1:\(slapd.tlsPort)"] {
            for authority in [slapd.stranger, nil] {
                var settings = try settings([host])
                settings.authorityFile = authority
                let error = await refusal(settings, "alice", "alice password")
                guard trouble(error) == ["insecure"] else {
                    Issue.record("\(host): \(String(describing: error))")
                    continue
                }
                #expect((error as? DirectoryError)?.sentence.contains("not secure") == true)
            }
        }
    }

    /// `localhost` has the same address as the certificate's 127.0.0.1, and is not in it.
    @Test
    func aCertificateForAnotherNameIsRefused() async throws {
        for host in ["ldap://localhost:\(slapd.port)", "ldaps://localhost:\(slapd.tlsPort)"] {
            let error = try await refusal(settings([host]), "alice", "alice password")
            guard trouble(error) == ["insecure"] else {
                Issue.record("\(host): \(String(describing: error))")
                continue
            }
        }
    }

    @Test
    func aFileThatIsNoCertificateIsTold() async throws {
        var settings = try settings()
        settings.authorityFile = "/nonexistent"
        guard case .misconfigured? = await refusal(settings, "alice", "alice password") as? DirectoryError else {
            Issue.record("the file does not exist")
            return
        }
    }

    @Test
    func manyAtOnceAreServedOrTold() async throws {
        let directory = try UserDirectory(
            settings(), threads: 2, limit: 4, time: SystemTime(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let (people, busy) = try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<40 {
                group.addTask {
                    do {
                        _ = try await directory.authenticate(name: "alice", password: "alice password")
                        return true
                    } catch DirectoryError.busy {
                        return false
                    }
                }
            }
            return try await group.reduce(into: (0, 0)) { $1 ? ($0.0 += 1) : ($0.1 += 1) }
        }
        #expect(people >= 4 && people + busy == 40)
    }
}
