public import ManagerLifecycle
public import ManagerModel
public import ManagerStore
public import ProtocolMessages
public import ProtocolModel
import ProtocolTransfer
public import ProtocolWire
import SwiftProtobuf

/// The manager's end of all agent sessions, without sockets, threads and clocks: tells each node what should be, takes
/// in what is.
///
/// A value: events go in, effects come out, time is a parameter. `Fleet` carries the effects out in the daemon, and the
/// simulator in its own world. Nothing here is the record: whatever this value forgets when the process ends is said
/// again by the agents when they reconnect, or read from the store.
public struct FleetCore: Sendable {
    public struct Settings: Sendable {
        public var heartbeatInterval = Duration.seconds(5)
        public var usageInterval = Duration.seconds(10)
        /// Where the manager serves chunks: `host:port`, or `:port` for the host that the agent dialled.
        public var chunkAddress: String
        public var lifecycle: LifecycleSettings
        public var softwareVersion: String
        /// `nil`: the site has no command that fences hosts.
        public var fencing: FencingRules?

        public init(chunkAddress: String, lifecycle: LifecycleSettings, softwareVersion: String) {
            self.chunkAddress = chunkAddress
            self.lifecycle = lifecycle
            self.softwareVersion = softwareVersion
        }
    }

    public enum Event: Sendable {
        /// The process began, with these nodes on record.
        case began([Node])
        /// Transactions were committed, by whomever.
        case committed([Change])
        /// The answer to `Effect.wake`, once for any number of them.
        case woken
        /// About once a second.
        case ticked
        /// A few times a second: what cannot wait for `ticked`.
        case looked
        /// An agent said hello; its identity agrees with its certificate. Answered by `welcome` or `refuse`.
        case hello(ConnectionID, NodeID, Roost_V1_Hello, remoteAddress: String)
        /// A message of an open session. The next one is to wait until the effects of this one are carried out.
        case received(ConnectionID, NodeID, ProtocolWire.Message)
        /// A session that was welcomed is over.
        case closed(ConnectionID, NodeID)
        /// The answer to `Effect.fence`.
        case fenced(FencingOrder, FencingOutcome)
        /// The answer to `Effect.work`.
        case finished(FleetWork, Result<FleetWork.Answer, any Error>)
    }

    public enum Effect: Sendable {
        /// Give `Event.woken` soon. To be done at once, since commits may come in quick succession.
        case wake
        /// Carry out on the store, with this time on the record, and give `Event.finished`.
        case work(FleetWork, at: Timestamp)
        /// To be closed where it cannot be queued.
        case send(ConnectionID, ProtocolWire.Message)
        case close(ConnectionID, SessionRefusal)
        case welcome(ConnectionID, Roost_V1_Welcome)
        case refuse(ConnectionID, SessionRefusal)
        /// Run the site's command, beside everything else, and give `Event.fenced`.
        case fence(FencingOrder)
        case notice(Notice)
    }

    /// What a person who reads the log should know.
    public enum Notice: Sendable {
        case liveness(LivenessChange)
        case sessionNotRecorded(NodeID, any Error)
        case messageNotRecorded(NodeID, any Error)
        case livenessNotRecorded(NodeID, any Error)
        case drainNotAdvanced(OperationID, any Error)
        case drainsNotRead(any Error)
        case queueNotAdvanced(any Error)
        case prefillsNotAdvanced(any Error)
        case schedulesNotKept(any Error)
        case fencing(FencingOrder)
        case fencingEnded(FencingOrder, FencingOutcome)
        case fencingNotRecorded(NodeID, any Error)
        case chainsNotKept(any Error)
        case assignmentsNotRead(NodeID, any Error)
        case nodesNotRead(any Error)
    }

    let settings: Settings
    var state = FleetState()
    var chains = ChainState()
    private var fencing = FencingWatch()

    public init(settings: Settings) { self.settings = settings }

    /// The last heartbeat of a node, and when it came; `nil` if none came in this process's life.
    public func load(of node: NodeID) -> (load: NodeLoad, at: Timestamp)? {
        state.heard[node].flatMap { heard in heard.timestamp.map { (heard.load, $0) } }
    }

    public var openSessions: Int { state.sessions.count }

