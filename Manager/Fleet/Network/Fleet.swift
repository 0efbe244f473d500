public import Logging
public import ManagerFleet
import ManagerModel
public import ManagerStore
public import ProtocolMessages
public import ProtocolModel
public import ProtocolTrust
public import ProtocolWire
public import ServiceLifecycle
import Synchronization

/// Carries out what `FleetCore` decides: on the store, on the sessions of the listener, and in the log.
public final class Fleet: FleetBackend, Service {
    public typealias Settings = FleetCore.Settings

    private struct State {
        var core: FleetCore
        var connections: [ConnectionID: AgentConnection] = [:]
    }

    let store: Store
    let authority: SiteAuthority
    let settings: Settings
    let time: any TimeSource
    let logger: Logger
    private let state: Mutex<State>
    private let wake: AsyncStream<Void>.Continuation
    private let wakeUps: AsyncStream<Void>

    public init(
        store: Store, authority: SiteAuthority, settings: Settings, time: any TimeSource = SystemTime(), logger: Logger
    ) {
        self.store = store
        self.authority = authority
        self.settings = settings
        self.time = time
        self.logger = logger
        self.state = Mutex(State(core: FleetCore(settings: settings)))
        (wakeUps, wake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        store.observe { [weak self] changes in self?.noticed(changes) }
    }

    // MARK: Running

    /// Pushes changes and watches heartbeats until cancelled or shut down.
    public func run() async throws {
        try await begin()
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                group.addTask { for await _ in self.wakeUps { await self.push() } }
                group.addTask { await self.watch() }
            }
        }
    }

    private func watch() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            if !Task.isCancelled { await tick() }
        }
    }

    func begin() async throws {
        let nodes = try await store.read { sql in try sql.nodes.listWithoutInventories() }
        await carryOut(handle(.began(nodes)))
    }

    /// One look at everything that time alone changes.
    func tick() async { await carryOut(handle(.ticked)) }

    /// Each node's push beside the others', so that one slow read holds up none.
    private func push() async {
        let effects = handle(.woken)
        await withDiscardingTaskGroup { group in
            for effect in effects { group.addTask { await self.carryOut([effect]) } }
        }
    }

    /// On the store's own thread, so that nothing is done here but to remember it.
    private func noticed(_ changes: [Change]) {
        for effect in handle(.committed(changes)) {
            if case .wake = effect { wake.yield() }
        }
    }

    // MARK: Effects

    private func handle(_ event: FleetCore.Event) -> [FleetCore.Effect] {
        let now = Moment(of: time)
        return state.withLock { $0.core.handle(event, at: now) }
    }

    /// Carries effects out in their order, and those that they lead to. The answer is that to a `hello`.
    @discardableResult
    private func carryOut(_ effects: [FleetCore.Effect]) async -> Result<Roost_V1_Welcome, SessionRefusal>? {
        var answer: Result<Roost_V1_Welcome, SessionRefusal>?
        for effect in effects {
            switch effect {
            case .wake: wake.yield()
            case .work(let work, let now):
                let result = await perform(work, at: now)
                if let later = await carryOut(handle(.finished(work, result))) { answer = later }
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
            case .notice(let notice): notice.log(to: logger)
            }
        }
        return answer
    }

    private func perform(_ work: FleetWork, at now: Timestamp) async -> Result<FleetWork.Answer, any Error> {
        let settings = self.settings
        do {
            return .success(
                work.isWrite
                    ? try await store.write { sql in try work.perform(in: sql, at: now, settings) }
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

    // MARK: FleetBackend

    public func admit(_ peer: VerifiedPeer) async -> SessionRefusal? {
        guard let node = peer.node else { return .wrongCertificateRole }
        guard peer.site == authority.site else { return .unknownAuthority }
        do {
            return try await store.read { sql in
                try Enrolment.admits(node, serial: peer.serial, in: sql) ? nil : .certificateRevoked
            }
        } catch {
            logger.error("admission failed", metadata: ["node.id": "\(node)", "error": "\(error)"])
            return .busy
        }
    }

    public func open(
        _ hello: Roost_V1_Hello, peer: VerifiedPeer, session: AgentConnection
    ) async -> Result<Roost_V1_Welcome, SessionRefusal> {
        state.withLock { $0.connections[session.id] = session }
        let answer = await carryOut(
            handle(.hello(session.id, session.nodeID, hello, remoteAddress: session.remoteAddress)))
        // Each hello is answered; were it not, nothing of the session would stay.
        let result = answer ?? .failure(.internalError)
        if case .failure = result { state.withLock { $0.connections[session.id] = nil } }
        return result
    }

    public func receivedAtOnce(_ message: ProtocolWire.Message, session: AgentConnection) -> Bool {
        switch message {
        case .heartbeat, .assignmentAcknowledgement:
            // Only noted: there are no effects to carry out.
            _ = handle(.received(session.id, session.nodeID, message))
            return true
        default: return false
        }
    }

    public func received(_ message: ProtocolWire.Message, session: AgentConnection) async {
        await carryOut(handle(.received(session.id, session.nodeID, message)))
    }

    public func closed(_ session: AgentConnection, reason: SessionRefusal?) async {
        await carryOut(handle(.closed(session.id, session.nodeID)))
        state.withLock { $0.connections[session.id] = nil }
    }
}

extension Fleet {
    /// Whether a peer may pull an image from the manager: a node of this site to which the image is assigned. Blocks for
    /// one read of the store, so it is for threads of their own.
    public func mayPull(_ peer: PeerIdentity, _ image: ImageID) -> Bool {
        guard case .node(let node) = peer else { return false }
        let placement = try? store.readBlocking { sql in
            try sql.nodes.find(node) == nil ? nil : try sql.images.placement(of: image, on: node)
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
        case .drainsNotRead(let error): logger.error("drains not read", metadata: ["error": "\(error)"])
        case .assignmentsNotRead(let node, let error):
            logger.error("assignments not read", metadata: ["node.id": "\(node)", "error": "\(error)"])
        case .nodesNotRead(let error): logger.error("nodes not read", metadata: ["error": "\(error)"])
        }
    }
}
