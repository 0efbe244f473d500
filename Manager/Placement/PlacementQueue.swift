public import ProtocolModel

/// One pass over the instances that wait for room, in their order: who is placed, for whom a host is kept, who is made room
/// for.
///
/// The scheme is backfilling with reservations (Lifka 1995, "EASY"; Mu'alem and Feitelson 2001 compare it with the
/// conservative form, which this is: not the first alone may have one). Virtual machines say nothing of how long they run, so
/// a reservation is no time but a host: whoever was overtaken often enough, or waits long enough, gets one, and from then on
/// nobody is placed there who would make it lack more. Whatever leaves that host brings its turn nearer, so that it is placed
/// once enough has left; and since the order of the queue is fixed, only so many can ever be ahead of anybody.
///
/// A value: the driver carries an effect out and tells what came of it. It ends when no effect is left.
public struct PlacementQueue: Sendable {
    public struct Waiting: Sendable, Equatable {
        public var instance: InstanceID
        public var queuedAt: Timestamp
        public var overtaken: Int
        public var reserved: NodeID?
        public var isPreemptible: Bool
        /// Equal for those that ask for the same: where one of them found no room, the next need not ask.
        public var shape: Int
        /// Its own fault, or nobody's: it cannot be placed now whatever there is.
        public var isBlocked: Bool

        public init(
            instance: InstanceID, queuedAt: Timestamp, overtaken: Int = 0, reserved: NodeID? = nil,
            isPreemptible: Bool = false, shape: Int, isBlocked: Bool = false
        ) {
            self.instance = instance
            self.queuedAt = queuedAt
            self.overtaken = overtaken
            self.reserved = reserved
            self.isPreemptible = isPreemptible
            self.shape = shape
            self.isBlocked = isBlocked
        }
    }

    public struct Rules: Sendable, Equatable {
        /// Whoever waits longer gets a host kept.
        public var patience = Duration.seconds(300)
        /// Whoever was overtaken so often does.
        public var mostOvertakings = 10
        /// Placed in one pass, which is one transaction.
        public var mostStarts = 64
        /// Hosts newly kept in one pass: each is looked for among all hosts.
        public var mostReservations = 16
        /// Of hosts that are kept already, whether another lacks less is asked for so many, the first in the order.
        public var mostSecondLooks = 4

        public init() {}
    }

    public enum Effect: Sendable, Equatable {
        /// Place it if there is room, on no host that is kept for one of `keepers` whom it would delay.
        case place(InstanceID, keepers: [NodeID: InstanceID])
        /// Ask instances that may be preempted to yield their room to it, on a host that is kept for nobody else.
        case makeRoom(InstanceID, avoiding: Set<NodeID>)
        /// Look for the host that is to be kept for it.
        ///
        /// - `isSettled`: the one that is kept now will do as long as it can.
        case findHost(InstanceID, keeping: NodeID?, avoiding: Set<NodeID>, isSettled: Bool)
        /// Record which host is kept for it.
        case keep(InstanceID, NodeID?)
        /// It was placed before these, who came earlier and go on waiting.
        case overtaken(by: InstanceID)
    }

    public enum Event: Sendable, Equatable {
        case began
        case placed(InstanceID)
        case noRoom(InstanceID)
        /// Room is being made on a host; `nil`: nowhere.
        case makingRoom(InstanceID, on: NodeID?)
        /// The host that is to be kept; `nil`: there is none.
        case found(InstanceID, NodeID?)
    }

    private let waiting: [Waiting]
    private let rules: Rules
    private let now: Timestamp
    /// Where others yield already.
    private let beingLeft: Set<NodeID>
    private var index = -1
    private var starts = 0
    private var newReservations = 0
    private var secondLooks = 0
    private var isAnyoneAhead = false
    /// Hosts that are kept for those that have been looked at, and whose they are.
    private var kept: [NodeID: InstanceID] = [:]
    /// Of them those kept for instances that may not be preempted: they alone bind the others.
    private var keptFirmly: [NodeID: InstanceID] = [:]
    /// What is kept so for those that are still to come in this pass: it binds those that may be preempted all the same.
    private var keptFirmlyLater: [NodeID: InstanceID]
    /// What found no room.
    private var hopeless: Set<Shape> = []
    /// For what no host is left that could be kept.
    private var unkeepable: Set<Shape> = []

