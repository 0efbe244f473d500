import ProtocolModel

/// One step from one schema to the next: a list of single statements, each safe to run again, because MariaDB commits
/// at every DDL statement and a crash may fall between any two. What the engines write differently is written in the way
/// that `StoreEngine.definition` reads; a column is added with `ALTER TABLE t ADD COLUMN IF NOT EXISTS c …`.
struct Migration: Sendable {
    let number: Int
    let name: String
    let statements: [String]

    /// Stands among the numbers of a record that a restore or copy has not finished.
    static let incomplete = 1_000_000_000

    /// In order. A migration that has been released is never edited; a new one is added.
    static let all: [Migration] = [
        initial, eventLog, fleetIndexes, oldEvents, managers, prefill, imageCopies, chains, imageSharing,
        imageCaptures, accounts, credentials, quotas, registration, placement, availability, devices,
        hostHold, serverGroups, placementQueue, hostLoss, hardware, deviceSets,
    ]
}

/// Runs the migrations that a store lacks, while no other process does.
struct Migrator {
    let migrations: [Migration]

    func run(on connection: any SQLConnection, now: Timestamp) throws {
        try connection.exclusively { renew in
            try connection.run(
                connection.engine.definition(
                    """
                    CREATE TABLE IF NOT EXISTS schema_migrations (
                        number BIGINT NOT NULL PRIMARY KEY, name VARCHAR(100) NOT NULL, applied_at BIGINT NOT NULL)
                    """))
            let applied = Set(
                try connection.query("SELECT number FROM schema_migrations").map { try $0.int("number") })
            if applied.contains(Migration.incomplete) { throw StoreError.incomplete }
            let known = migrations.map(\.number).max() ?? 0
            if let newest = applied.max(), newest > known {
                throw StoreError.schemaTooNew(found: newest, known: known)
            }
            for migration in migrations where !applied.contains(migration.number) {
                for statement in migration.statements {
                    try renew()
                    try apply(statement, on: connection)
                }
                try connection.run(
                    "INSERT INTO schema_migrations (number, name, applied_at) VALUES (?, ?, ?)",
                    [migration.number.sqlValue, .text(migration.name), now.sqlValue])
            }
        }
    }

    private func apply(_ statement: String, on connection: any SQLConnection) throws {
        var statement = statement
        // SQLite cannot be asked to add a column only where it is absent.
        let words = statement.split(separator: " ", maxSplits: 9).map(String.init)
        if words.count > 8, words[0] == "ALTER", Array(words[3...7]) == ["ADD", "COLUMN", "IF", "NOT", "EXISTS"] {
            if try connection.hasColumn(words[8], in: words[2]) { return }
            statement = (words[0...4] + words[8...]).joined(separator: " ")
        }
        try connection.run(connection.engine.definition(statement))
    }
}
