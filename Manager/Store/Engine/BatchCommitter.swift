import Foundation
import ProtocolModel
import Synchronization

/// A write that waits for its commit.
protocol PendingWrite: Sendable {
    /// Whether it succeeded, as far as it depends on itself. May be asked again, after the earlier transaction was undone.
    func run(in transaction: Transaction) -> Bool
    /// Tells the caller, after the commit succeeded (`nil`) or failed.
    func finish(_ failure: StoreError?)
}

/// Brings writes into the record, as many as wait in one transaction, and again as a whole where others were in the way or
/// the database was lost. Used by the writing thread alone.
final class BatchCommitter {
    private let connection: any SQLConnection
    private let writer: String
    private let patience: StorePatience
    private let health: StoreHealth
    private let clock = ContinuousClock()
    private var random = SystemRandomNumberGenerator()

    /// - Parameter writer: who tells other managers what changed, where there may be some.
    init(connection: any SQLConnection, writer: String, patience: StorePatience, health: StoreHealth) {
        self.connection = connection
        self.writer = writer
        self.patience = patience
        self.health = health
    }

    /// - Parameters:
    ///   - urgent: those that came meanwhile and go first, asked before each batch but the first: the writes may be many, and
    ///     the disk slow.
    ///   - done: called after each commit, before anybody hears of it.
    ///   - told: called after each commit with what it changed.
    func commit(
        _ writes: [any PendingWrite], urgent: () -> [any PendingWrite] = { [] }, done: () -> Void = {},
        told: ([Change]) -> Void
    ) {
        var rest = writes[...]
        var isFirst = true
        while !rest.isEmpty {
            if !isFirst { rest = (urgent() + rest)[...] }
            isFirst = false
            do throws(StoreError) {
                let batch = try settled(rest)
                done()
                health.noteBatch(nil)
                // First, so that whoever has ended a session finds it ended.
                told(batch.changes)
                for write in rest.prefix(batch.count) { write.finish(nil) }
                rest = rest.dropFirst(batch.count)
            } catch {
                health.noteBatch(error)
                // All that wait: they would meet the same, one after another, while more of them came.
                for write in rest { write.finish(error) }
                return
            }
        }
    }

    private struct Batch {
        var count = 0
        var changes: [Change] = []
    }

    /// Tries until a batch is in the record, or is certain not to come in while anybody would wait for it.
    private func settled(_ writes: ArraySlice<any PendingWrite>) throws(StoreError) -> Batch {
        var backoff = Backoff(first: .milliseconds(4), maximum: .milliseconds(400), jitter: 0.5)
        // Once the database is known to be away, a write asks for it once and is refused at once.
        let isAway = if case .unavailable? = health.writing { true } else { false }
        let end = clock.now + (isAway ? .zero : patience.writing)
        // Nearly every write succeeds, or fails before it has changed anything: a savepoint for each would cost more than
        // to begin anew where one does not.
        var hasSavepoints = false
        while true {
            do throws(StoreError) {
                if let batch = try attempt(writes, hasSavepoints: hasSavepoints, until: end) { return batch }
                hasSavepoints = true
                connection.rollBack()
                connection.nodeChanges.allUndone()
            } catch {
                connection.rollBack()
                connection.nodeChanges.allUndone()
                guard error.isTransient, clock.now < end else { throw error }
                pause(&backoff)
            }
        }
    }

    /// - Returns: `nil` where one of several failed after it had changed something, and nothing can undo it alone.
    private func attempt(
        _ writes: ArraySlice<any PendingWrite>, hasSavepoints: Bool, until end: ContinuousClock.Instant
    ) throws(StoreError) -> Batch? {
        let start = clock.now
        var batch = Batch()
        var isEmpty = true
        try connection.beginBatch()
        connection.memory.begin()
        defer { connection.memory.end() }
        for write in writes {
            if batch.count > 0, clock.now - start > patience.batch { break }
            if hasSavepoints { try connection.beginWrite() }
            connection.nodeChanges.begin()
            let transaction = Transaction(connection)
            let hasSucceeded = write.run(in: transaction)
            // Whatever the body made of it.
            if let broken = connection.broken { throw broken }
            if hasSucceeded {
                isEmpty = false
                batch.changes += transaction.changes
                if hasSavepoints { try connection.keepWrite() }
            } else {
                connection.nodeChanges.undone()
                if hasSavepoints {
                    try connection.undoWrite()
                    connection.memory.forget()
                } else if transaction.hasChanged, writes.count > 1 {
                    return nil
                }
            }
            batch.count += 1
        }
        guard !isEmpty else {
            connection.rollBack()
            return batch
        }
        if connection.engine == .mariadb { try feed(batch.changes) }
        do throws(StoreError) {
            try connection.commitBatch()
        } catch .unavailable(.outcomeUnknown) {
            guard try isIn(until: end) else { throw .conflict("the connection was lost before the commit") }
        }
        connection.nodeChanges.committed()
        return batch
    }

    /// Tells other managers, in the transaction itself, so that they hear of all that is in the record and of nothing else.
    private func feed(_ changes: [Change]) throws(StoreError) {
        guard !changes.isEmpty else { return }
        do {
            try Transaction(connection).changeFeed.append(changes, by: writer)
        } catch let error as StoreError {
            throw error
        } catch {
            throw .corrupt("the change feed: \(error)")
        }
        if let broken = connection.broken { throw broken }
    }

    /// Whether the batch is in whose commit was not answered.
    private func isIn(until end: ContinuousClock.Instant) throws(StoreError) -> Bool {
        var backoff = Backoff(first: .milliseconds(4), maximum: .milliseconds(400), jitter: 0.5)
        // Longer than for others: an answer that is not known is worse than one that comes late.
        let end = end + patience.writing
        while true {
            connection.rollBack()
            do throws(StoreError) {
                return try connection.settle()
            } catch {
                connection.rollBack()
                guard error.isTransient, clock.now < end else { throw .unavailable(.outcomeUnknown) }
                pause(&backoff)
            }
        }
    }

    private func pause(_ backoff: inout Backoff) {
        let wait = backoff.next(using: &random)
        Thread.sleep(forTimeInterval: wait / .seconds(1))
    }
}
