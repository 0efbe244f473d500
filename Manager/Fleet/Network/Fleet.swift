public import Logging
public import ManagerFleet
public import ManagerLifecycle
public import ManagerModel
public import ManagerStore
public import ProtocolMessages
public import ProtocolModel
public import ProtocolTrust
public import ProtocolWire
import Synchronization

/// Carries out what `FleetCore` decides: on the store, on the sessions of the listener, and in the log.
///
/// Only the manager that leads has sessions. Each term begins with nothing remembered and every write names its term, so that
/// what is left of an old one changes nothing; agents that come here while another leads are sent to it.
public final class Fleet: FleetBackend {
    public typealias Settings = FleetCore.Settings

    private struct State {
        var core: FleetCore
        var connections: [ConnectionID: AgentConnection] = [:]
        /// `nil`: another manager leads.
        var term: Term?
        var wake: AsyncStream<Void>.Continuation?
        /// Runs of the site's fencing command that are to begin.
        var orders: AsyncStream<FencingOrder>.Continuation?
    }

    /// What this manager knows of the others.
    public struct Site: Sendable {
        /// Where agents find the manager that leads; `nil` while nobody knows.
        public var leaderAddress: @Sendable () -> String?
        /// Where agents find any manager.
        public var agentAddresses: @Sendable () -> [String]

        public init(
            leaderAddress: @escaping @Sendable () -> String?, agentAddresses: @escaping @Sendable () -> [String]
        ) {
            self.leaderAddress = leaderAddress
            self.agentAddresses = agentAddresses
        }
    }

    let store: Store
    let authority: SiteAuthority
    let settings: Settings
    let time: any TimeSource
    let logger: Logger
    private let site: Site
    private let fence: @Sendable (FencingOrder) async -> FencingOutcome
    private let state: Mutex<State>

    public init(
        store: Store, authority: SiteAuthority, settings: Settings, site: Site, time: any TimeSource = SystemTime(),
        logger: Logger,
        fence: @escaping @Sendable (FencingOrder) async -> FencingOutcome = { _ in .failed("the site has no command") }
    ) {
        self.store = store
        self.authority = authority
        self.settings = settings
        self.site = site
        self.fence = fence
        self.time = time
        self.logger = logger
        self.state = Mutex(State(core: FleetCore(settings: settings)))
        store.observe { [weak self] changes in self?.noticed(changes) }
    }

    // MARK: Running

    /// Takes sessions, pushes changes and watches heartbeats until cancelled; `stopLeading` is to end the term before that.
    public func lead(_ term: Term) async {
        let wakeUps = begin(term)
        let orders = fencingOrders(in: term)
        while !Task.isCancelled {
            do {
                try await expectNodes()
                break
            } catch {
                logger.error("nodes not read", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: .seconds(1))
            }
        }
        await withDiscardingTaskGroup { group in
            group.addTask { for await _ in wakeUps { await self.push() } }
            group.addTask { await self.watch() }
            group.addTask { await self.look() }
            group.addTask { await self.fence(orders, in: term) }
        }
        stopLeading()
    }

    /// Ends the term at once: its sessions are sent away, and nothing of it is begun any more.
    public func stopLeading() {
        let connections = state.withLock { state in
            defer {
                state.wake?.finish()
                state.orders?.finish()
                state = State(core: FleetCore(settings: settings))
            }
            return state.connections.values
        }
        for connection in connections { connection.close(.notLeader) }
    }

    func begin(_ term: Term) -> AsyncStream<Void> {
        let (wakeUps, wake) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        state.withLock { $0 = State(core: FleetCore(settings: settings), term: term, wake: wake) }
        return wakeUps
    }

    private func fencingOrders(in term: Term) -> AsyncStream<FencingOrder> {
        // The core has few under way at a time.
        let (orders, continuation) = AsyncStream<FencingOrder>.makeStream(bufferingPolicy: .bufferingOldest(64))
        state.withLock { state in
            if state.term == term { state.orders = continuation } else { continuation.finish() }
        }
        return orders
    }

    /// Runs the site's command beside everything else; where the term ends, what runs is ended with it.
    private func fence(_ orders: AsyncStream<FencingOrder>, in term: Term) async {
        await withDiscardingTaskGroup { group in
            for await order in orders {
                group.addTask {
                    let outcome = await self.fence(order)
                    await self.carryOut(self.handle(.fenced(order, outcome), in: term))
                }
            }
            group.cancelAll()
        }
    }

