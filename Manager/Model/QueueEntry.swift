public import ProtocolModel

/// What becomes of an instance that had to yield its room to another.
public enum Preemption: String, Sendable, CaseIterable {
    /// It waits in the queue, and starts again on its node.
    case queue
    /// It stays stopped until somebody starts it.
    case stop
}

/// Whether an instance has its share of its node: vCPUs and RAM. The disk and the address stay its own as long as it is.
public enum InstanceRoom: String, Sendable, CaseIterable {
    case held
    /// Asked to yield; goes to the queue once its guest is gone.
    case yielding
    /// Asked to yield; stays stopped once its guest is gone.
    case leaving
    /// Others may have it.
    case released

    /// Held until the guest is gone, and not longer.
    public var isBeingLeft: Bool { self == .yielding || self == .leaving }
}

/// An instance that waits for room.
///
/// The order of the queue never changes: it is by when each came, moved by its priority. One that has a higher priority goes
/// before those alone that came at most so much earlier, and so nobody is overtaken for ever.
public struct QueueEntry: Sendable, Equatable {
    public var instance: InstanceID
    /// Of `priorities`.
    public var priority: Int
    public var queuedAt: Timestamp
    /// What was wished for of its host, beyond what its flavor and image ask for.
    public var wish: QueuedWish
    /// How often others that came later were placed since it waits.
    public var overtaken: Int
    /// The host that is kept for it.
    public var reserved: NodeID?
    /// One that may be preempted keeps nothing from those that may not.
    public var isPreemptible: Bool
    /// What it waits for, as it was when this was last said.
    public var reason: String
    public var reasonAt: Timestamp

    public init(
        instance: InstanceID, priority: Int, queuedAt: Timestamp, wish: QueuedWish, overtaken: Int = 0,
        reserved: NodeID? = nil, isPreemptible: Bool, reason: String,
        reasonAt: Timestamp? = nil
    ) {
        self.instance = instance
        self.priority = priority
        self.queuedAt = queuedAt
        self.wish = wish
        self.overtaken = overtaken
        self.reserved = reserved
        self.isPreemptible = isPreemptible
        self.reason = reason
        self.reasonAt = reasonAt ?? queuedAt
    }

    public static let priorities = -100...100
    /// What one step of priority counts for: as if it had come so much earlier.
    public static let priorityStep = Duration.seconds(360)

    /// Smaller goes first; the ID decides among equals.
    public var rank: Int64 { Self.rank(cameAt: queuedAt, priority: priority) }

    public static func rank(cameAt moment: Timestamp, priority: Int) -> Int64 {
        moment.milliseconds - Int64(priority) * priorityStep.milliseconds
    }

    public static func precedes(_ one: QueueEntry, _ other: QueueEntry) -> Bool {
        (one.rank, one.instance) < (other.rank, other.instance)
    }
}

/// What was wished for of an instance's host when it was created.
public struct QueuedWish: Sendable, Hashable, Codable {
    /// Empty: any.
    public var nodes: [NodeID]
    public var excluded: [NodeID]
    public var zone: String?

    public init(nodes: [NodeID] = [], excluded: [NodeID] = [], zone: String? = nil) {
        self.nodes = nodes
        self.excluded = excluded
        self.zone = zone
    }
}

/// Where an instance stands in the queue.
public struct QueuePosition: Sendable, Equatable {
    public var entry: QueueEntry
    /// From 1.
    public var position: Int
    public var length: Int

    public init(entry: QueueEntry, position: Int, length: Int) {
        self.entry = entry
        self.position = position
        self.length = length
    }
}
