import Dispatch
import Foundation
import ManagerModel
import ProcessThreads
public import ProtocolModel
import Synchronization

/// What a committed transaction changed, for those who wait for it.
public enum Change: Sendable, Hashable {
    /// The node's assignment set has a new revision.
    case assignments(NodeID)
    case operation(OperationID)
    case events(last: Int64)
    /// A user, token or certificate changed: cached permissions are stale.
    case identity
    /// A session, an API key or a signing key changed: what was read of them is stale.
    case credentials
    /// Anything may have changed: what another manager did was not learned one by one.
    case everything
}

/// The manager's record, in SQLite or MariaDB.
///
/// Writers share commits: all writes that wait when the writing thread comes round become one transaction with a savepoint
/// each, so that they share one fsync and still fail alone. No write is answered before that commit is durable (P2). Reads
/// run beside them on their own threads and see the last commit.
///
/// Bodies of reads and writes may run more than once, each time from the start and in a new transaction: where another
/// manager was in the way, or the database was lost. They have no effect beyond the transaction.
public final class Store: Sendable {
    public let location: StoreLocation
    /// Tells this store's batches in the change feed from those of others.
    public let writer = UUID().uuidString
    // Bounded, so that a slow disk shows as `busy` and not as memory.
    // The patient ones are agents' usage, at most one of each, so that a fleet of any size has room: an agent that was
    // refused would come back, and make a busy manager busier.
    private let writes = JobQueue<any PendingWrite>(limit: 16_384, patientLimit: 131_072)
    private let reads = JobQueue<@Sendable (StoreReader) -> Void>(limit: 16_384)
    private let threads = ThreadGroup(maximum: 1 + Store.readers)
    private static let readers = 3
    private let observers = Mutex<[@Sendable ([Change]) -> Void]>([])
    private let health = StoreHealth()
    private let time: any TimeSource
    /// Grows with each commit, before anybody is told of it.
    private let commits = Atomic<UInt64>(0)
    /// Held for as long as the record is open.
    private let lock: Mutex<FileLock?>

    /// Opens the record, making it where it is absent, and brings its schema up to date.
    ///
    /// - Throws: `StoreError.cannotOpen`, `.inUse`, `.unavailable`, `.schemaTooNew`, or what a migration met.
    public init(
        _ location: StoreLocation, patience: StorePatience = StorePatience(), time: any TimeSource = SystemTime()
    ) throws {
        self.location = location
        self.time = time
        let migrator = Migrator(migrations: Migration.all)
        let inventories = DecodedColumn<NodeInventory>.ofNodes()
        let connection: any SQLConnection
        switch location {
        case .file(let path):
            lock = Mutex(try FileLock(of: path))
            connection = try SQLiteConnection(path: path, role: .writing, inventories: inventories)
            try migrator.run(on: connection, now: time.timestamp)
        case .mariaDB(let address):
            lock = Mutex(nil)
            let maintaining = try MariaDBConnection(address, role: .maintaining, times: patience.times)
            try Self.again(for: patience.writing) { try migrator.run(on: maintaining, now: time.timestamp) }
            connection = try MariaDBConnection(
                address, role: .writing, times: patience.times, inventories: inventories)
        }
        let committer = BatchCommitter(connection: connection, writer: writer, patience: patience, health: health)
        threads.start(name: "roost-store-w", owning: committer) { [weak self, writes] committer in
            while let batch = writes.take(upTo: 512) {
                committer.commit(batch, urgent: { writes.takeUrgent() }, done: { self?.noteCommit() }) {
                    self?.tell($0)
                }
                self?.noteBatch()
            }
        }
        for index in 0..<Self.readers {
            let reader = StoreReader(
                connection: try Self.reading(location, patience, inventories), index: index, patience: patience,
                health: health)
            threads.start(name: "roost-store-r\(index)", owning: reader) { [reads] reader in
                while let jobs = reads.take(upTo: 1) {
                    for job in jobs { job(reader) }
                }
            }
        }
    }

    /// A record in an SQLite file.
    public convenience init(path: String, time: any TimeSource = SystemTime()) throws {
        try self.init(.file(path), time: time)
    }

    /// Runs what may run again, for as long as others are in its way: a replicated transaction may end a single statement.
    private static func again(for patience: Duration, _ body: () throws -> Void) throws {
        var backoff = Backoff(first: .milliseconds(4), maximum: .milliseconds(400), jitter: 0.5)
        var random = SystemRandomNumberGenerator()
        let end = ContinuousClock.now + patience
        while true {
            do {
                return try body()
            } catch StoreError.conflict(let message) {
                guard ContinuousClock.now < end else { throw StoreError.conflict(message) }
                Thread.sleep(forTimeInterval: backoff.next(using: &random) / .seconds(1))
            }
        }
    }

    private static func reading(
        _ location: StoreLocation, _ patience: StorePatience, _ inventories: DecodedColumn<NodeInventory>
    ) throws(StoreError) -> any SQLConnection {
        switch location {
        case .file(let path): try SQLiteConnection(path: path, role: .reading, inventories: inventories)
        case .mariaDB(let address):
            try MariaDBConnection(address, role: .reading, times: patience.times, inventories: inventories)
        }
    }

    /// Called on the writing thread after each commit; must be quick.
    public func observe(_ observer: @escaping @Sendable ([Change]) -> Void) {
        observers.withLock { $0.append(observer) }
    }