    private func watch() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            if !Task.isCancelled { await tick() }
        }
    }

    /// What cannot wait for the next tick: a host of a chain that fails is to be out of the way within two seconds.
    private func look() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(250))
            if !Task.isCancelled { await carryOut(handle(.looked)) }
        }
    }

    func expectNodes() async throws {
        let nodes = try await store.read { sql in try sql.nodes.listWithoutInventories() }
        await carryOut(handle(.began(nodes)))
    }

    /// One look at everything that time alone changes.
    func tick() async { await carryOut(handle(.ticked)) }

    /// Each node's push beside the others', so that one slow read holds up none.
    private func push() async {
        guard let step = handle(.woken) else { return }
        await withDiscardingTaskGroup { group in
            for effect in step.effects {
                group.addTask { await self.carryOut(Step(effects: [effect], term: step.term)) }
            }
        }
    }

    /// On the store's own thread, so that nothing is done here but to remember it.
    private func noticed(_ changes: [Change]) {
        for effect in handle(.committed(changes))?.effects ?? [] {
            if case .wake = effect { wake() }
        }
    }

    // MARK: Effects

    /// What is to be done, and the term in which it was decided.
    private struct Step: Sendable {
        var effects: [FleetCore.Effect]
        var term: Term
    }

    /// - Parameter term: in which the event belongs; `nil`: in the one that is.
    /// - Returns: `nil` where that term is over.
    private func handle(_ event: FleetCore.Event, in term: Term? = nil) -> Step? {
        let now = Moment(of: time)
        return state.withLock { state in
            guard let current = state.term, term ?? current == current else { return nil }
            return Step(effects: state.core.handle(event, at: now), term: current)
        }
    }

    private func wake() { state.withLock { _ = $0.wake?.yield() } }

    /// Carries effects out in their order, and those that they lead to. The answer is that to a `hello`.
    @discardableResult
    private func carryOut(_ step: Step?) async -> Result<Roost_V1_Welcome, SessionRefusal>? {
        guard let step else { return nil }
        var answer: Result<Roost_V1_Welcome, SessionRefusal>?
        for effect in step.effects {
            switch effect {
            case .wake: wake()
            case .work(let work, let now):
                let result = await perform(work, in: step.term, at: now)
                if let later = await carryOut(handle(.finished(work, result), in: step.term)) { answer = later }
            case .send(let id, let message):
                guard let connection = connection(id) else { continue }
                do throws(SessionRefusal) {
                    try connection.send(message)
                } catch {
                    logger.warning(
                        "message not sent",
                        metadata: ["node.id": "\(connection.nodeID)", "reason": "\(error.rawValue)"]
                    )
                    connection.close(error)
                }
            case .close(let id, let refusal): connection(id)?.close(refusal)
            case .welcome(_, let welcome): answer = .success(welcome)
            case .refuse(_, let refusal): answer = .failure(refusal)
            case .fence(let order): state.withLock { _ = $0.orders?.yield(order) }
            case .notice(let notice): notice.log(to: logger)
            }
        }
        return answer
    }

    private func perform(
        _ work: FleetWork, in term: Term, at now: Timestamp
    ) async -> Result<FleetWork.Answer, any Error> {
        let settings = self.settings
        do {
            return .success(
                work.isWrite
                    ? try await store.write(as: term, isPatient: work.isPatient) { sql in
                        try work.perform(in: sql, at: now, settings)
                    }
                    : try await store.read { sql in try work.perform(in: sql, at: now, settings) })
        } catch {
            return .failure(error)
        }
    }

    private func connection(_ id: ConnectionID) -> AgentConnection? { state.withLock { $0.connections[id] } }

    // MARK: What people ask

    /// The last heartbeat of a node, and when it came; `nil` if none came in this process's life.
    public func load(of node: NodeID) -> (load: NodeLoad, at: Timestamp)? { state.withLock { $0.core.load(of: node) } }

    public var openSessions: Int { state.withLock { $0.core.openSessions } }

    var term: Term? { state.withLock { $0.term } }

    public var leaderAddress: String? { site.leaderAddress() }

    // MARK: FleetBackend

    public func admit(_ peer: VerifiedPeer) async -> SessionRefusal? {
        guard let node = peer.node else { return .wrongCertificateRole }
        guard peer.site == authority.site else { return .unknownAuthority }
        do {
            return try await store.read { sql in
                try Enrolment.admits(node, serial: peer.serial, in: sql) ? nil : .certificateRevoked
            }
        } catch {
            return admissionFailed(node, error)
        }
    }

    private func admissionFailed(_ node: NodeID, _ error: any Error) -> SessionRefusal {
        logger.error("admission failed", metadata: ["node.id": "\(node)", "error": "\(error)"])
        return .busy
    }

    public func open(
        _ hello: Roost_V1_Hello, peer: VerifiedPeer, session: AgentConnection
    ) async -> Result<Roost_V1_Welcome, SessionRefusal> {
        let isLeading = state.withLock { state in
            guard state.term != nil else { return false }
            state.connections[session.id] = session
            return true
        }
        guard isLeading else { return .failure(.notLeader) }
        let answer = await carryOut(
            handle(.hello(session.id, session.nodeID, hello, remoteAddress: session.remoteAddress)))
        switch answer {
        case .success(var welcome)?:
            if hello.features.contains(ProtocolFeature.managers) {
                welcome.features.append(ProtocolFeature.managers)
                welcome.managerAddresses = site.agentAddresses()
            }
            if hello.features.contains(ProtocolFeature.transferControl) {
                welcome.features.append(ProtocolFeature.transferControl)
            }
            return .success(welcome)
        case .failure(let refusal)?:
            state.withLock { $0.connections[session.id] = nil }
            return .failure(refusal)
        case nil:
            // Each hello is answered, unless its term ended meanwhile.
            return .failure(.notLeader)
        }
    }

    public func receivedAtOnce(_ message: ProtocolWire.Message, session: AgentConnection) -> Bool {
        switch message {
        case .heartbeat, .assignmentAcknowledgement:
            // Only noted: there are no effects to carry out.
            return handle(.received(session.id, session.nodeID, message)) != nil
        default: return false
        }
    }

    public func received(_ message: ProtocolWire.Message, session: AgentConnection) async {
        guard let step = handle(.received(session.id, session.nodeID, message)) else {
            return session.close(.notLeader)
        }
        await carryOut(step)
    }

    public func closed(_ session: AgentConnection, reason: SessionRefusal?) async {
        await carryOut(handle(.closed(session.id, session.nodeID)))
        state.withLock { $0.connections[session.id] = nil }
    }
}

