public import ManagerModel
import ProtocolMessages
public import ProtocolModel

/// Tells the connections of one process apart.
public struct ConnectionID: Hashable, Sendable, Comparable {
    public let number: UInt64

    public init(_ number: UInt64) { self.number = number }

    public static func < (left: Self, right: Self) -> Bool { left.number < right.number }
}

/// What the manager knows of agents between two commits: sessions, heartbeats, and who must be told something. A value
/// with pure transitions, inside `FleetCore`.
struct FleetState: Sendable {
    struct Session: Sendable {
        var connection: ConnectionID
        var node: NodeID
        /// The last revision that was put into the session; `nil`: nothing yet, so the next push is a full set.
        var sentRevision: Revision?
        var isPushing = false
    }

    struct Heard: Sendable {
        var at: Uptime
        var timestamp: Timestamp?
        var recorded: Node.Liveness
        /// The last session that the record knows of.
        var epoch: SessionEpoch
        var load = NodeLoad()
        /// The session of which a message is being worked on: until that is over nothing more is read from it, and its silence
        /// is this manager's.
        var heldUp: ConnectionID?
    }

    private(set) var sessions: [NodeID: Session] = [:]
    private(set) var heard: [NodeID: Heard] = [:]
    private var dirty: Set<NodeID> = []
    var mustCheckNodes = false
    private var ticks = 0
    private var isQueueUnderWay = false

    /// Whether the queue may be gone through: one pass at a time.
    mutating func isQueueFree() -> Bool {
        defer { isQueueUnderWay = true }
        return !isQueueUnderWay
    }

    mutating func queueAdvanced() { isQueueUnderWay = false }

    /// Policies look at every node, and are looked at each third second.
    mutating func isPolicyTick() -> Bool {
        ticks += 1
        return ticks % 3 == 0
    }

    /// Takes a session in; the older one of the same node is handed back to be closed. Two that open at once may come here
    /// in either order: their numbers tell which is the older.
    mutating func open(
        _ connection: ConnectionID, of node: NodeID, epoch: SessionEpoch, at now: Moment
    ) -> ConnectionID? {
        let known = heard[node]?.epoch ?? epoch
        let older = sessions[node]?.connection
        if known > epoch, older != nil { return connection }
        sessions[node] = Session(connection: connection, node: node)
        heard[node] = Heard(
            at: now.uptime, timestamp: now.timestamp, recorded: .alive, epoch: max(known, epoch))
        dirty.insert(node)
        return older
    }

    /// Forgets a session, unless a newer one took its place.
    @discardableResult
    mutating func close(_ connection: ConnectionID, of node: NodeID) -> Bool {
        guard isCurrent(connection, of: node) else { return false }
        sessions[node] = nil
        heard[node]?.heldUp = nil
        return true
    }

    /// Whether this is the node's session, and not one that was superseded or never opened.
    func isCurrent(_ connection: ConnectionID, of node: NodeID) -> Bool { sessions[node]?.connection == connection }

    mutating func hear(_ node: NodeID, load: NodeLoad?, at now: Moment) {
        // A node that was forgotten is not taken up again by what was still on its way.
        heard[node]?.at = now.uptime
        heard[node]?.timestamp = now.timestamp
        if let load { heard[node]?.load = load }
    }

    /// A message of a session is worked on.
    mutating func holdUp(_ connection: ConnectionID, of node: NodeID) { heard[node]?.heldUp = connection }

    /// The session may speak again.
    mutating func letSpeak(_ connection: ConnectionID, of node: NodeID, at now: Moment) {
        guard heard[node]?.heldUp == connection else { return }
        heard[node]?.heldUp = nil
        heard[node]?.at = now.uptime
    }

    /// A node of the record that this process has not heard from yet: it has the usual time to come back.
    mutating func expect(_ node: NodeID, recorded: Node.Liveness, epoch: SessionEpoch, at now: Uptime) {
        if heard[node] == nil { heard[node] = Heard(at: now, timestamp: nil, recorded: recorded, epoch: epoch) }
    }

    mutating func forget(_ node: NodeID) -> ConnectionID? {
        heard[node] = nil
        return sessions.removeValue(forKey: node)?.connection
    }

    mutating func markDirty(_ node: NodeID) { dirty.insert(node) }

    func isDirty(_ node: NodeID) -> Bool { dirty.contains(node) }

    mutating func markAllDirty() { dirty.formUnion(sessions.keys) }

    /// Nodes to push to now, each at most once until `pushed`.
    mutating func takeDirty() -> [Session] {
        var ready: [Session] = []
        for node in dirty.sorted() {
            guard let session = sessions[node] else {
                dirty.remove(node)
                continue
            }
            guard !session.isPushing else { continue }
            sessions[node]?.isPushing = true
            dirty.remove(node)
            ready.append(session)
        }
        return ready
    }

    /// A push ended; `revision` is `nil` where nothing was sent.
    mutating func pushed(_ connection: ConnectionID, to node: NodeID, revision: Revision?) {
        guard isCurrent(connection, of: node) else { return }
        sessions[node]?.isPushing = false
        if let revision { sessions[node]?.sentRevision = revision }
    }

    /// Suspect after three missed intervals, down after six (DESIGN §3).
    mutating func tick(now: Uptime, interval: Duration) -> [LivenessChange] {
        var changes: [LivenessChange] = []
        for (node, entry) in heard where entry.heldUp == nil {
            let silence = now - entry.at
            let liveness: Node.Liveness =
                entry.recorded == .never
                ? .never : silence >= interval * 6 ? .down : silence >= interval * 3 ? .suspect : .alive
            let connected = sessions[node] != nil
            guard liveness != entry.recorded, liveness != .alive || connected else { continue }
            // What was down when this process began, and has not been heard since, is not suspect first.
            guard entry.recorded != .down || liveness == .alive else { continue }
            heard[node]?.recorded = liveness
            changes.append(
                LivenessChange(
                    node: node, liveness: liveness, before: entry.recorded, epoch: entry.epoch,
                    lastSeenAt: entry.timestamp,
                    detail: liveness == .alive
                        ? "heard again" : "not heard for \(silence.milliseconds / 1000) s"))
        }
        // In an order of their own, not the dictionary's: two runs of a simulation do the same.
        return changes.sorted { $0.node < $1.node }
    }

    /// A change did not reach the record: the next tick finds it again.
    mutating func notRecorded(_ change: LivenessChange) {
        guard heard[change.node]?.epoch == change.epoch else { return }
        heard[change.node]?.recorded = change.before
    }
}

/// A node fell silent, or was heard again.
public struct LivenessChange: Sendable, Equatable {
    public var node: NodeID
    public var liveness: Node.Liveness
    var before: Node.Liveness
    var epoch: SessionEpoch
    var lastSeenAt: Timestamp?
    public var detail: String
}

/// An agent's last heartbeat.
public struct NodeLoad: Sendable, Equatable {
    public var loadAverage = 0.0
    public var memoryAvailableBytes: Int64 = 0
    public var cacheAvailableBytes: Int64 = 0
    public var runningDomains = 0
    public var appliedRevision = Revision(0)

    public init() {}
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