    /// Takes in what happened and says what to do about it, in this order.
    public mutating func handle(_ event: Event, at now: Moment) -> [Effect] {
        switch event {
        case .began(let nodes):
            // A node counts as what it was when the last process ended, and has the usual time to be heard again: that
            // the manager was away says nothing about its nodes.
            for node in nodes {
                state.expect(node.id, recorded: node.liveness, epoch: node.sessionEpoch, at: now.uptime)
            }
            return []
        case .committed(let changes): return notice(changes)
        case .woken: return push(at: now)
        case .ticked: return tick(at: now) + recordProgress(at: now) + lookAtChains(at: now)
        case .looked: return lookAtChains(at: now)
        case .hello(let connection, let node, let hello, let remoteAddress):
            return [
                .work(
                    .openSession(
                        connection, node,
                        SessionFacts(
                            bootID: BootID(octets: hello.bootID)?.description ?? "",
                            softwareVersion: String(hello.softwareVersion.prefix(32)), remoteAddress: remoteAddress,
                            hostWord: hello.hasHostHold ? HostWord(hello.hostHold) : nil)),
                    at: now.timestamp)
            ]
        case .received(let connection, let node, let message): return take(message, connection, node, at: now)
        case .closed(let connection, let node):
            return state.close(connection, of: node) ? chainsClosed(node, at: now) : []
        case .fenced(let order, let outcome):
            return [
                .notice(.fencingEnded(order, outcome)), .work(.endFencing(order, outcome), at: now.timestamp),
            ]
        case .finished(let work, let result):
            if let (connection, node) = work.speaker { state.letSpeak(connection, of: node, at: now) }
            switch result {
            case .success(let answer): return finished(work, answer, at: now)
            case .failure(let error): return failed(work, error, at: now)
            }
        }
    }

    // MARK: Telling agents

    private mutating func notice(_ changes: [Change]) -> [Effect] {
        var isRelevant = false
        for change in changes {
            switch change {
            case .assignments(let node):
                state.markDirty(node)
                chains.isRosterDue = true
            case .identity: state.mustCheckNodes = true
            case .everything:
                state.markAllDirty()
                state.mustCheckNodes = true
                chains.isRosterDue = true
            case .operation, .events, .credentials: continue
            }
            isRelevant = true
        }
        return isRelevant ? [.wake] : []
    }

    private mutating func push(at now: Moment) -> [Effect] {
        var effects: [Effect] = state.takeDirty().map { session in
            .work(.assignments(session.connection, session.node, since: session.sentRevision), at: now.timestamp)
        }
        if state.mustCheckNodes {
            state.mustCheckNodes = false
            effects.append(.work(.nodeIDs, at: now.timestamp))
        }
        return effects
    }

    private mutating func pushed(
        _ message: Roost_V1_AssignmentSet?, _ connection: ConnectionID, _ node: NodeID
    ) -> [Effect] {
        guard let message else {
            state.pushed(connection, to: node, revision: nil)
            return lookAgain(at: node)
        }
        do {
            let parts = try message.parts()
            state.pushed(connection, to: node, revision: Revision(message.revision))
            return parts.map { .send(connection, .assignmentSet($0)) } + lookAgain(at: node)
        } catch {
            return failed(.assignments(connection, node, since: nil), error, at: nil)
        }
    }

    /// What was committed for a node during a push of its own was left alone, whether or not the push found anything.
    private func lookAgain(at node: NodeID) -> [Effect] { state.isDirty(node) ? [.wake] : [] }

    /// Ends sessions of nodes that were removed.
    private mutating func checked(_ known: Set<NodeID>) -> [Effect] {
        state.heard.keys.filter { !known.contains($0) }.sorted().compactMap { node in
            state.forget(node).map { .close($0, .nodeRemoved) }
        }
    }

    /// Who has fallen silent, which drains and prefills advance.
    private mutating func tick(at now: Moment) -> [Effect] {
        var effects: [Effect] = []
        for change in state.tick(now: now.uptime, interval: settings.heartbeatInterval) {
            effects += [.notice(.liveness(change)), .work(.liveness(change), at: now.timestamp)]
        }
        effects += [.work(.runningDrains, at: now.timestamp), .work(.waitingPrefills, at: now.timestamp)]
        if state.isPolicyTick() {
            effects += [.work(.policies, at: now.timestamp), .work(.schedules, at: now.timestamp)]
        }
        return effects
    }

    // MARK: Hearing agents