extension Fleet {
    /// Whether a peer with this certificate may open a chunk connection: a node on record, whose certificate was not revoked.
    /// Blocks for one read of the store, so it is for threads of their own.
    public func admitToChunks(_ peer: VerifiedPeer) -> Result<VerifiedPeer, SessionRefusal> {
        guard let node = peer.node else { return .failure(.wrongCertificateRole) }
        guard peer.site == authority.site else { return .failure(.unknownAuthority) }
        do {
            let isGood = try store.readBlocking { sql in try Enrolment.admits(node, serial: peer.serial, in: sql) }
            return isGood ? .success(peer) : .failure(.certificateRevoked)
        } catch {
            return .failure(admissionFailed(node, error))
        }
    }

    /// Whether a peer may pull an image from the manager: an enabled node of this site to which the image is assigned. Blocks for
    /// one read of the store, so it is for threads of their own.
    public func mayPull(_ peer: PeerIdentity, _ image: ImageID) -> Bool {
        guard case .node(let node) = peer else { return false }
        let placement = try? store.readBlocking { sql in
            try sql.nodes.isEnabled(node) ? try sql.images.placement(of: image, on: node) : nil
        }
        return placement.flatMap { $0 }.map { $0.state != .removing } ?? false
    }
}

extension FleetCore.Notice {
    /// One line for a person.
    func log(to logger: Logger) {
        switch self {
        case .liveness(let change):
            logger.log(
                level: change.liveness == .alive ? .info : .warning, "node \(change.liveness.rawValue)",
                metadata: ["node.id": "\(change.node)", "detail": "\(change.detail)"])
        case .sessionNotRecorded(let node, let error):
            logger.error("session not recorded", metadata: ["node.id": "\(node)", "error": "\(error)"])
        case .messageNotRecorded(let node, let error):
            logger.error("message not recorded", metadata: ["node.id": "\(node)", "error": "\(error)"])
        case .livenessNotRecorded(let node, let error):
            logger.error("liveness not recorded", metadata: ["node.id": "\(node)", "error": "\(error)"])
        case .drainNotAdvanced(let operation, let error):
            logger.error("drain not advanced", metadata: ["operation.id": "\(operation)", "error": "\(error)"])
        case .chainsNotKept(let error): logger.error("chains not kept", metadata: ["error": "\(error)"])
        case .queueNotAdvanced(let error):
            logger.error("queue not advanced", metadata: ["error": "\(error)"])
        case .drainsNotRead(let error): logger.error("drains not read", metadata: ["error": "\(error)"])
        case .prefillsNotAdvanced(let error): logger.error("prefills not advanced", metadata: ["error": "\(error)"])
        case .schedulesNotKept(let error): logger.error("schedules of nodes not kept", metadata: ["error": "\(error)"])
        case .fencing(let order):
            logger.warning("fencing", metadata: ["node": "\(order.name)", "attempt": "\(order.attempt)"])
        case .fencingEnded(let order, .fenced): logger.warning("fenced", metadata: ["node": "\(order.name)"])
        case .fencingEnded(let order, .failed(let reason)):
            logger.error("fencing failed", metadata: ["node": "\(order.name)", "reason": "\(reason)"])
        case .fencingNotRecorded(let node, let error):
            logger.error("fencing not recorded", metadata: ["node.id": "\(node)", "error": "\(error)"])
        case .assignmentsNotRead(let node, let error):
            logger.error("assignments not read", metadata: ["node.id": "\(node)", "error": "\(error)"])
        case .nodesNotRead(let error): logger.error("nodes not read", metadata: ["error": "\(error)"])
        }
    }
}
