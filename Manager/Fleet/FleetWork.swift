import ManagerAccounting
public import ManagerLifecycle
public import ManagerModel
public import ManagerStore
public import ProtocolMessages
public import ProtocolModel
public import ProtocolTransfer

/// What an agent says of itself when a session opens.
public struct SessionFacts: Sendable, Equatable {
    public var bootID: String
    public var softwareVersion: String
    /// The peer's IP address and port.
    public var remoteAddress: String
    /// `nil`: its agent knows nothing of its host's own operator.
    public var hostWord: HostWord?
}

/// One transaction on behalf of the fleet. It may be run again as a whole, so that it does nothing beside the store.
public enum FleetWork: Sendable {
    case openSession(ConnectionID, NodeID, SessionFacts)
    case inventory(ConnectionID, NodeID, NodeInventory, location: String)
    case status(ConnectionID, NodeID, [ObservedInstance], [FleetReports.ObservedImage])
    case imageCopies(ConnectionID, NodeID, [ImageCopy])
    case captures(ConnectionID, NodeID, [CaptureStatusValue])
    /// What the host's own operator wants.
    case hostWord(ConnectionID, NodeID, HostWord)
    case usage(ConnectionID, NodeID, UsageBatch)
    case liveness(LivenessChange)
    case advanceDrain(OperationID)
    /// One that waits for its image.
    case advancePrefill(OperationID)
    case advancePolicy(PrefillPolicyID)
    /// Gives the nodes that receive images another share of what all may receive.
    case balanceTransfers
    /// How far nodes are with images, and how fast those were that have them now.
    case progress([Progress], throughput: [NodeID: Int64])
    /// Whom nodes pull an image from from now on.
    case relink(ImageID, [ChainMachine.Relink])
    /// What the node is to be told since a revision; `nil`: everything.
    case assignments(ConnectionID, NodeID, since: Revision?)
    case nodeIDs
    /// And whether any instance waits for room.
    case runningDrains
    /// Places instances that wait for room.
    case advanceQueue
    /// Whether time, or the loss of hosts, makes anything of nodes and their instances now.
    case schedules
    case advanceSchedules
    /// Instances of hosts that are certainly lost are started elsewhere.
    case advanceHostLosses
    /// A run of the site's fencing command is about to begin, or has ended.
    case beginFencing(NodeID)
    case withholdFencing(String)
    case endFencing(FencingOrder, FencingOutcome)
    case waitingPrefills
    case policies
    /// All images that are on their way to anybody.
    case chains

    public struct Progress: Sendable, Equatable {
        public var node: NodeID
        public var image: FleetReports.ObservedImage
    }

    public enum Answer: Sendable {
        case done
        /// `nil`: the node is not on record.
        case session(SessionEpoch?)
        /// The number up to which the spool is counted.
        case counted(UInt64)
        /// `nil`: there is nothing to tell.
        case assignments(Roost_V1_AssignmentSet?)
        case nodeIDs(Set<NodeID>)
        case drains([OperationID], isAnyoneWaiting: Bool)
        case prefills([OperationID])
        case policies([PrefillPolicyID], isBalanceDue: Bool)
        /// `fencing`: what the site's command is to be run for, where it has one.
        case schedules(isDue: Bool, isLossDue: Bool, fencing: FencingSight)
        /// `nil`: it is not wanted any more.
        case fencing(FencingOrder?)
        case chains([ImageID: [ChainMember]])
    }

    /// The session that waits for it before it is listened to again.
    var speaker: (ConnectionID, NodeID)? {
        switch self {
        case .inventory(let connection, let node, _, _), .status(let connection, let node, _, _),
            .usage(let connection, let node, _), .hostWord(let connection, let node, _):
            (connection, node)
        // Copies come with an inventory, and before it: the session waits for that. So do images of disks with the rest of a
        // report, or alone: then they are few.
        case .openSession, .imageCopies, .captures, .liveness, .advanceDrain, .advanceQueue, .advancePrefill,
            .advancePolicy, .balanceTransfers,
            .progress, .relink, .assignments, .nodeIDs, .runningDrains, .waitingPrefills, .policies, .schedules,
            .advanceSchedules, .advanceHostLosses, .beginFencing, .withholdFencing, .endFencing, .chains:
            nil
        }
    }

    /// Whether it changes the record; otherwise it is to be run in a snapshot.
    public var isWrite: Bool {
        switch self {
        case .openSession, .inventory, .status, .imageCopies, .captures, .hostWord, .usage, .liveness, .advanceDrain,
            .advanceQueue, .advancePrefill, .advancePolicy, .balanceTransfers, .progress, .relink, .advanceSchedules,
            .advanceHostLosses, .beginFencing, .withholdFencing, .endFencing:
            true
        case .assignments, .nodeIDs, .runningDrains, .waitingPrefills, .policies, .schedules, .chains: false
        }
    }

    /// Whether others may go first. A fleet's usage must not keep agents that come back, and people's requests, waiting: an
    /// agent has one batch under way, and keeps the rest in its spool.
    public var isPatient: Bool {
        switch self {
        case .usage, .imageCopies: true
        default: false
        }
    }

