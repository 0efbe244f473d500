import Foundation
import ProtocolModel
import Testing
import TestsSupportStore

@testable import ManagerModel
@testable import ManagerStore

/// What repositories rely on, and would have from SQLite alone.
@Suite("Engines agree")
struct EngineTests {
    private func withConnection(_ engine: StoreEngine, _ body: (any SQLConnection) throws -> Void) throws {
        let place = try StorePlace(engine)
        let connection = try place.location.connection()
        try connection.run(
            engine.definition(
                """
                CREATE TABLE IF NOT EXISTS t (
                    k VARCHAR(40) NOT NULL PRIMARY KEY, n BIGINT, r DOUBLE, t TEXT, b BLOB, h DIGEST UNIQUE)
                """))
        try body(connection)
        withExtendedLifetime(place) {}
    }

    private static let insert = "INSERT INTO t (k, n, r, t, b, h) VALUES (?, ?, ?, ?, ?, ?)"

    @Test("each kind of value comes back as it went in, however long", arguments: StoreEngine.allCases)
    func values(_ engine: StoreEngine) throws {
        try withConnection(engine) { connection in
            let long = String(repeating: "€", count: 200_000)
            let blob = (0..<70_000).map { UInt8(truncatingIfNeeded: $0) }
            let rows: [[SQLValue]] = [
                [.text("a"), .integer(.min), .real(-0.1), .text(""), .blob([]), .blob([0])],
                [
                    .text("b"), .integer(.max), .real(1e300), .text(long), .blob(blob),
                    .blob([UInt8](repeating: 255, count: 32)),
                ],
                [.text("c"), .null, .null, .null, .null, .null],
                [.text("d ü 🦉\\'\""), .integer(0), .real(0.1), .text("%_\\\n\0x"), .blob([0, 0]), .null],
                [.text("e"), .integer(-1), .real(3), .text("short"), .blob([1]), .blob([0, 0])],
            ]
            for row in rows { try connection.run(Self.insert, row) }
            // Twice: the second time with what the first one prepared.
            for _ in 0..<2 {
                let found = try connection.query("SELECT k, n, r, t, b, h FROM t ORDER BY k")
                #expect(found.map { row in ["k", "n", "r", "t", "b", "h"].map { row[$0] } } == rows)
            }
            #expect(
                try connection.query("SELECT k FROM t WHERE h = ?", [.blob([0])]).map { $0["k"] } == [.text("a")])
        }
    }

    @Test("texts compare by bytes, and spaces count", arguments: StoreEngine.allCases)
    func collation(_ engine: StoreEngine) throws {
        try withConnection(engine) { connection in
            for key in ["a", "B", "b", "a ", "ä", "Z", "é", "e"] {
                try connection.run(Self.insert, [.text(key), .null, .null, .null, .null, .null])
            }
            let order = try connection.query("SELECT k FROM t ORDER BY k").map { try $0.text("k") }
            #expect(order == ["B", "Z", "a", "a ", "b", "e", "ä", "é"])
            #expect(try connection.query("SELECT 1 FROM t WHERE k = 'A'").isEmpty)
            #expect(try connection.query("SELECT k FROM t WHERE (k, k) > (?, ?)", [.text("e"), .text("")]).count == 3)
        }
    }

    @Test("sums of integers are integers, matched rows are counted", arguments: StoreEngine.allCases)
    func numbers(_ engine: StoreEngine) throws {
        try withConnection(engine) { connection in
            for number in 1...3 {
                try connection.run(
                    Self.insert, [.text("\(number)"), .integer(1 << 61), .real(0.5), .null, .null, .null])
            }
            let row = try #require(
                try connection.query("SELECT SUM(n) AS n, SUM(r) AS r, COUNT(*) AS c, MAX(k) AS k FROM t").first)
            #expect(row["n"] == .integer(3 << 61))
            #expect(row["r"] == .real(1.5))
            #expect(row["c"] == .integer(3))
            #expect(row["k"] == .text("3"))
            #expect(try connection.query("SELECT SUM(n) AS n FROM t WHERE k = 'x'")[0]["n"] == .null)
            try connection.run("UPDATE t SET r = 0.5 WHERE n = ?", [.integer(1 << 61)])
            #expect(connection.changes == 3)
            #expect(try connection.query("SELECT k FROM t ORDER BY k LIMIT ?", [.integer(.max)]).count == 3)
        }
    }

    @Test("a row is put in or added to", arguments: StoreEngine.allCases)
    func upsert(_ engine: StoreEngine) throws {
        try withConnection(engine) { connection in
            for number in 1...3 {
                try connection.run(
                    """
                    INSERT INTO t (k, n, r) VALUES (?, ?, ?)
                    ON CONFLICT (k) DO UPDATE SET n = n + excluded.n, r = excluded.r
                    """, [.text("a"), .integer(Int64(number)), .real(Double(number))])
            }
            let rows = try connection.query("SELECT n, r FROM t")
            #expect(rows.map { [$0["n"], $0["r"]] } == [[.integer(6), .real(3)]])
        }
    }

    @Test(
        "a value that does not fit is refused, never cut; a doubled key is a constraint",
        arguments: StoreEngine.allCases)
    func constraints(_ engine: StoreEngine) throws {
        try withConnection(engine) { connection in
            let row: [SQLValue] = [.text("a"), .null, .null, .null, .null, .blob([7])]
            try connection.run(Self.insert, row)
            for doubled in [row, [.text("b")] + row.dropFirst(), [.null] + row.dropFirst()] {
                #expect {
                    try connection.run(Self.insert, doubled)
                } throws: { error in
                    if case StoreError.constraint = error { true } else { false }
                }
            }
            #expect(try connection.query("SELECT 1 FROM t").count == 1)
            #expect(throws: StoreError.self) { try connection.query("SELECT * FROM absent") }
            #expect(throws: StoreError.self) { try connection.run("UPDATE t SET n = ?", [.integer(1), .integer(2)]) }
        }
    }

    @Test("a statement that was prepared sees a column that was added since", arguments: StoreEngine.allCases)
    func columns(_ engine: StoreEngine) throws {
        try withConnection(engine) { connection in
            try connection.run(Self.insert, [.text("a"), .integer(1), .null, .null, .null, .null])
            #expect(try connection.query("SELECT * FROM t")[0]["k"] == .text("a"))
            let other = Migration(
                number: 1, name: "more",
                statements: ["ALTER TABLE t ADD COLUMN IF NOT EXISTS more TEXT NOT NULL DEFAULT 'x'"])
            for _ in 0..<2 {
                try? connection.run("DELETE FROM schema_migrations")
                try Migrator(migrations: [other]).run(on: connection, now: Timestamp(milliseconds: 0))
            }
            let row = try #require(try connection.query("SELECT * FROM t").first)
            #expect(row["more"] == .text("x"))
            #expect(row["n"] == .integer(1))
            #expect(try connection.hasColumn("more", in: "t"))
            #expect(try !connection.hasColumn("less", in: "t"))
        }
    }
}

