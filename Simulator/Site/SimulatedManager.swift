import ManagerFleet
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import ProtocolWire
import SimulatorWorld
import SwiftProtobuf

/// One life of the manager's process: `FleetCore` and the sessions' machines over the record, as the daemon runs them.
final class SimulatedManager {
    /// How the store behaves just now.
    struct StoreQuality {
        var latency: ClosedRange<SimulatedTime> = .milliseconds(1)...(.milliseconds(4))
        var isFull = false
        /// The share of transactions that have to be run again.
        var retry = 0.0
    }

    let world: World
    let store: SynchronousStore
    let evidence: Evidence
    let planted: PlantedFault?
    let settings: FleetCore.Settings
    var quality = StoreQuality()
    private(set) var isAlive = true
    private var core: FleetCore
    private(set) var conversations: [ConnectionID: Conversation] = [:]
    private var lastConnection: UInt64 = 0
    private var writerIsFree = SimulatedTime.zero
    private var isWoken = false
    private var isPushing = false
    let began: Timestamp
    /// Of the conversation that speaks just now.
    var speakingEpoch: UInt64 = 0
    /// Of the newest session of a node that reported.
    private var reported: [NodeID: UInt64] = [:]

    init(
        world: World, store: SynchronousStore, evidence: Evidence, settings: FleetCore.Settings,
        planted: PlantedFault?
    ) {
        self.world = world
        self.store = store
        self.evidence = evidence
        self.planted = planted
        self.settings = settings
        core = FleetCore(settings: settings)
        began = world.timestamp
    }

    var now: Moment {
        Moment(timestamp: world.timestamp, uptime: Uptime(sinceStart: .seconds(5000) + world.now.duration))
    }

    // MARK: Life

    func start() {
        world.trace.note(world, "manager starts")
        guard let nodes = try? store.read({ try $0.nodes.list() }) else { return }
        carryOut(core.handle(.began(nodes), at: now)) { _ in }
        tick()
    }

    /// The process is gone; the kernel closes its sockets, and the record keeps what was committed.
    func kill() {
        guard isAlive else { return }
        isAlive = false
        world.trace.note(world, "manager gone")
        for id in conversations.keys.sorted() { conversations[id]?.connection.close(.listener) }
        conversations = [:]
    }

    /// Ends every session with a word first.
    func stop() {
        for id in conversations.keys.sorted() { conversations[id]?.apply { $0.refuse(.shuttingDown) } }
        world.after(.milliseconds(200)) { self.kill() }
    }

    private func tick() {
        world.after(.seconds(1)) {
            guard self.isAlive else { return }
            self.carryOut(self.core.handle(.ticked, at: self.now)) { _ in self.tick() }
        }
    }

    func accept(_ connection: Connection, peer: VerifiedPeer) -> Bool {
        guard isAlive else { return false }
        lastConnection += 1
        let conversation = Conversation(
            manager: self, id: ConnectionID(lastConnection), connection: connection, peer: peer)
        conversations[conversation.id] = conversation
        conversation.begin()
        return true
    }

    func forget(_ id: ConnectionID) { conversations[id] = nil }

    // MARK: Store

    /// Runs a transaction when its turn comes, and answers after it is committed. The process may die before either.
    func write<Answer>(
        _ body: @escaping (Transaction) throws -> Answer, _ done: @escaping (Result<Answer, any Error>) -> Void
    ) {
        writerIsFree = max(world.now, writerIsFree) + world.random.time(quality.latency)
        world.after(writerIsFree - world.now) {
            guard self.isAlive else { return }
            let result: Result<Answer, any Error>
            do {
                if self.quality.isFull { throw StoreError.diskFull }
                if self.world.random.chance(self.quality.retry) { try? self.store.abandon { _ = try body($0) } }
                let (answer, changes) = try self.store.write(body)
                self.noticed(changes)
                result = .success(answer)
            } catch {
                result = .failure(error)
            }
            self.world.after(.milliseconds(1)) { if self.isAlive { done(result) } }
        }
    }

    func read<Answer>(
        _ body: @escaping (Transaction) throws -> Answer, _ done: @escaping (Result<Answer, any Error>) -> Void
    ) {
        world.after(world.random.time(.milliseconds(1)...(.milliseconds(3)))) {
            guard self.isAlive else { return }
            let result = Result { try self.store.read(body) }
            self.world.after(.milliseconds(1)) { if self.isAlive { done(result) } }
        }
    }

