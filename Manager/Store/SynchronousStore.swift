package import ProtocolModel

/// The record in memory and without threads, over the same schema, connection and repositories as `Store`: for the
/// simulator, in which every commit is a step of its own, and which keeps the record when its manager dies.
package final class SynchronousStore {
    private let connection: SQLiteConnection

    /// - Throws: `StoreError.cannotOpen`, or what a migration met.
    package init(at now: Timestamp) throws {
        connection = try SQLiteConnection(path: ":memory:", role: .writing)
        try Migrator(migrations: Migration.all).run(on: connection, now: now)
    }

    /// Another process opens the record: what the last one kept in its memory is gone.
    package func processBegins() {
        connection.nodeChanges.allUndone()
        _ = connection.nodeChanges.take()
        connection.nodeChanges.keeper = nil
    }

    /// Runs `body` on the last commit.
    package func read<Result>(_ body: (Transaction) throws -> Result) throws -> Result {
        try body(Transaction(connection))
    }

    /// Runs `body` in a transaction of its own and commits it. An error thrown by `body` undoes all that it did.
    package func write<Result>(
        _ body: (Transaction) throws -> Result
    ) throws -> (result: Result, changes: [Change]) {
        let transaction = Transaction(connection)
        try connection.beginBatch()
        connection.memory.begin()
        defer { connection.memory.end() }
        connection.nodeChanges.begin()
        do {
            let result = try body(transaction)
            try connection.commitBatch()
            connection.nodeChanges.committed()
            return (result, transaction.changes)
        } catch {
            connection.rollBack()
            connection.nodeChanges.allUndone()
            throw error
        }
    }

    /// Runs `body` and undoes what it did, as when the process ends, or the engine refuses, before the commit.
    package func abandon(_ body: (Transaction) throws -> Void) throws {
        struct Abandoned: Error {}
        do {
            _ = try write { sql in
                try body(sql)
                throw Abandoned()
            }
        } catch is Abandoned {}
    }
}

extension Transaction {
    /// Changes the record past its repositories: what a planted fault of the simulation does.
    package func spoil(_ statement: String) throws { try execute(statement) }
}
