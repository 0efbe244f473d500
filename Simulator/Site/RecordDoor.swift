import ManagerModel
import ManagerStore
import ProtocolModel
import SimulatorWorld

/// One manager's way to the record, as `Store` is it in the daemon: writes that wait become one batch, each is answered after
/// its commit, and what cannot be done at once is tried again for a while.
///
/// A process that is stopped may have sent its commit already, may stand in the middle of a transaction, or may not have
/// begun: then what it had decided before is done after it.
final class RecordDoor {
    private struct Write {
        /// Runs the transaction, and returns what tells its caller.
        let run: () -> () -> Void
        let refuse: (StoreError) -> Void
    }

    private static let patience = (writing: SimulatedTime.seconds(12), reading: SimulatedTime.seconds(6))

    let writer: SynchronousStore.Writer
    private let record: Record
    private unowned let manager: SimulatedManager
    private let world: World
    private var waiting: [Write] = []
    private var isWorking = false
    /// The last batch or read failed for want of the database: the next asks once, and is refused at once.
    private var isKnownAway = false

    init(_ record: Record, of manager: SimulatedManager, name: String) {
        self.record = record
        self.manager = manager
        world = manager.world
        writer = SynchronousStore.Writer(name: name, isShared: record.isShared)
    }

    private var isReachable: Bool { record.isReachable(from: manager.host) }

    // MARK: Writing

    /// Runs a transaction when its turn comes, and answers after it is committed. The process may die before either.
    ///
    /// - Parameters:
    ///   - term: of the leader in whose name it is.
    ///   - isUrgent: it goes before those that wait.
    func write<Answer>(
        as term: Term?, isUrgent: Bool, _ body: @escaping (Transaction) throws -> Answer,
        _ done: @escaping (Result<Answer, any Error>) -> Void
    ) {
        let write = Write(
            run: { [unowned self] in
                let (result, changes) = transact(term, body)
                return { [unowned self] in
                    manager.noticed(changes)
                    done(result)
                }
            }, refuse: { done(.failure($0)) })
        if isUrgent { waiting.insert(write, at: 0) } else { waiting.append(write) }
        begin()
    }

    private func transact<Answer>(
        _ term: Term?, _ body: (Transaction) throws -> Answer
    ) -> (Result<Answer, any Error>, [Change]) {
        func fenced(_ sql: Transaction) throws -> Answer {
            if let term { try manager.fence(term, in: sql) }
            return try body(sql)
        }
        do {
            if record.quality.isFull { throw StoreError.diskFull }
            if world.random.chance(record.quality.retry) {
                try? record.store.abandon(by: writer) { _ = try fenced($0) }
            }
            let (answer, changes) = try record.store.write(by: writer, fenced)
            if let term { manager.evidence.leaderWatch?.committed(by: manager.host.index, in: term) }
            return (.success(answer), changes)
        } catch {
            return (.failure(error), [])
        }
    }

    private func begin() {
        guard !isWorking, !waiting.isEmpty else { return }
        isWorking = true
        // A batch ends when it has taken long, so that on a slow disk it holds few.
        let isSlow = record.quality.latency.upperBound > .milliseconds(500)
        let batch = Array(waiting.prefix(isSlow ? world.random.number(1...3) : waiting.count))
        waiting.removeFirst(batch.count)
        attempt(batch, until: world.now + (isKnownAway ? .zero : Self.patience.writing))
    }

    private func attempt(_ batch: [Write], until end: SimulatedTime) {
        world.after(world.random.time(record.quality.latency)) { [self, manager] in
            // Of a process that ends now, the commit may be on its way.
            guard manager.isAlive || world.random.chance(0.3) else { return }
            guard !manager.isStopped else { return standStill(batch, until: end) }
            commit(batch, until: end)
        }
    }

    private func commit(_ batch: [Write], until end: SimulatedTime) {
        guard isReachable else {
            guard world.now < end else {
                isKnownAway = true
                return manager.after(.milliseconds(1)) { [self] in
                    let refused = batch + waiting
                    waiting = []
                    for write in refused { write.refuse(.unavailable(.unreachable("no server answers"))) }
                    finish()
                }
            }
            return manager.after(.milliseconds(400)) { [self] in attempt(batch, until: end) }
        }
        guard !record.isTaken(for: manager.host.index) else {
            return world.after(.milliseconds(50)) { [self, manager] in
                if manager.isAlive { attempt(batch, until: end) }
            }
        }
        isKnownAway = false
        let answers = batch.map { $0.run() }
        deliver { [self] in
            for answer in answers { answer() }
            finish()
        }
    }

    /// Carries an answer of the record back.
    private func deliver(_ answer: @escaping () -> Void) {
        manager.after(world.random.time(record.quality.answer)) { [self] in
            guard manager.host.isDeaf else { return answer() }
            manager.after(.milliseconds(20)) { [self] in deliver(answer) }
        }
    }

    private func finish() {
        isWorking = false
        begin()
    }

    private func standStill(_ batch: [Write], until end: SimulatedTime) {
        switch world.random.below(3) {
        case 0: commit(batch, until: end)
        case 1: manager.after(.zero) { [self] in attempt(batch, until: end) }
        default:
            let index = manager.host.index
            if isReachable, !record.isTaken(for: index) { record.keepTurn(index) }
            manager.after(.zero) { [self] in
                record.giveTurn(index)
                attempt(batch, until: end)
            }
        }
    }

    // MARK: Reading

    func read<Answer>(
        _ body: @escaping (Transaction) throws -> Answer, _ done: @escaping (Result<Answer, any Error>) -> Void
    ) {
        read(body, until: world.now + (isKnownAway ? .zero : Self.patience.reading), done)
    }

    private func read<Answer>(
        _ body: @escaping (Transaction) throws -> Answer, until end: SimulatedTime,
        _ done: @escaping (Result<Answer, any Error>) -> Void
    ) {
        world.after(world.random.time(.milliseconds(1)...(.milliseconds(3)))) { [self, manager] in
            guard manager.isAlive else { return }
            // What was asked before the process was stopped is answered, and heard when it goes on.
            if manager.isStopped, world.random.chance(0.5) {
                return manager.after(.zero) { [self] in read(body, until: end, done) }
            }
            guard isReachable else {
                guard world.now < end else {
                    return manager.after(.milliseconds(1)) {
                        done(.failure(StoreError.unavailable(.unreachable("no server answers"))))
                    }
                }
                return manager.after(.milliseconds(400)) { [self] in read(body, until: end, done) }
            }
            let result = Result { try record.store.read(body) }
            deliver { done(result) }
        }
    }
}
