import ProtocolModel

/// Decides which cached image is read and compared with its manifest next. Pure.
///
/// First those that an unclean stop put in doubt, of these the ones that guests wait for; then, where the policy wants it,
/// whichever has not been looked at for longest.
enum CheckPlan {
    struct Policy: Sendable, Equatable {
        /// How often each image is read; `nil`: never again once it is complete.
        var interval: Duration?
        /// How fast, unless a guest waits.
        var bytesPerSecond: Int64
    }

    enum Urgency: Int, Sendable, Comparable {
        /// A guest cannot start without it.
        case awaited
        case assigned
        case none

        static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    struct Candidate: Sendable, Equatable {
        var image: ImageID
        var isInDoubt: Bool
        var urgency: Urgency
        /// When it was last known to be what it should be.
        var lastKnownGood: Timestamp
    }

    enum Step: Sendable, Equatable {
        /// - Parameter unhurried: at the policy's rate.
        case check(ImageID, unhurried: Bool)
        case wait(Duration)
        case rest
    }

    static func next(_ candidates: [Candidate], _ policy: Policy, now: Timestamp) -> Step {
        let doubted = candidates.filter(\.isInDoubt).min { ($0.urgency, $0.image) < ($1.urgency, $1.image) }
        if let doubted { return .check(doubted.image, unhurried: doubted.urgency != .awaited) }
        guard let interval = policy.interval,
            let oldest = candidates.min(by: { ($0.lastKnownGood, $0.image) < ($1.lastKnownGood, $1.image) })
        else { return .rest }
        let age = now - oldest.lastKnownGood
        // A clock that was set back is no reason to wait for longer than the interval.
        return age >= interval || age < .zero - interval
            ? .check(oldest.image, unhurried: true) : .wait(min(interval - age, interval))
    }
}

/// Spreads reads over time.
struct ReadPace: Sendable, Equatable {
    let bytesPerSecond: Int64
    private var freeAt: Uptime?

    init(bytesPerSecond: Int64) { self.bytesPerSecond = max(1, bytesPerSecond) }

    /// How long to wait after a read. Time in which nothing was read is not made up for.
    mutating func wait(after bytes: Int64, at now: Uptime) -> Duration {
        let cost = Duration.microseconds(bytes * 1_000_000 / bytesPerSecond)
        let next = max(freeAt ?? now, now) + cost
        freeAt = next
        return next - now
    }
}