    private mutating func opened(
        _ connection: ConnectionID, _ node: NodeID, _ epoch: SessionEpoch?, at now: Moment
    ) -> [Effect] {
        guard let epoch else { return [.refuse(connection, .nodeRemoved)] }
        let older = state.open(connection, of: node, epoch: epoch, at: now)
        chainsOpened(node, at: now)
        let welcome = Roost_V1_Welcome.with {
            $0.sessionEpoch = epoch.value
            $0.managerTimeMs = now.timestamp.milliseconds
            $0.usageIntervalMs = UInt32(clamping: settings.usageInterval.milliseconds)
            $0.softwareVersion = settings.softwareVersion
        }
        return (older.map { [.close($0, .superseded)] } ?? []) + [.wake, .welcome(connection, welcome)]
    }

    private mutating func take(
        _ message: ProtocolWire.Message, _ connection: ConnectionID, _ node: NodeID, at now: Moment
    ) -> [Effect] {
        // What a session said that another one has taken the place of is out of date.
        guard state.isCurrent(connection, of: node) else { return [] }
        var load: NodeLoad?
        if case .heartbeat(let heartbeat) = message { load = NodeLoad(heartbeat) }
        state.hear(node, load: load, at: now)
        let effects = work(for: message, connection, node, at: now)
        // A chain that is planned anew on account of a report keeps nobody from speaking.
        if effects.contains(where: { if case .work(let work, _) = $0 { work.speaker != nil } else { false } }) {
            state.holdUp(connection, of: node)
        }
        return effects
    }

    private mutating func work(
        for message: ProtocolWire.Message, _ connection: ConnectionID, _ node: NodeID, at now: Moment
    ) -> [Effect] {
        switch message {
        case .inventory(let inventory):
            let location = String(inventory.location.prefix(128))
            return copies(inventory, of: node, on: connection, at: now) + [
                .work(.inventory(connection, node, NodeInventory(inventory), location: location), at: now.timestamp)
            ]
        case .statusReport(let report):
            let instances = report.instances.compactMap(ObservedInstance.init)
            let images = report.images.compactMap { FleetReports.ObservedImage($0, on: node) }
            let captures = report.captures.prefix(Self.mostCopies).compactMap(CaptureStatusValue.init)
            var (urgent, effects) = take(images, of: node, at: now)
            if !captures.isEmpty { effects.append(.work(.captures(connection, node, captures), at: now.timestamp)) }
            if !instances.isEmpty || !urgent.isEmpty {
                effects.insert(.work(.status(connection, node, instances, urgent), at: now.timestamp), at: 0)
            }
            guard report.hasHostHold else { return effects }
            // First: what is placed there afterwards would only be stopped again.
            return [.work(.hostWord(connection, node, HostWord(report.hostHold)), at: now.timestamp)] + effects
        case .usageBatch(let message):
            guard let batch = UsageBatch(message) else { return [.close(connection, .malformedMessage)] }
            return [.work(.usage(connection, node, batch), at: now.timestamp)]
        default:
            // Heartbeats and acknowledgements were noted above; streams are opened by the manager alone.
            return []
        }
    }

    // MARK: Fencing

    private mutating func fence(_ sight: FencingSight, at now: Moment) -> [Effect] {
        guard let rules = settings.fencing else { return [] }
        let (begun, objection) = fencing.see(sight, rules, at: now.uptime)
        return (objection.map { [.work(.withholdFencing($0), at: now.timestamp)] } ?? [])
            + begun.map { .work(.beginFencing($0), at: now.timestamp) }
    }

    // MARK: What came of work

    private func copies(
        _ inventory: Roost_V1_Inventory, of node: NodeID, on connection: ConnectionID, at now: Moment
    ) -> [Effect] {
        let copies = inventory.heldImages.prefix(Self.mostCopies).compactMap { ImageCopy($0, on: node) }
        return copies.isEmpty ? [] : [.work(.imageCopies(connection, node, copies), at: now.timestamp)]
    }

    /// What is kept of one inventory (P10).
    private static let mostCopies = 10_000