    private func noticed(_ changes: [Change]) {
        guard !changes.isEmpty else { return }
        for effect in core.handle(.committed(changes), at: now) {
            if case .wake = effect { wake() }
        }
    }

    // MARK: Fleet

    private func wake() {
        isWoken = true
        guard !isPushing else { return }
        isPushing = true
        world.after(.milliseconds(1)) { self.push() }
    }

    /// One round of pushes after another, as the daemon's task does it.
    private func push() {
        guard isAlive else { return }
        guard isWoken else {
            isPushing = false
            return
        }
        isWoken = false
        let effects = core.handle(.woken, at: now)
        var left = effects.count
        guard left > 0 else { return push() }
        for effect in effects {
            carryOut([effect]) { _ in
                left -= 1
                if left == 0 { self.push() }
            }
        }
    }

    /// An event of a conversation; `done` is called when all that follows from it was carried out.
    func handle(
        _ event: FleetCore.Event, _ done: @escaping (Result<Roost_V1_Welcome, SessionRefusal>?) -> Void
    ) {
        carryOut(core.handle(event, at: now), done)
    }

    private func carryOut(
        _ effects: [FleetCore.Effect], from first: Int = 0, answer: Result<Roost_V1_Welcome, SessionRefusal>? = nil,
        _ done: @escaping (Result<Roost_V1_Welcome, SessionRefusal>?) -> Void
    ) {
        var answer = answer
        for index in first..<effects.count {
            switch effects[index] {
            case .wake: wake()
            case .work(let work, let at):
                return perform(work, at: at) { result in
                    self.carryOut(self.core.handle(.finished(work, result), at: self.now)) { later in
                        self.carryOut(effects, from: index + 1, answer: later ?? answer, done)
                    }
                }
            case .send(let id, let message): conversations[id]?.write(message)
            case .close(let id, let refusal): close(id, refusal)
            case .welcome(_, let welcome): answer = .success(welcome)
            case .refuse(_, let refusal): answer = .failure(refusal)
            case .notice: break
            }
        }
        done(answer)
    }

    private func close(_ id: ConnectionID, _ refusal: SessionRefusal) {
        if planted == .removedNodeKept, refusal == .nodeRemoved { return }
        if planted == .supersededSessionHeard, refusal == .superseded { return }
        conversations[id]?.apply { $0.refuse(refusal) }
    }

    private func perform(
        _ work: FleetWork, at: Timestamp, _ done: @escaping (Result<FleetWork.Answer, any Error>) -> Void
    ) {
        let settings = self.settings
        guard work.isWrite else {
            return read({ try work.perform(in: $0, at: at, settings) }) { result in
                done(self.altered(result, of: work))
            }
        }
        if planted == .usageAcknowledgedBeforeCommit, case .usage(_, _, let batch) = work {
            write({ try work.perform(in: $0, at: at, settings) }) { _ in }
            return done(.success(.counted(batch.number)))
        }
        let epoch = speakingEpoch
        write(
            { sql in
                let work = try self.altered(work, in: sql)
                self.check(work, in: epoch)
                let answer = try work.perform(in: sql, at: at, settings)
                try self.spoil(work, in: sql)
                return answer
            }, done)
    }

    /// What an older session said must not be recorded behind what a newer one said.
    private func check(_ work: FleetWork, in epoch: UInt64) {
        guard case .status(_, let node, let instances, let images) = work else { return }
        world.trace.note(
            world, "status", node.mark, epoch,
            "of node \(node.short): "
                + instances.map { "\($0.instance.short) \($0.state) \($0.epoch.value).\($0.generation.value)" }
                .joined(separator: ", ") + images.map { " \($0.image.short) \($0.state)" }.joined())
        if let newest = reported[node], newest > epoch {
            evidence.broken(
                "P2", "a report of session \(epoch) of node \(node.short) is recorded behind one of session \(newest)")
        }
        reported[node] = max(reported[node] ?? 0, epoch)
    }

    /// The connection under whose name the fleet hears a node's message.
    func hearing(_ conversation: Conversation) -> ConnectionID {
        speakingEpoch = conversation.epoch
        guard planted == .supersededSessionHeard else { return conversation.id }
        let newest = conversations.values.filter { $0.node == conversation.node && $0.isEstablished }
            .max { $0.epoch < $1.epoch }
        return newest?.id ?? conversation.id
    }
}
