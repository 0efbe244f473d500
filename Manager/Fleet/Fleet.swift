import Crypto
public import Logging
import ManagerAccounting
public import ManagerLifecycle
import ManagerModel
public import ManagerStore
public import ProtocolMessages
public import ProtocolModel
public import ProtocolTrust
public import ProtocolWire
public import ServiceLifecycle
import Synchronization
import SwiftProtobuf

/// The manager's end of all agent sessions: tells each node what should be, takes in what is.
///
/// Nothing here is the record. Whatever this object forgets when the process ends is said again by the agents when they
/// reconnect, or read from the store.
public final class Fleet: FleetBackend, Service {
    public struct Settings: Sendable {
        public var heartbeatInterval = Duration.seconds(5)
        public var usageInterval = Duration.seconds(10)
        /// Where the manager serves chunks: `host:port`, or `:port` for the host that the agent dialled.
        public var chunkAddress: String
        public var lifecycle: LifecycleSettings
        public var softwareVersion: String

        public init(chunkAddress: String, lifecycle: LifecycleSettings, softwareVersion: String) {
            self.chunkAddress = chunkAddress
            self.lifecycle = lifecycle
            self.softwareVersion = softwareVersion
        }
    }

    let store: Store
    let authority: SiteAuthority
    let settings: Settings
    let time: any TimeSource
    let logger: Logger
    private let state = Mutex(FleetState())
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
        (wakeUps, wake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        store.observe { [weak self] changes in self?.notice(changes) }
    }

    // MARK: Telling agents

    private func notice(_ changes: [Change]) {
        var relevant = false
        state.withLock { state in
            for change in changes {
                switch change {
                case .assignments(let node): state.markDirty(node)
                case .identity: state.mustCheckNodes = true
                case .operation, .events: continue
                }
                relevant = true
            }
        }
        if relevant { wake.yield() }
    }