    private mutating func finished(_ work: FleetWork, _ answer: FleetWork.Answer, at now: Moment) -> [Effect] {
        switch (work, answer) {
        case (.openSession(let connection, let node, _), .session(let epoch)):
            return opened(connection, node, epoch, at: now)
        case (.assignments(let connection, let node, since: .none), .assignments(.none)):
            // There is always a whole set to tell, unless the node was removed while its session opened.
            guard state.isCurrent(connection, of: node) else { return [] }
            return state.forget(node).map { [.close($0, .nodeRemoved)] } ?? []
        case (.assignments(let connection, let node, _), .assignments(let message)):
            return pushed(message, connection, node)
        case (.nodeIDs, .nodeIDs(let known)): return checked(known)
        case (.chains, .chains(let record)): return chainsRead(record, at: now)
        case (.progress, _):
            chains.isRecordingProgress = false
            return []
        case (.runningDrains, .drains(let drains, let isAnyoneWaiting)):
            let queue: [Effect] =
                isAnyoneWaiting && state.isQueueFree() ? [.work(.advanceQueue, at: now.timestamp)] : []
            return drains.map { .work(.advanceDrain($0), at: now.timestamp) } + queue
        case (.advanceQueue, _):
            state.queueAdvanced()
            return []
        case (.waitingPrefills, .prefills(let waiting)):
            return waiting.map { .work(.advancePrefill($0), at: now.timestamp) }
        case (.policies, .policies(let due, let isBalanceDue)):
            return due.map { .work(.advancePolicy($0), at: now.timestamp) }
                + (isBalanceDue ? [.work(.balanceTransfers, at: now.timestamp)] : [])
        case (.schedules, .schedules(let isDue, let isLossDue, let sight)):
            return (isDue ? [.work(.advanceSchedules, at: now.timestamp)] : [])
                + (isLossDue ? [.work(.advanceHostLosses, at: now.timestamp)] : []) + fence(sight, at: now)
        case (.beginFencing(let node), .fencing(let order)):
            guard let order else {
                fencing.ended(node, at: now.uptime)
                return []
            }
            return [.notice(.fencing(order)), .fence(order)]
        case (.endFencing(let order, _), _):
            fencing.ended(order.node, at: now.uptime)
            return []
        case (.usage(let connection, _, let batch), .counted(let number)):
            return [
                .send(
                    connection,
                    .usageAcknowledgement(
                        .with {
                            $0.spoolID = batch.spool.octets
                            $0.number = number
                        }))
            ]
        default: return []
        }
    }

    private mutating func failed(_ work: FleetWork, _ error: any Error, at now: Moment?) -> [Effect] {
        switch work {
        case .openSession(let connection, let node, _):
            return [.notice(.sessionNotRecorded(node, error)), .refuse(connection, .busy)]
        case .inventory(let connection, let node, _, _), .status(let connection, let node, _, _),
            .imageCopies(let connection, let node, _), .captures(let connection, let node, _),
            .usage(let connection, let node, _), .hostWord(let connection, let node, _):
            // Not committed, so not acknowledged: the agent says it again in its next session.
            return [.notice(.messageNotRecorded(node, error)), .close(connection, .busy)]
        case .liveness(let change):
            state.notRecorded(change)
            return [.notice(.livenessNotRecorded(change.node, error))]
        case .advanceDrain(let operation):
            // One that cannot go on must not hold up the others.
            return [.notice(.drainNotAdvanced(operation, error))]
        case .runningDrains: return [.notice(.drainsNotRead(error))]
        case .advanceQueue:
            state.queueAdvanced()
            return [.notice(.queueNotAdvanced(error))]
        case .advancePrefill, .waitingPrefills, .advancePolicy, .policies, .balanceTransfers:
            return [.notice(.prefillsNotAdvanced(error))]
        case .schedules, .advanceSchedules, .advanceHostLosses, .withholdFencing:
            return [.notice(.schedulesNotKept(error))]
        case .beginFencing(let node):
            if let now { fencing.ended(node, at: now.uptime) }
            return [.notice(.fencingNotRecorded(node, error))]
        case .endFencing(let order, _):
            // Whatever it did, it is run again: the command does twice what it does once.
            if let now { fencing.ended(order.node, at: now.uptime) }
            return [.notice(.fencingNotRecorded(order.node, error))]
        case .chains:
            chains.isReadingRoster = false
            chains.isRosterDue = true
            return [.notice(.chainsNotKept(error))]
        case .progress:
            // What comes next says more.
            chains.isRecordingProgress = false
            return [.notice(.chainsNotKept(error))]
        case .relink(let image, _):
            if let now { relinkFailed(image, at: now.uptime) }
            return [.notice(.chainsNotKept(error))]
        case .assignments(let connection, let node, _):
            // The agent reconnects and gets a full set.
            state.pushed(connection, to: node, revision: nil)
            return [.notice(.assignmentsNotRead(node, error)), .close(connection, .internalError)]
        case .nodeIDs:
            state.mustCheckNodes = true
            return [.notice(.nodesNotRead(error))]
        }
    }
}
