public import ManagerModel
public import ProtocolModel

/// What was said and done beyond the record and the machines, for those who check.
public final class Evidence {
    /// A request that a client was told is accepted.
    public struct Acknowledgement: Sendable {
        public let at: SimulatedTime
        /// One for each thing that a client wanted done, however often it had to ask.
        public let request: String
        public let kind: String
        public let instances: [InstanceID]
        public let operation: OperationID?

        public init(
            at: SimulatedTime, request: String, kind: String, instances: [InstanceID], operation: OperationID?
        ) {
            self.at = at
            self.request = request
            self.kind = kind
            self.instances = instances
            self.operation = operation
        }
    }

    /// A batch of a spool.
    public struct BatchKey: Hashable, Sendable {
        public let spool: SpoolID
        public let number: UInt64

        public init(spool: SpoolID, number: UInt64) {
            self.spool = spool
            self.number = number
        }
    }

    /// One sample that an agent sent.
    public struct Sample: Hashable, Sendable {
        public let instance: InstanceID
        public let from: Int64
        public let to: Int64

        public init(instance: InstanceID, from: Int64, to: Int64) {
            self.instance = instance
            self.from = from
            self.to = to
        }
    }

    public var acknowledgements: [Acknowledgement] = []
    /// What agents sent, and when for the first time.
    public var batches: [BatchKey: (samples: [Sample], sentAt: SimulatedTime)] = [:]
    /// Nodes that were removed in the run.
    public var removedNodes: Set<NodeID> = []
    /// True chunk contents by image.
    public var imageBytes: [ImageID: [UInt8]] = [:]
    public let runs = SimulatedHypervisor.Ledger()
    /// Of the newest session of a node whose report was recorded, by whichever manager.
    public var reported: [NodeID: UInt64] = [:]
    /// Is told of leaders and their commits as they happen.
    public weak var leaderWatch: (any LeaderWatch)?
    /// The first promise that was seen broken.
    public private(set) var violation: Violation?
    private let world: World

    public init(world: World) { self.world = world }

    /// A promise did not hold; the first one counts.
    public func broken(_ promise: String, _ sentence: @autoclosure () -> String) {
        guard violation == nil else { return }
        violation = Violation(promise: promise, sentence: sentence(), at: world.now)
        world.trace.note(world, "broken", 0, 0, "\(promise): \(violation?.sentence ?? "")")
    }
}

/// A promise that did not hold.
public struct Violation: Sendable, Equatable {
    /// Such as `P1`.
    public let promise: String
    public let sentence: String
    public let at: SimulatedTime

    public init(promise: String, sentence: String, at: SimulatedTime) {
        self.promise = promise
        self.sentence = sentence
        self.at = at
    }
}

/// What a check wants to see as it happens.
public protocol SiteWatch: AnyObject {
    /// A user was shown things of these owners.
    func listed(_ owners: [UserID], to actor: Actor)
    /// A request placed instances, while these nodes were disabled.
    func created(_ instances: [Instance], disabled: [NodeID])
    /// A request changed an instance.
    func changed(_ instance: Instance, by actor: Actor)
}

/// What a check of leadership wants to see as it happens.
public protocol LeaderWatch: AnyObject {
    /// A manager begins to lead, as it believes.
    func led(_ manager: Int, in term: Term)
    /// Work of a leader is in the record.
    func committed(by manager: Int, in term: Term)
}

/// What can be seen of a manager from outside.
public struct ManagerSight: Sendable {
    public let index: Int
    public let id: ManagerID
    /// Its process runs, and is not stopped.
    public let isAwake: Bool
    /// In which it believes to lead.
    public let term: Term?
    /// Nodes with a session here.
    public let sessions: [NodeID]

    public init(index: Int, id: ManagerID, isAwake: Bool, term: Term?, sessions: [NodeID]) {
        self.index = index
        self.id = id
        self.isAwake = isAwake
        self.term = term
        self.sessions = sessions
    }
}