    private func commands(in sql: Transaction, at now: Timestamp, _ settings: FleetCore.Settings) -> Commands {
        Commands(in: sql, actor: .manager, at: now, settings: settings.lifecycle)
    }

    /// Does the work inside one transaction.
    ///
    /// - Throws: a `StoreError` or a `Refusal`; then the transaction is to be undone.
    public func perform(in sql: Transaction, at now: Timestamp, _ settings: FleetCore.Settings) throws -> Answer {
        let reports = FleetReports(in: sql, at: now)
        switch self {
        case .openSession(_, let node, let facts):
            let epoch = try reports.openSession(
                node, bootID: facts.bootID, softwareVersion: facts.softwareVersion, remoteAddress: facts.remoteAddress)
            // Before anything else can be placed there.
            if let word = facts.hostWord { try commands(in: sql, at: now, settings).hear(word, from: node) }
            return .session(epoch)
        case .hostWord(_, let node, let word):
            try commands(in: sql, at: now, settings).hear(word, from: node)
            return .done
        case .inventory(_, let node, let inventory, let location):
            try reports.takeInventory(node, inventory, location: location)
            return .done
        case .status(_, let node, let instances, let images):
            try reports.observe(instances, on: node)
            try reports.observe(images, on: node)
            return .done
        case .imageCopies(_, let node, let copies):
            try reports.take(copies, on: node)
            return .done
        case .captures(_, let node, let captures):
            try reports.observe(captures, on: node)
            return .done
        case .usage(_, let node, let batch):
            switch try Accounting.count(batch, from: node, at: now, in: sql) {
            case .counted(let number), .missing(let number): return .counted(number)
            case .resumed(let number, let lost):
                try reports.loseUsage(of: node, batches: lost)
                return .counted(number)
            }
        case .liveness(let change):
            try reports.setLiveness(
                change.node, change.liveness, session: change.epoch, lastSeenAt: change.lastSeenAt,
                detail: change.detail)
            return .done
        case .advanceDrain(let id):
            // Read again: the operation may have ended meanwhile.
            guard let current = try sql.operations.find(id), current.status == .running else { return .done }
            try commands(in: sql, at: now, settings).advanceDrain(current)
            return .done
        case .advancePrefill(let id):
            guard let current = try sql.operations.find(id), current.status == .running else { return .done }
            try commands(in: sql, at: now, settings).advancePrefill(current)
            return .done
        case .advancePolicy(let id):
            guard let policy = try sql.prefillPolicies.find(id) else { return .done }
            try commands(in: sql, at: now, settings).advancePolicy(policy)
            return .done
        case .progress(let seen, let throughput):
            try reports.observeProgress(seen.map { ($0.node, $0.image) })
            try reports.rememberThroughput(throughput)
            return .done
        case .relink(let image, let relinks):
            try reports.relink(image, relinks)
            return .done
        case .chains: return .chains(try reports.chains())
        case .assignments(_, let node, let revision):
            return .assignments(
                try AssignmentMessages(
                    sql: sql, node: node, settings: settings.lifecycle, managerChunkAddress: settings.chunkAddress
                ).set(since: revision))
        case .nodeIDs: return .nodeIDs(try sql.nodes.ids())
        case .balanceTransfers:
            try commands(in: sql, at: now, settings).balanceTransfers()
            return .done
        case .schedules:
            let commands = self.commands(in: sql, at: now, settings)
            return .schedules(
                isDue: try commands.isScheduleDue(), isLossDue: try commands.isHostLossDue(),
                fencing: settings.fencing == nil ? FencingSight() : try commands.fencingSight())
        case .withholdFencing(let reason):
            try commands(in: sql, at: now, settings).withholdFencing(reason)
            return .done
        case .advanceHostLosses:
            try commands(in: sql, at: now, settings).advanceHostLosses()
            return .done
        case .beginFencing(let node): return .fencing(try commands(in: sql, at: now, settings).beginFencing(node))
        case .endFencing(let order, let outcome):
            try commands(in: sql, at: now, settings).endFencing(
                order, outcome, by: settings.fencing?.command ?? "fencing")
            return .done
        case .advanceSchedules:
            try commands(in: sql, at: now, settings).advanceSchedules()
            return .done
        case .policies:
            let commands = self.commands(in: sql, at: now, settings)
            // Those that have nothing to send cost no write.
            let due = try sql.prefillPolicies.list().filter { try commands.isDue($0) }
            return .policies(due.map(\.id), isBalanceDue: try commands.isBalanceDue())
        case .waitingPrefills: return .prefills(try sql.operations.waitingPrefills())
        case .runningDrains:
            return .drains(
                try sql.operations.running(.nodeDisable).map(\.id), isAnyoneWaiting: try !sql.queue.isEmpty())
        case .advanceQueue:
            try commands(in: sql, at: now, settings).advanceQueue()
            return .done
        }
    }
}