@Suite("Migrations")
struct MigrationTests {
    @Test("managers that start at once migrate once", arguments: StoreEngine.allCases)
    func together(_ engine: StoreEngine) async throws {
        let place = try StorePlace(engine)
        let location = place.location
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    let connection = try location.connection()
                    try Migrator(migrations: Migration.all).run(on: connection, now: Timestamp(milliseconds: 0))
                }
            }
            try await group.waitForAll()
        }
        let rows = try location.connection().query("SELECT number FROM schema_migrations ORDER BY number")
        #expect(try rows.map { try $0.int("number") } == Migration.all.map(\.number))
        withExtendedLifetime(place) {}
    }

    @Test("a crash between any two statements does no harm", arguments: StoreEngine.allCases)
    func crashes(_ engine: StoreEngine) throws {
        let place = try StorePlace(engine)
        let connection = try place.location.connection()
        for migration in Migration.all {
            let count = migration.statements.count
            for done in stride(from: 1, through: count, by: engine == .sqlite ? 1 : max(1, count / 3)) {
                let begun = Migration(
                    number: migration.number, name: migration.name, statements: Array(migration.statements.prefix(done))
                )
                try Migrator(migrations: [begun]).run(on: connection, now: Timestamp(milliseconds: 0))
                try connection.run(
                    "DELETE FROM schema_migrations WHERE number = ?", [.integer(Int64(migration.number))])
            }
        }
        try Migrator(migrations: Migration.all).run(on: connection, now: Timestamp(milliseconds: 0))
        #expect(try connection.query("SELECT 1 FROM schema_migrations").count == Migration.all.count)
        withExtendedLifetime(place) {}
    }

    @Test("a lock whose holder stands still is taken over, one whose holder works is not")
    func takeOver() throws {
        let place = try StorePlace(.mariadb)
        guard case .mariaDB(let address) = place.location else { return }
        let connection = try MariaDBConnection(address, role: .maintaining)
        try connection.exclusively { _ in }
        try connection.run("UPDATE migration_lock SET holder = 'gone'")
        var pauses = 0
        var isHeld = false
        let lock = MigrationLock(holder: "me", patience: .milliseconds(40)) {
            pauses += 1
            // Ten times, the other one shows that it lives.
            if pauses <= 10 { try? connection.run("UPDATE migration_lock SET renewals = renewals + 1") }
            Thread.sleep(forTimeInterval: pauses <= 10 ? 0.02 : 0.05)
        }
        try lock.hold(on: connection) { _ in isHeld = true }
        #expect(isHeld)
        #expect(pauses >= 11)
        withExtendedLifetime(place) {}
    }
}
