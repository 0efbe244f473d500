import ManagerFleet
import ManagerLeadership
import ManagerModel
import ManagerStore
import ProtocolModel
import ProtocolWire
import SimulatorWorld

/// One life of a manager's process: `Leadership`, `FeedPosition`, `FleetCore` and the sessions' machines over the record, as
/// the daemon runs them.
final class SimulatedManager {
    let world: World
    let host: ManagerHost
    let record: Record
    let evidence: Evidence
    let planted: PlantedFault?
    let settings: FleetCore.Settings
    private(set) var isAlive = true
    /// The process is there and does nothing, as after SIGSTOP.
    private(set) var isStopped = false
    private var overdue: [() -> Void] = []
    private(set) var door: RecordDoor!
    private(set) var conversations: [ConnectionID: Conversation] = [:]
    private var lastConnection: UInt64 = 0
    let began: Timestamp

    // Leadership: see the extension.
    var leadership: Leadership
    var knownLeader: ManagerRecord?
    var position: FeedPosition
    var watch = ManagerWatch(patience: SimulatedManager.signOfLife * 3)
    var managers: [ManagerRecord]
    static let signOfLife = Duration.seconds(10)

    /// What only the leader does, and remembers for as long as its term lasts.
    struct Lead {
        let term: Term
        var core: FleetCore
        var isWoken = false
        var isPushing = false
    }

    var lead: Lead?
    /// Of the conversation that speaks just now.
    var speakingEpoch: UInt64 = 0

    init(
        host: ManagerHost, world: World, record: Record, evidence: Evidence, settings: FleetCore.Settings,
        planted: PlantedFault?
    ) {
        self.world = world
        self.host = host
        self.record = record
        self.evidence = evidence
        self.planted = planted
        self.settings = settings
        began = host.now.timestamp
        leadership = Leadership(own: host.id, times: record.isShared ? .shared : .alone)
        position = FeedPosition(at: host.now.uptime)
        managers = [host.record(startedAt: began)]
        door = RecordDoor(record, of: self, name: "\(host.name) \(world.random.next())")
    }

    var now: Moment { host.now }

    // MARK: Life

    func start() {
        world.trace.note(world, "manager starts", UInt64(host.index), 0, host.name)
        signOfLife()
        if record.isShared { follow() }
        if planted == .agentsWithoutLeading { lead = Lead(term: Term(0), core: FleetCore(settings: settings)) }
        tick()
    }

    /// Does something later: not after the process's end, and while it is stopped not before it goes on.
    func after(_ delay: SimulatedTime, _ body: @escaping () -> Void) {
        world.after(delay) { [self] in whenAwake(body) }
    }

    func whenAwake(_ body: @escaping () -> Void) {
        guard isAlive else { return }
        if isStopped { overdue.append(body) } else { body() }
    }

    /// The process is gone; the kernel closes its sockets, and the record keeps what was committed.
    func kill() {
        guard isAlive else { return }
        isAlive = false
        overdue = []
        world.trace.note(world, "manager gone", UInt64(host.index), 0, host.name)
        for id in conversations.keys.sorted() { conversations[id]?.connection.close(.listener) }
        conversations = [:]
        lead = nil
        if host.process === self { host.process = nil }
    }

    /// SIGSTOP: the kernel keeps its sockets, and nothing is read from them.
    func pause() {
        isStopped = true
        world.trace.note(world, "manager stopped", UInt64(host.index), 0, host.name)
    }

    /// SIGCONT: everything that is due happens now, as decided on what was known before.
    func resume() {
        guard isAlive, isStopped else { return }
        isStopped = false
        world.trace.note(world, "manager goes on", UInt64(host.index), UInt64(overdue.count), host.name)
        let due = overdue
        overdue = []
        for body in due { whenAwake(body) }
    }

    /// Hands leadership back, then ends every session with a word first.
    func shutDown(_ done: @escaping () -> Void) {
        handle(.retire) { [self] in
            for id in conversations.keys.sorted() { conversations[id]?.apply { $0.refuse(.shuttingDown) } }
            after(.milliseconds(200)) { [self] in
                kill()
                done()
            }
        }
    }

    // MARK: Connections

    func accept(_ connection: Connection, peer: VerifiedPeer) -> Bool {
        guard isAlive else { return false }
        // The kernel takes it in for a process that is stopped, too.
        whenAwake { [self] in
            lastConnection += 1
            let conversation = Conversation(
                manager: self, id: ConnectionID(lastConnection), connection: connection, peer: peer)
            conversations[conversation.id] = conversation
            conversation.begin()
        }
        return true
    }

    func forget(_ id: ConnectionID) { conversations[id] = nil }

    var sight: ManagerSight {
        ManagerSight(
            index: host.index, id: host.id, isAwake: isAlive && !isStopped, term: leadership.term,
            sessions: conversations.values.filter(\.isEstablished).compactMap(\.node).sorted())
    }

    // MARK: Record

    func write<Answer>(
        as term: Term? = nil, isUrgent: Bool = false, _ body: @escaping (Transaction) throws -> Answer,
        _ done: @escaping (Result<Answer, any Error>) -> Void
    ) {
        door.write(as: term, isUrgent: isUrgent, body, done)
    }

    func read<Answer>(
        _ body: @escaping (Transaction) throws -> Answer, _ done: @escaping (Result<Answer, any Error>) -> Void
    ) {
        door.read(body, done)
    }
}
