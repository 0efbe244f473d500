import ProtocolModel

/// One step from one schema to the next: a list of single statements, each safe to run again, because MariaDB commits
/// at every DDL statement and a crash may fall between any two.
struct Migration: Sendable {
    let number: Int
    let name: String
    let statements: [String]

    /// In order. A migration that has been released is never edited; a new one is added.
    static let all: [Migration] = [initial, eventLog, fleetIndexes, oldEvents]
}

/// Runs the migrations that a store lacks.
struct Migrator {
    let migrations: [Migration]

    func run(on connection: SQLiteConnection, now: Timestamp) throws {
        try connection.run(
            """
            CREATE TABLE IF NOT EXISTS schema_migrations (
                number BIGINT NOT NULL PRIMARY KEY, name VARCHAR(100) NOT NULL, applied_at BIGINT NOT NULL)
            """)
        let applied = Set(try connection.query("SELECT number FROM schema_migrations").map { try $0.int("number") })
        let known = migrations.map(\.number).max() ?? 0
        if let newest = applied.max(), newest > known { throw StoreError.schemaTooNew(found: newest, known: known) }
        for migration in migrations where !applied.contains(migration.number) {
            for statement in migration.statements { try connection.run(statement) }
            try connection.run(
                "INSERT INTO schema_migrations (number, name, applied_at) VALUES (?, ?, ?)",
                [migration.number.sqlValue, .text(migration.name), now.sqlValue])
        }
    }
}
