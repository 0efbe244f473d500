import ProtocolModel
import Testing

@testable import ManagerDirectory

@Suite("Text inside filters and entries' names")
struct DirectoryTextTests {
    /// RFC 4515 §4's examples of what has to be escaped, and more that attackers try.
    @Test(
        arguments: [
            ("alice", "(uid=alice)"), ("*", #"(uid=\2a)"#), ("*)(uid=*", #"(uid=\2a\29\28uid\3d\2a)"#),
            ("a)(|(objectClass=*", #"(uid=a\29\28\7c\28objectClass\3d\2a)"#), (#"C:\MyFile"#, #"(uid=C\3a\5cMyFile)"#),
            ("\u{0}", #"(uid=\00)"#), ("é", #"(uid=\c3\a9)"#), ("a&b!", #"(uid=a\26b\21)"#),
        ])
    func aNameIsOneValueOfAFilter(_ name: String, _ filter: String) {
        #expect(DirectoryText.personFilter(attribute: "uid", name: name) == filter)
    }

    @Test
    func aNameIsOneValueOfAnEntrysName() {
        let template = "uid=%s,ou=people,dc=example"
        #expect(DirectoryText.entryName(template, name: "alice") == "uid=alice,ou=people,dc=example")
        #expect(
            DirectoryText.entryName(template, name: "alice,ou=admins+cn=\"x\"")
                == #"uid=alice\2cou\3dadmins\2bcn\3d\22x\22,ou=people,dc=example"#)
        #expect(DirectoryText.entryName(template, name: " %s") == #"uid=\20\25s,ou=people,dc=example"#)
    }

    @Test(
        arguments: [
            ("ldap1.example.org", "ldap://ldap1.example.org:389", DirectoryServer.Encryption.startTLS),
            ("ldap1:1389", "ldap://ldap1:1389", .startTLS), ("ldap://h", "ldap://h:389", .startTLS),
            ("ldaps://h", "ldaps://h:636", .ldaps), ("LDAPS://h:1636/", "ldaps://h:1636", .ldaps),
            ("ldaps://[2001:db8::1]:7", "ldaps://[2001:db8::1]:7", .ldaps),
        ])
    func serversAreRead(_ text: String, _ meaning: String, _ encryption: DirectoryServer.Encryption) throws {
        let server = try #require(DirectoryServer(text, startTLS: true))
        #expect(server.description == meaning && server.encryption == encryption)
    }

    @Test(
        arguments: [
            "", "http://h", "ldap://", "h:0", "h:65536", "h:x", "ldap://h/dc=x", "a b", "ldap://[::1", "h:389:1",
            "ldap://user@h", "ldap://h?x",
        ])
    func whatIsNoServerIsNone(_ text: String) {
        #expect(DirectoryServer(text, startTLS: true) == nil)
    }

    @Test
    func passwordsGoNowhereInPlainTextUnlessToldTo() throws {
        let remote = DirectoryServer(host: "h", port: 389, encryption: .none)
        #expect(throws: DirectoryError.self) { try DirectorySettings(servers: [remote], searchBase: "dc=x") }
        _ = try DirectorySettings(servers: [remote], searchBase: "dc=x", allowsPlainText: true)
        for host in ["127.0.0.1", "localhost", "::1"] {
            let local = DirectoryServer(host: host, port: 389, encryption: .none)
            _ = try DirectorySettings(servers: [local], searchBase: "dc=x")
        }
        let pretender = DirectoryServer(host: "127.example.org", port: 389, encryption: .none)
        #expect(throws: DirectoryError.self) { try DirectorySettings(servers: [pretender], searchBase: "dc=x") }
    }

    @Test
    func anAttributeIsNoFilter() throws {
        let server = DirectoryServer(host: "h", port: 636, encryption: .ldaps)
        var attributes = DirectorySettings.Attributes()
        attributes.name = "uid=x)(y"
        #expect(throws: DirectoryError.self) {
            try DirectorySettings(servers: [server], searchBase: "dc=x", attributes: attributes)
        }
        attributes.name = "0.9.2342.19200300.100.1.1"
        _ = try DirectorySettings(servers: [server], searchBase: "dc=x", attributes: attributes)
    }

    @Test
    func anEntrysValuesAreTakenWhereTheyFit() {
        let entry = DirectoryEntry(
            dn: "uid=a,dc=x",
            values: [
                "UID": ["other", "Alice"], "mail": ["none", "a@x.org"], "cn": ["two\nlines", "A"],
                "unix": ["0a", "a-1"],
            ])
        var attributes = DirectorySettings.Attributes()
        attributes.unixName = "Unix"
        let person = DirectoryPerson(entry, typed: "alice", attributes)
        #expect(
            person
                == DirectoryPerson(name: "Alice", dn: "uid=a,dc=x", email: "a@x.org", fullName: "A", unixName: "a-1"))
    }

    @Test
    func aServerThatFailedComesLastForAWhile() {
        func at(_ seconds: Int) -> Uptime { Uptime(sinceStart: .seconds(seconds)) }
        var order = ServerOrder(count: 3)
        #expect(order.order(at: at(0)) == [0, 1, 2])
        let isNews = order.failed(0, at: at(0))
        #expect(isNews)
        #expect(order.order(at: at(1)) == [1, 2, 0])
        let isOld = !order.failed(0, at: at(1))
        #expect(isOld)
        #expect(order.order(at: at(31)) == [0, 1, 2])
        // All fail: all are asked nevertheless.
        for index in 0..<3 { _ = order.failed(index, at: at(40)) }
        #expect(order.order(at: at(41)) == [0, 1, 2])
        let words = (order.worked(0), order.worked(0))
        #expect(words == (true, false))
        #expect(order.order(at: at(42)) == [0, 1, 2])
    }
}
