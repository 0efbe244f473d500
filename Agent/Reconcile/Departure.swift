public import ProtocolModel

/// The host's own operator has taken the host back: no guest runs on it and none is started, whatever the manager wants,
/// until it is given back.
public struct Departure: Sendable, Hashable {
    public var reason: String
    public var since: Timestamp
    /// How long after `since` guests may take to be gone.
    public var deadline: Duration

    public init(reason: String, since: Timestamp, deadline: Duration) {
        self.reason = reason
        self.since = since
        self.deadline = deadline
    }

    /// Of the deadline, what forcing off takes: until then guests may shut down by themselves.
    static let mostForcing = Duration.seconds(10)

    /// How long guests may still shut down. A clock that was set meanwhile never gives them longer than they had at first.
    func asking(at now: Timestamp) -> Duration {
        let forcing = min(Self.mostForcing, deadline / 4)
        return min(max(.zero, deadline - (now - since)), deadline) - forcing
    }
}

/// A guest that runs, or may still run.
public struct RemainingGuest: Sendable, Hashable {
    public enum Phase: String, Sendable, Hashable, Codable {
        case running
        case shuttingDown = "shutting_down"
        case forcedOff = "forced_off"
        /// The hypervisor is being asked.
        case unclear
    }

    public var instance: InstanceID
    /// Empty where no assignment names it.
    public var name: String
    public var phase: Phase

    public init(instance: InstanceID, name: String, phase: Phase) {
        self.instance = instance
        self.name = name
        self.phase = phase
    }
}

/// How far a host is that has been taken back.
public struct DepartureSight: Sendable, Hashable {
    public var departure: Departure
    /// The host was looked over since; before, a guest may run that nobody knows of.
    public var isComplete: Bool
    public var remaining: [RemainingGuest]

    public init(departure: Departure, isComplete: Bool, remaining: [RemainingGuest]) {
        self.departure = departure
        self.isComplete = isComplete
        self.remaining = remaining
    }

    /// No guest of Roost's runs.
    public var isEmpty: Bool { isComplete && remaining.isEmpty }
}

extension Reconciler {
    /// What it takes that the host was taken back.
    struct Leaving: Sendable {
        let departure: Departure
        /// When guests are forced off.
        let forceAt: Uptime
        /// The event at which it began: a look begun earlier does not tell that nothing runs.
        let sequence: UInt64
        var isSurveyed = false
    }

    /// How far the host is, where it has been taken back.
    public var departureSight: DepartureSight? {
        leaving.map { leaving in
            DepartureSight(
                departure: leaving.departure, isComplete: leaving.isSurveyed, remaining: guests)
        }
    }

    /// Guests that run, or may.
    public var guests: [RemainingGuest] {
        records.values.compactMap(\.remainingGuest).sorted { $0.instance < $1.instance }
    }

    /// What waits for its time is tried at once, and everything is looked at, since events may have been missed.
    mutating func depart(_ departure: Departure, at now: Moment, _ effects: inout [Effect]) -> Set<InstanceID> {
        leaving = Leaving(
            departure: departure, forceAt: now.uptime + departure.asking(at: now.timestamp), sequence: sequence)
        for id in records.keys { records[id]?.retryAt = nil }
        requestSurvey(&effects)
        return Set(records.keys)
    }

    mutating func comeBack() -> Set<InstanceID> {
        guard leaving != nil else { return [] }
        leaving = nil
        // A guest that was still being shut down is asked no more.
        for id in records.keys { records[id]?.stopping = nil }
        return Set(records.keys)
    }
}

extension InstanceRecord {
    fileprivate var remainingGuest: RemainingGuest? {
        let phase: RemainingGuest.Phase
        switch inFlight?.action {
        case .powerOff: phase = .forcedOff
        case .start, .inspect: phase = domainRuns ? runningPhase : .unclear
        default:
            guard domainRuns || mustInspect || domain == .unknown else { return nil }
            phase = domainRuns ? runningPhase : .unclear
        }
        return RemainingGuest(instance: id, name: assignment?.guest.name ?? "", phase: phase)
    }

    private var runningPhase: RemainingGuest.Phase { stopping == nil ? .running : .shuttingDown }
}