    private struct Shape: Hashable {
        var shape: Int
        var isPreemptible: Bool
    }

    /// - Parameters:
    ///   - waiting: in the order of the queue.
    ///   - beingLeft: hosts on which instances yield their room now.
    public init(_ waiting: [Waiting], beingLeft: Set<NodeID> = [], rules: Rules = Rules(), at now: Timestamp) {
        self.waiting = waiting
        self.beingLeft = beingLeft
        self.rules = rules
        self.now = now
        keptFirmlyLater = [:]
        for one in waiting where !one.isPreemptible {
            if let node = one.reserved { keptFirmlyLater[node] = one.instance }
        }
    }

    public mutating func handle(_ event: Event) -> [Effect] {
        switch event {
        case .began: return next()
        case .placed: return placed()
        case .noRoom: return refused()
        case .makingRoom(_, let node):
            guard let node else {
                if current.reserved == nil { hopeless.insert(shape) }
                return withoutHelp()
            }
            return keep(node) + next()
        case .found(_, let node):
            if node == nil { unkeepable.insert(shape) } else if node != current.reserved { newReservations += 1 }
            return keep(node) + next()
        }
    }

    private var current: Waiting { waiting[index] }
    private var shape: Shape { Shape(shape: current.shape, isPreemptible: current.isPreemptible) }
    private var keepers: [NodeID: InstanceID] {
        current.isPreemptible ? keptFirmlyLater.merging(kept) { $1 } : keptFirmly
    }

    /// Goes to the next that has to be asked about.
    private mutating func next() -> [Effect] {
        var effects: [Effect] = []
        while index + 1 < waiting.count, starts < rules.mostStarts {
            index += 1
            if let node = current.reserved, keptFirmlyLater[node] == current.instance { keptFirmlyLater[node] = nil }
            if current.isBlocked {
                if current.reserved != nil { effects.append(.keep(current.instance, nil)) }
                isAnyoneAhead = true
                continue
            }
            // One without a host of its own finds no more than its like did.
            guard current.reserved == nil, hopeless.contains(shape) else {
                return effects + [.place(current.instance, keepers: keepers)]
            }
            guard let look = look() else {
                isAnyoneAhead = true
                continue
            }
            return effects + [look]
        }
        return effects
    }

    private mutating func placed() -> [Effect] {
        starts += 1
        let effects: [Effect] = isAnyoneAhead ? [.overtaken(by: current.instance)] : []
        return effects + next()
    }

    private mutating func refused() -> [Effect] {
        // What others are leaving is for it.
        if let reserved = current.reserved, beingLeft.contains(reserved), keepers[reserved] == nil {
            return keep(reserved) + next()
        }
        guard !current.isPreemptible else {
            if current.reserved == nil { hopeless.insert(shape) }
            return withoutHelp()
        }
        return [.makeRoom(current.instance, avoiding: Set(keepers.keys))]
    }

    /// It waits for what leaves by itself: with a host kept for it where it has waited long enough.
    private mutating func withoutHelp() -> [Effect] {
        if let look = look() { return [look] }
        isAnyoneAhead = true
        return next()
    }

    /// The search for a host to be kept, where one is due.
    private mutating func look() -> Effect? {
        let avoiding = Set(keepers.keys)
        guard current.reserved == nil else {
            secondLooks += 1
            return .findHost(
                current.instance, keeping: current.reserved, avoiding: avoiding,
                isSettled: secondLooks > rules.mostSecondLooks)
        }
        let isDue =
            current.overtaken >= rules.mostOvertakings || now - current.queuedAt >= rules.patience
        guard isDue, newReservations < rules.mostReservations, !unkeepable.contains(shape) else { return nil }
        return .findHost(current.instance, keeping: nil, avoiding: avoiding, isSettled: false)
    }

    private mutating func keep(_ node: NodeID?) -> [Effect] {
        isAnyoneAhead = true
        if let node {
            kept[node] = current.instance
            if !current.isPreemptible { keptFirmly[node] = current.instance }
        }
        return node == current.reserved ? [] : [.keep(current.instance, node)]
    }
}
