import Testing

@testable import ManagerStore

@Suite("Store location")
struct LocationTests {
    private func address(_ url: String, password: StoreSecret? = nil) throws -> MariaDBAddress {
        guard case .mariaDB(let address) = try StoreLocation(url, password: password) else {
            throw StoreError.badLocation("a file")
        }
        return address
    }

    @Test("a path is a file, a URL is read in full")
    func reads() throws {
        #expect(try StoreLocation("/var/lib/roost/roost.sqlite") == .file("/var/lib/roost/roost.sqlite"))
        let found = try address("mariadb://ro%40ost@db1,db2:3307,[fd00::1]:99/site?ca=/etc/ca%20.pem&cert=/c&key=/k")
        #expect(found.user == "ro@ost")
        #expect(found.hosts.map(\.description) == ["db1:3306", "db2:3307", "[fd00::1]:99"])
        #expect(found.database == "site")
        #expect(found.tls == .required)
        #expect([found.authority, found.certificate, found.key] == ["/etc/ca .pem", "/c", "/k"])
        // Nobody is between the two ends of a loopback.
        #expect(try address("mariadb://u@127.0.0.1/d").tls == .off)
        #expect(try address("mariadb://u@localhost,db2/d").tls == .required)
        #expect(try address("mariadb://u@/d?socket=/run/s").hosts == [.init(name: "/run/s", port: 0)])
        #expect(try address("mariadb://u@db/d?tls=off").tls == .off)
    }

    @Test(
        "what is not a location is refused with the form that is",
        arguments: [
            "mysql://u@h/d", "mariadb://h/d", "mariadb://u@h", "mariadb://u@h/", "mariadb://u@/d", "mariadb://u@h:0/d",
            "mariadb://u@h:x/d", "mariadb://u@h/d?tls=maybe", "mariadb://u@h/d?x=1", "mariadb://u@[fd00/d",
            "mariadb://u@h/d%zz", "mariadb://u@h/d%0", "mariadb://u@h/%00", "mariadb://u@h/%ff", "://",
            "mariadb://@h/d",
            "mariadb://u@h/d?socket=run", "mariadb://u@h/d/e",
        ])
    func refuses(_ text: String) {
        #expect(throws: StoreError.self) { try StoreLocation(text) }
    }

    @Test("a password shows in no text, and one in a URL is refused without being repeated (SEC-14)")
    func secret() throws {
        let found = try StoreLocation("mariadb://u@h/d", password: StoreSecret("canary"))
        var dumped = ""
        dump(found, to: &dumped)
        for text in ["\(found)", String(reflecting: found), dumped] { #expect(!text.contains("canary")) }
        do {
            _ = try StoreLocation("mariadb://u:canary@h/d")
            Issue.record("the URL was taken")
        } catch {
            #expect(!"\(error)".contains("canary"))
            #expect("\(error)".contains("store.password_file"))
        }
    }

    @Test("definitions differ between the engines in types and the table's end alone")
    func dialect() {
        let statement =
            "CREATE TABLE t (i VARCHAR(36), n VARCHAR(64), a DIGEST, context TEXT, b BLOB NOT NULL, TEXTS x)"
        #expect(
            StoreEngine.sqlite.definition(statement)
                == "CREATE TABLE t (i VARCHAR(36), n VARCHAR(64), a BLOB, context TEXT, b BLOB NOT NULL, TEXTS x)")
        #expect(
            StoreEngine.mariadb.definition(statement)
                == "CREATE TABLE t (i VARCHAR(36), n VARCHAR(255), a VARBINARY(32), context LONGTEXT, b LONGBLOB NOT NULL, TEXTS x)"
                + " ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin")
        #expect(StoreEngine.mariadb.definition("CREATE INDEX i ON t (a)") == "CREATE INDEX i ON t (a)")
    }
}
