package import ProtocolModel

/// The record in memory and without threads, over the same schema, connection and repositories as `Store`: for the
/// simulator, in which every commit is a step of its own, and which keeps the record when its manager dies.
package final class SynchronousStore {
    private let connection: SQLiteConnection
    /// Batches that are in, as the turn of a shared record counts them.
    private var batches: Int64 = 0

    /// One manager's process, which keeps in its memory what it has seen of the record.
    package final class Writer {
        /// Tells its batches in the change feed from those of others.
        package let name: String
        let nodeChanges: NodeChanges
        var lastBatch: Int64?
        let isShared: Bool

        /// - Parameter isShared: whether other managers write, too, and are told of this one's changes.
        package init(name: String, isShared: Bool) {
            self.name = name
            self.isShared = isShared
            nodeChanges = NodeChanges(isShared: isShared)
        }
    }

    /// - Throws: `StoreError.cannotOpen`, or what a migration met.
    package init(at now: Timestamp) throws {
        connection = try SQLiteConnection(path: ":memory:", role: .writing)
        try Migrator(migrations: Migration.all).run(on: connection, now: now)
    }

    /// Runs `body` on the last commit.
    package func read<Result>(_ body: (Transaction) throws -> Result) throws -> Result {
        try body(Transaction(connection))
    }

    /// Runs `body` in a transaction of its own and commits it. An error thrown by `body` undoes all that it did.
    package func write<Result>(
        by writer: Writer, _ body: (Transaction) throws -> Result
    ) throws -> (result: Result, changes: [Change]) {
        connection.nodeChanges = writer.nodeChanges
        let transaction = Transaction(connection)
        try connection.beginBatch()
        if writer.isShared, batches != writer.lastBatch { writer.nodeChanges.missed() }
        connection.memory.begin()
        defer { connection.memory.end() }
        connection.nodeChanges.begin()
        do {
            let result = try body(transaction)
            let changes = transaction.changes
            if writer.isShared, !changes.isEmpty { try transaction.changeFeed.append(changes, by: writer.name) }
            try connection.commitBatch()
            connection.nodeChanges.committed()
            batches += 1
            writer.lastBatch = batches
            return (result, changes)
        } catch {
            connection.rollBack()
            connection.nodeChanges.allUndone()
            throw error
        }
    }

    /// Runs `body` and undoes what it did, as when the process ends, or the engine refuses, before the commit.
    package func abandon(by writer: Writer, _ body: (Transaction) throws -> Void) throws {
        struct Abandoned: Error {}
        do {
            _ = try write(by: writer) { sql in
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