    /// Pushes changes and watches heartbeats until cancelled or shut down.
    public func run() async throws {
        try await begin()
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                group.addTask { for await _ in self.wakeUps { await self.pushAll() } }
                group.addTask { await self.watch() }
            }
        }
    }

    private func watch() async {
        while !Task.isCancelled {
            do {
                try await Task.sleep(for: .seconds(1))
                try await tick()
            } catch is CancellationError {
                return
            } catch {
                logger.error("periodic work failed", metadata: ["error": "\(error)"])
            }
        }
    }

    /// A node counts as what it was when the last process ended, and has the usual time to be heard again: that the manager
    /// was away says nothing about its nodes.
    func begin() async throws {
        let nodes = try await store.read { sql in try sql.nodes.list() }
        let now = time.uptime
        state.withLock { state in
            for node in nodes { state.expect(node.id, recorded: node.liveness, epoch: node.sessionEpoch, at: now) }
        }
    }

    private func pushAll() async {
        await withDiscardingTaskGroup { group in
            for session in state.withLock({ $0.takeDirty() }) {
                group.addTask { await self.push(session) }
            }
        }
        await checkNodes()
    }

    private func push(_ session: FleetState.Session) async {
        let connection = session.connection
        var sent: Revision?
        do {
            let (settings, node) = (self.settings, connection.nodeID)
            let message = try await store.read { sql in
                try AssignmentMessages(
                    sql: sql, node: node, settings: settings.lifecycle, managerChunkAddress: settings.chunkAddress
                ).set(since: session.sentRevision)
            }
            if let message {
                for part in try message.parts() { try connection.send(.assignmentSet(part)) }
                sent = Revision(message.revision)
            }
        } catch let refusal as SessionRefusal {
            // The session is over or the set does not fit: the agent reconnects and gets a full set.
            logger.warning(
                "assignments not sent", metadata: ["node.id": "\(connection.nodeID)", "reason": "\(refusal.rawValue)"])
            connection.close(refusal)
        } catch {
            logger.error("assignments not read", metadata: ["node.id": "\(connection.nodeID)", "error": "\(error)"])
            connection.close(.internalError)
        }
        let again = state.withLock { state in
            state.pushed(connection, revision: sent)
            return sent != nil
        }
        // What became dirty during the push was left alone; look once more.
        if again { wake.yield() }
    }

    /// Ends sessions of nodes that were removed.
    private func checkNodes() async {
        guard
            state.withLock({ state in
                defer { state.mustCheckNodes = false }
                return state.mustCheckNodes
            }), let known = try? await store.read({ sql in Set(try sql.nodes.list().map(\.id)) })
        else { return }
        let removed = state.withLock { state in
            state.heard.keys.filter { !known.contains($0) }.compactMap { state.forget($0) }
        }
        for connection in removed { connection.close(.nodeRemoved) }
    }

    /// Once a second: who has fallen silent, which drains advance.
    func tick() async throws {
        let now = time.timestamp
        let changes = state.withLock { $0.tick(now: time.uptime, interval: settings.heartbeatInterval) }
        for change in changes {
            logger.log(
                level: change.liveness == .alive ? .info : .warning, "node \(change.liveness.rawValue)",
                metadata: ["node.id": "\(change.node)", "detail": "\(change.detail)"])
            do {
                try await store.write { sql in
                    try FleetReports(in: sql, at: now).setLiveness(
                        change.node, change.liveness, session: change.epoch, lastSeenAt: change.lastSeenAt,
                        detail: change.detail)
                }
            } catch {
                state.withLock { $0.notRecorded(change) }
                throw error
            }
        }
        try await advanceDrains(at: now)
    }

    private func advanceDrains(at now: Timestamp) async throws {
        let drains = try await store.read { sql in try sql.operations.running(.nodeDisable) }
        let lifecycle = settings.lifecycle
        for drain in drains {
            do {
                try await store.write { sql in
                    // Read again: the operation may have ended meanwhile.
                    guard let current = try sql.operations.find(drain.id), current.status == .running else { return }
                    try Commands(in: sql, actor: .manager, at: now, settings: lifecycle).advanceDrain(current)
                }
            } catch {
                // One that cannot go on must not hold up the others.
                logger.error("drain not advanced", metadata: ["operation.id": "\(drain.id)", "error": "\(error)"])
            }
        }
    }

    // MARK: What people ask

    /// The last heartbeat of a node, and when it came; `nil` if none came in this process's life.
    public func load(of node: NodeID) -> (load: NodeLoad, at: Timestamp)? {
        state.withLock { state in
            state.heard[node].flatMap { heard in heard.timestamp.map { (heard.load, $0) } }
        }
    }

    public var openSessions: Int { state.withLock { $0.sessions.count } }

    // MARK: FleetBackend

    public func admit(_ peer: VerifiedPeer) async -> SessionRefusal? {
        guard let node = peer.node else { return .wrongCertificateRole }
        guard peer.site == authority.site else { return .unknownAuthority }
        do {
            return try await store.read { sql in
                try sql.nodes.find(node) == nil || sql.nodes.isRevoked(serial: peer.serial) ? .certificateRevoked : nil
            }
        } catch {
            logger.error("admission failed", metadata: ["node.id": "\(node)", "error": "\(error)"])
            return .busy
        }
    }

    public func open(
        _ hello: Roost_V1_Hello, peer: VerifiedPeer, session: AgentConnection
    ) async -> Result<Roost_V1_Welcome, SessionRefusal> {
        let now = time.timestamp
        let bootID = BootID(octets: hello.bootID)?.description ?? ""
        let remote = session.remoteAddress
        let version = String(hello.softwareVersion.prefix(32))
        let epoch: SessionEpoch?
        do {
            let node = session.nodeID
            epoch = try await store.write { sql in
                try FleetReports(in: sql, at: now).openSession(
                    node, bootID: bootID, softwareVersion: version, remoteAddress: remote)
            }
        } catch {
            logger.error("session not recorded", metadata: ["node.id": "\(session.nodeID)", "error": "\(error)"])
            return .failure(.busy)
        }
        guard let epoch else { return .failure(.nodeRemoved) }
        let older = state.withLock { $0.open(session, epoch: epoch, at: time.uptime, timestamp: now) }
        older?.close(.superseded)
        wake.yield()
        return .success(
            .with {
                $0.sessionEpoch = epoch.value
                $0.managerTimeMs = now.milliseconds
                $0.usageIntervalMs = UInt32(clamping: settings.usageInterval.milliseconds)
                $0.softwareVersion = settings.softwareVersion
            })
    }

    public func received(_ message: ProtocolWire.Message, session: AgentConnection) async {
        let now = time.timestamp
        var load: NodeLoad?
        if case .heartbeat(let heartbeat) = message { load = NodeLoad(heartbeat) }
        state.withLock { $0.hear(session.nodeID, load: load, at: time.uptime, timestamp: now) }
        do {
            try await take(message, session: session, at: now)
        } catch {
            // Not committed, so not acknowledged: the agent says it again in its next session.
            logger.error("message not recorded", metadata: ["node.id": "\(session.nodeID)", "error": "\(error)"])
            session.close(.busy)
        }
    }

    private func take(_ message: ProtocolWire.Message, session: AgentConnection, at now: Timestamp) async throws {
        let node = session.nodeID
        switch message {
        case .inventory(let inventory):
            try await store.write { sql in
                try FleetReports(in: sql, at: now).takeInventory(
                    node, NodeInventory(inventory), location: String(inventory.location.prefix(128)))
            }
        case .statusReport(let report):
            let instances = report.instances.compactMap(ObservedInstance.init)
            let images = report.images.compactMap(FleetReports.ObservedImage.init)
            try await store.write { sql in
                let reports = FleetReports(in: sql, at: now)
                try reports.observe(instances, on: node)
                try reports.observe(images, on: node)
            }
        case .usageBatch(let message):
            guard let batch = UsageBatch(message) else { return session.close(.malformedMessage) }
            let outcome = try await store.write { sql in try Accounting.count(batch, from: node, at: now, in: sql) }
            let number =
                switch outcome {
                case .counted(let number): number
                case .missing(let number): number
                }
            try session.send(
                .usageAcknowledgement(
                    .with {
                        $0.spoolID = message.spoolID
                        $0.number = number
                    }))
        default:
            // Heartbeats and acknowledgements were noted above; streams are opened by the manager alone.
            break
        }
    }

    public func closed(_ session: AgentConnection, reason: SessionRefusal?) async {
        _ = state.withLock { $0.close(session) }
    }
}

extension NodeLoad {
    init(_ heartbeat: Roost_V1_Heartbeat) {
        self.init()
        loadAverage = heartbeat.loadAverage1M
        memoryAvailableBytes = Int64(clamping: heartbeat.memoryAvailableBytes)
        cacheAvailableBytes = Int64(clamping: heartbeat.cacheAvailableBytes)
        runningDomains = Int(heartbeat.runningDomains)
        appliedRevision = Revision(heartbeat.appliedRevision)
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
