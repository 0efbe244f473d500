import ProtocolModel
import ProtocolTransfer

/// Tells the connections of one fetch apart.
struct LaneID: Hashable, Comparable, Sendable, CustomStringConvertible {
    let number: Int
    static func < (left: Self, right: Self) -> Bool { left.number < right.number }
    var description: String { "\(number)" }
}

/// One connection to a source, inside `FetchCore`.
struct FetchLane: Sendable {
    enum Duty: Sendable {
        /// The source in use.
        case main
        /// A better source, or the plan's new one: it takes over once it is seen to give.
        case successor
        /// Takes over from one that is in trouble, with what that one was asked for.
        case rescuer
    }

    let source: ChunkSource
    var duty: Duty
    let openedAt: Uptime
    var isOpen = false
    var askedManifest = false
    /// Asked and not answered, in order.
    var asked: [Int] = []
    /// What has come of the answer under way.
    var partBytes = 0
    var delivered = 0
    /// The last byte or sign.
    var lastSign: Uptime
    /// It does not give what was asked, since then.
    var unwillingSince: Uptime?
    /// It waits for chunks itself, since then.
    var starvedSince: Uptime?
    /// It could take over, since then.
    var readySince: Uptime?
    /// Its failure was told then.
    var blamedAt: Uptime?
    /// Nothing is asked before.
    var pauseUntil: Uptime?

    init(_ source: ChunkSource, _ duty: Duty, at now: Uptime) {
        self.source = source
        self.duty = duty
        self.openedAt = now
        self.lastSign = now
    }
}

/// What is known of a source that failed.
struct SourceTrouble: Sendable {
    /// Others go first until then.
    var avoidUntil: Uptime
    /// Not tried at all before.
    var retryAt: Uptime
    var failures = 0
}

/// How long a fetch bears what.
struct FetchPatience: Sendable {
    /// Neither a byte nor a sign of life.
    var silence = Duration.seconds(1)
    /// Alive, but it does not hold or permit the image: its assignment may be on its way.
    var unwilling = Duration.milliseconds(1500)
    /// Alive, and waits for chunks itself: whatever it waits for, it sees to that as we do.
    var starved = Duration.seconds(60)
    /// Before the same thing is asked again.
    var pause = Duration.milliseconds(100)
    var firstRetry = Duration.milliseconds(250)
    var longestRetry = Duration.seconds(2)
    /// A source that failed is used again once its turn comes; before that only if there is no other.
    var avoid = Duration.seconds(15)
    var longestAvoid = Duration.seconds(240)
    var liar = Duration.seconds(600)
    /// Nobody else may have the image, and whoever mends the manager's copy should not have to wait.
    var lyingManager = Duration.seconds(30)
    /// How long a source that is left may take to end the chunk under way.
    var parting = Duration.milliseconds(150)
    /// Requests under way on a connection.
    var window = 8
    /// How long a failure is told.
    var complaining = Duration.seconds(3)
}
