public import Logging
public import ManagerModel
public import ManagerStore
public import ProtocolModel
public import ServiceLifecycle
import Synchronization

/// Carries out what `Leadership` decides: on the record, and on the leader's work.
public final class LeadershipKeeper: Service {
    /// What only the leader does.
    public struct Work: Sendable {
        /// Runs until its task is cancelled; then it does nothing more as leader and returns soon.
        public var lead: @Sendable (Term) async -> Void
        /// Called at once, before the task is cancelled: what must not wait for anything.
        public var stop: @Sendable (Term) -> Void

        public init(lead: @escaping @Sendable (Term) async -> Void, stop: @escaping @Sendable (Term) -> Void) {
            self.lead = lead
            self.stop = stop
        }
    }

    private let own: ManagerRecord
    private let store: Store
    private let time: any TimeSource
    private let logger: Logger
    private let tick: Duration
    private let state: Mutex<Leadership>
    private let work: Mutex<Work?> = Mutex(nil)
    private let leading: Mutex<(term: Term, task: Task<Void, Never>)?> = Mutex(nil)
    private let leader = Mutex<ManagerRecord?>(nil)

    public init(
        own: ManagerRecord, store: Store, times: Leadership.Times, time: any TimeSource = SystemTime(), logger: Logger
    ) {
        self.own = own
        self.store = store
        self.time = time
        self.logger = logger
        tick = times.poll / 4
        state = Mutex(Leadership(own: own.id, times: times))
    }

    /// The work of the leader; to be set before `run`.
    public func use(_ work: Work) { self.work.withLock { $0 = work } }

    /// The term of this manager's leadership; `nil` where another leads.
    public var term: Term? { state.withLock { $0.term } }

    /// Who leads, as far as this manager knows; `nil` while nobody does.
    public var currentLeader: ManagerRecord? { term == nil ? leader.withLock { $0 } : own }

    /// Keeps the lease, or watches it, until graceful shutdown; then hands it back.
    public func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                await self.handle(.ticked)
                try? await Task.sleep(for: self.tick)
            }
        }
        // Whoever comes next need not wait for the end of the lease.
        await handle(.retire)
        await settle()
    }

    /// Gives the event to the core and carries out what follows. A question to the record is awaited beside the next ticks.
    private func handle(_ event: Leadership.Event) async {
        let now = time.uptime
        let effects = state.withLock { $0.handle(event, at: now) }
        for effect in effects {
            switch effect {
            case .read, .acquire, .renew: ask(effect)
            case .release(let term): await release(term)
            case .lead(let term): await lead(term)
            case .stop(let term): stop(term)
            }
        }
    }

    private func ask(_ question: Leadership.Effect) {
        // Not awaited: a record that hangs must not keep the clock from ending a leadership.
        Task {
            var answer = Leadership.Event.failed(question)
            do {
                answer = try await self.answer(question) ?? answer
            } catch {
                logger.debug("the lease was not answered", metadata: ["error": "\(error)"])
            }
            await handle(answer)
        }
    }

    private func answer(_ question: Leadership.Effect) async throws -> Leadership.Event? {
        let own = self.own.id
        guard !question.isWrite else {
            // Ahead of what else waits: a lease that is renewed behind a long queue is lost for no reason.
            return try await store.write(isUrgent: true) { sql in try question.ask(for: own, in: sql).answer }
        }
        let (answer, holder) = try await store.read { sql in try question.ask(for: own, in: sql) }
        leader.withLock { $0 = holder }
        return answer
    }

    private func release(_ term: Term) async {
        logger.notice("leadership handed back", metadata: ["term": "\(term)"])
        do {
            _ = try await answer(.release(term))
        } catch {
            logger.warning("the lease was not handed back", metadata: ["term": "\(term)", "error": "\(error)"])
        }
    }

    private func lead(_ term: Term) async {
        // Its last term's work has been cancelled; two of them never run at once.
        await settle()
        guard state.withLock({ $0.term }) == term, let work = work.withLock({ $0 }) else { return }
        // Once this term is over, whoever led before it does not lead again by that.
        leader.withLock { $0 = nil }
        logger.notice("this manager leads", metadata: ["term": "\(term)"])
        let task = Task { await work.lead(term) }
        leading.withLock { $0 = (term, task) }
        // The term may have ended while its work began.
        if state.withLock({ $0.term }) != term { stop(term) }
    }

    private func stop(_ term: Term) {
        logger.notice("this manager leads no longer", metadata: ["term": "\(term)"])
        work.withLock { $0 }?.stop(term)
        leading.withLock { $0 }?.task.cancel()
    }

    /// Waits for the end of cancelled work.
    private func settle() async {
        guard let last = leading.withLock({ $0 })?.task else { return }
        last.cancel()
        await last.value
        leading.withLock { $0 = nil }
    }
}