    /// Tells every observer of changes, those of other managers included.
    public func tell(_ changes: [Change]) {
        guard !changes.isEmpty else { return }
        for observer in observers.withLock({ $0 }) { observer(changes) }
    }

    private func noteCommit() { commits.add(1, ordering: .sequentiallyConsistent) }

    /// What is read after asking for it is of that revision, or newer; as long as it stays the same, so does the record. `nil` where
    /// others write to the record as well.
    public var revision: UInt64? {
        guard case .file = location else { return nil }
        return commits.load(ordering: .sequentiallyConsistent)
    }

    /// For `store status`, which is another process.
    private func noteBatch() {
        let (waiting, now) = (writes.count, time.timestamp.milliseconds)
        lock.withLock { $0?.note(waiting: waiting, lastCommit: now) }
    }

    /// Finishes what was accepted and closes the record. To be called once, not from the store's own threads.
    public func close() {
        writes.close()
        reads.close()
        threads.waitForAll()
        lock.withLock { $0 = nil }
    }

    private static func add<Job>(
        to queue: JobQueue<Job>, _ job: Job, isPatient: Bool = false, isUrgent: Bool = false
    ) throws(StoreError) {
        do throws(JobQueue<Job>.Refusal) {
            try queue.add(job, isPatient: isPatient, isUrgent: isUrgent)
        } catch {
            switch error {
            case .full: throw .busy
            case .closed: throw .closed
            }
        }
    }

    // MARK: Reading

    /// Runs `body` in a snapshot of the last commit.
    ///
    /// - Throws: what `body` throws, or a `StoreError`.
    public func read<Result: Sendable>(
        _ body: @escaping @Sendable (Transaction) throws -> Result
    ) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            do throws(StoreError) {
                try Self.add(to: reads) { reader in continuation.resume(with: reader.read(body)) }
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
        try Self.add(to: reads) { reader in
            let result = reader.read(body)
            answer.withLock { $0 = result }
            done.signal()
        }
        done.wait()
        guard let result = answer.withLock({ $0 }) else { throw StoreError.closed }
        return try result.get()
    }

    // MARK: Writing

    /// Runs `body` in a transaction and returns once it is durable. An error thrown by `body` undoes all that it did.
    ///
    /// - Parameters:
    ///   - isPatient: others that came later may go first: nobody waits for this one, and there are many of its kind.
    ///   - isUrgent: it waits for no more than the batch that is under way, however many writes wait. For few.
    /// - Throws: what `body` throws, or a `StoreError`.
    public func write<Result: Sendable>(
        isPatient: Bool = false, isUrgent: Bool = false, _ body: @escaping @Sendable (Transaction) throws -> Result
    ) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            do throws(StoreError) {
                try Self.add(
                    to: writes, Write(body: body, continuation: continuation), isPatient: isPatient, isUrgent: isUrgent)
            } catch {
                continuation.resume(throwing: error)
            }
        }
    }

    // MARK: Health

    /// Writes that wait for their commit.
    public var waitingWrites: Int { writes.count }

    /// Why the store serves less than all; empty when it is well. After a batch failed this writes something, so that the
    /// answer is of now.
    public func shortcomings() async -> [String] {
        var reasons: [String] = []
        if health.writing != nil {
            let now = time.timestamp
            _ = try? await write { sql in try sql.siteSettings.set("store.probe", String(now.milliseconds)) }
            if let error = health.writing { reasons.append("nothing can be changed: \(error)") }
        }
        do {
            _ = try await read { sql in try sql.events.lastSequence() }
            if health.readsOld {
                reasons.append("answers come from a database node without quorum and may be old")
            }
        } catch {
            reasons.append("the store does not answer: \(error)")
        }
        return reasons
    }
}

/// One reading thread's connection.
final class StoreReader {
    private let connection: any SQLConnection
    private let index: Int
    private let patience: StorePatience
    private let health: StoreHealth

    init(connection: any SQLConnection, index: Int, patience: StorePatience, health: StoreHealth) {
        self.connection = connection
        self.index = index
        self.patience = patience
        self.health = health
    }

    func read<Output>(_ body: (Transaction) throws -> Output) -> Result<Output, any Error> {
        let clock = ContinuousClock()
        let end = clock.now + patience.reading
        var backoff = Backoff(first: .milliseconds(4), maximum: .milliseconds(400), jitter: 0.5)
        var random = SystemRandomNumberGenerator()
        while true {
            do throws(StoreError) {
                try connection.beginRead()
                let result = Result { try body(Transaction(connection)) }
                if let broken = connection.broken { throw broken }
                connection.endRead()
                noteAge()
                return result
            } catch {
                connection.rollBack()
                guard error.isTransient, clock.now < end else { return .failure(error) }
                Thread.sleep(forTimeInterval: backoff.next(using: &random) / .seconds(1))
            }
        }
    }

    private func noteAge() {
        guard let connection = connection as? MariaDBConnection else { return }
        health.noteReader(index, readsOld: connection.readsOld)
    }
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
        // What a body said in a transaction that is undone may rest on what others did in it.
        if let failure { return continuation.resume(throwing: failure) }
        continuation.resume(with: outcome.withLock { $0 } ?? .failure(StoreError.closed))
    }
}
