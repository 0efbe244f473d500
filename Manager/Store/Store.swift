import Dispatch
public import ProtocolModel
import Synchronization

//// What a committed transaction changed, for those who wait for it.
public enum Change: Sendable, Hashable {
    /// The node's assignment set has a new revision.
    case assignments(NodeID)
    case operation(OperationID)
    case events(last: Int64)
    /// A user, token or certificate changed: cached permissions are stale.
    case identity
}

/// The manager's record, in SQLite.
///
/// Writers share commits: all writes that wait when the writing thread comes round become one SQLite transaction with a
/// savepoint each, so that they share one fsync and still fail alone. No write is answered before that commit is on the
/// disk (P2). Reads run beside them on their own threads and see the last commit.
public final class Store: Sendable {
    private let writers: WorkerThreads<any PendingWrite>
    private let readers: WorkerThreads<@Sendable (SQLiteConnection) -> Void>
    private let observers = Mutex<[@Sendable ([Change]) -> Void]>([])

    /// Opens or creates the file at `path` and brings its schema up to date.
    ///
    /// - Throws: `StoreError.cannotOpen`, `.schemaTooNew`, or what a migration met.
    public init(path: String, time: any TimeSource = SystemTime()) throws {
        let connection = try SQLiteConnection(path: path, readOnly: false)
        try Migrator(migrations: Migration.all).run(on: connection, now: time.timestamp)
        writers = WorkerThreads(limit: 16_384)
        readers = WorkerThreads(limit: 16_384)
        // SAFETY: the connection moves to the writing thread, which alone uses it from here on.
        nonisolated(unsafe) let writing = connection
        writers.startThread(named: "roost-store-w", batch: 512) { [weak self] writes in
            self?.commit(writes, on: writing)
        }
        for index in 0..<3 {
            // SAFETY: as above, for this one reading thread.
            nonisolated(unsafe) let reading = try SQLiteConnection(path: path, readOnly: true)
            readers.startThread(named: "roost-store-r\(index)", batch: 1) { jobs in
                for job in jobs { job(reading) }
            }
        }
    }

    /// Called on the writing thread after each commit; must be quick.
    public func observe(_ observer: @escaping @Sendable ([Change]) -> Void) {
        observers.withLock { $0.append(observer) }
    }

    /// Finishes what was accepted and closes the file. To be called once, not from the store's own threads.
    public func close() {
        writers.close()
        readers.close()
    }

    /// Runs `body` in a snapshot of the last commit.
    ///
    /// - Throws: what `body` throws, or a `StoreError`.
    public func read<Result: Sendable>(
        _ body: @escaping @Sendable (Transaction) throws -> Result
    ) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            do throws(StoreError) {
                try readers.submit { connection in
                    continuation.resume(
                        with: Swift.Result {
                            try connection.run("BEGIN")
                            defer { try? connection.run("COMMIT") }
                            return try body(Transaction(connection))
                        })
                }
            } catch {
                continuation.resume(throwing: error)
            }
        }
    }

    /// `read` for threads that may block; never to be called on a cooperative one.
    public func readBlocking<Result: Sendable>(
        _ body: @escaping @Sendable (Transaction) throws -> Result
    ) throws -> Result {
        let done = DispatchSemaphore(value: 0)
        let answer = Mutex<Swift.Result<Result, any Error>?>(nil)
        try readers.submit { connection in
            let result = Swift.Result {
                try connection.run("BEGIN")
                defer { try? connection.run("COMMIT") }
                return try body(Transaction(connection))
            }
            answer.withLock { $0 = result }
            done.signal()
        }
        done.wait()
        guard let result = answer.withLock({ $0 }) else { throw StoreError.closed }
        return try result.get()
    }

    /// Runs `body` in a transaction and returns once it is durable. An error thrown by `body` undoes all that it did.
    ///
    /// - Throws: what `body` throws, or a `StoreError`.
    public func write<Result: Sendable>(
        _ body: @escaping @Sendable (Transaction) throws -> Result
    ) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            do throws(StoreError) {
                try writers.submit(Write(body: body, continuation: continuation))
            } catch {
                continuation.resume(throwing: error)
            }
        }
    }

    /// One commit for all that wait.
    private func commit(_ writes: [any PendingWrite], on connection: SQLiteConnection) {
        var changes: [Change] = []
        do {
            try connection.run("BEGIN IMMEDIATE")
            for write in writes {
                let transaction = Transaction(connection)
                try connection.run("SAVEPOINT w")
                connection.nodeChanges.begin()
                if write.run(in: transaction) {
                    changes += transaction.changes
                } else {
                    connection.nodeChanges.undone()
                    // Fails where the engine has undone the whole transaction (disk full): then all writes fail.
                    try connection.run("ROLLBACK TO w")
                }
                try connection.run("RELEASE w")
            }
            try connection.run("COMMIT")
            connection.nodeChanges.committed()
        } catch {
            try? connection.run("ROLLBACK")
            connection.nodeChanges.allUndone()
            for write in writes { write.finish(error) }
            return
        }
        for write in writes { write.finish(nil) }
        guard !changes.isEmpty else { return }
        for observer in observers.withLock({ $0 }) { observer(changes) }
    }
}

/// A write that waits for its commit.
private protocol PendingWrite: Sendable {
    /// Whether it succeeded, as far as it depends on itself.
    func run(in transaction: Transaction) -> Bool
    /// Tells the caller, after the commit succeeded (`nil`) or failed.
    func finish(_ failure: StoreError?)
}

private final class Write<Output: Sendable>: PendingWrite {
    private let body: @Sendable (Transaction) throws -> Output
    private let continuation: CheckedContinuation<Output, any Error>
    private let outcome = Mutex<Result<Output, any Error>?>(nil)

    init(body: @escaping @Sendable (Transaction) throws -> Output, continuation: CheckedContinuation<Output, any Error>)
    {
        self.body = body
        self.continuation = continuation
    }

    func run(in transaction: Transaction) -> Bool {
        let result = Result { try body(transaction) }
        outcome.withLock { $0 = result }
        if case .success = result { return true }
        return false
    }

    func finish(_ failure: StoreError?) {
        let result = outcome.withLock { $0 } ?? .failure(failure ?? .closed)
        switch (result, failure) {
        case (.success, .some(let failure)): continuation.resume(throwing: failure)
        case (.success(let value), .none): continuation.resume(returning: value)
        case (.failure(let error), _): continuation.resume(throwing: error)
        }
    }
}
