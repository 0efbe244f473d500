import ProtocolModel

/// Everything that the reconciler knows of one instance.
struct InstanceRecord: Sendable {
    enum Domain: Sendable, Hashable {
        /// No survey has shown it yet.
        case unknown
        case absent
        case present(DomainObservation)
    }

    struct InFlight: Sendable {
        let id: ActionID
        let action: Action
        /// Domain events that came while the action ran may be about the time before it or after it.
        var sawStart = false
        var sawStop = false
    }

    enum Readiness: Sendable, Hashable {
        case none
        case waiting(deadline: Uptime?)
        /// The boot timeout has passed; the guest is still asked.
        case late
        case ready
    }

    /// A guest that is being shut down by us.
    struct Stopping: Sendable {
        let since: Uptime
        var nextRequest: Uptime
    }

    /// What was wanted when the guest shut itself down: it stays down until something else is wanted.
    struct Ended: Sendable, Hashable {
        let generation: Generation
        let powerCycle: PowerCycle
    }

    struct Failure: Sendable {
        let action: Action
        let cause: ActionFailure
        var count: Int
    }

    let id: InstanceID
    var assignment: Assignment?
    /// The manager named the instance, so it is not a stray, though its assignment could not be followed.
    var isNamed = false
    var domain = Domain.unknown
    var inFlight: InFlight?
    /// What is known of the domain may be out of date.
    var mustInspect = false
    /// What an event said of a stop that is still to be looked up.
    var hintedCause: StopCause?
    /// The event at which knowledge of the domain last changed; a survey begun earlier has nothing to add.
    var touched: UInt64 = 0

    var hasDisk = false
    /// The disk needs no image below it.
    var diskIsIndependent = false
    var diskRemoved = false
    /// Somebody else reads it: no domain may have it, and it is not removed.
    var diskIsLent = false
    var seedWritten = false
    var addressReserved = false
    var addressReleased = false

    var failure: Failure?
    var failureBackoff: Backoff
    var retryAt: Uptime?

    var crashes = 0
    var crashBackoff: Backoff
    var startAt: Uptime?

    var runningSince: Uptime?
    var readiness = Readiness.none
    var stopping: Stopping?
    var lastAskedToStop: Uptime?
    var ended: Ended?
    /// The stray, or the domain of an older epoch, has been logged.
    var noticed = false

    var wakeAt: Uptime?
    var status: Status?

    init(id: InstanceID, policy: ReconcilePolicy) {
        self.id = id
        failureBackoff = policy.failureBackoff
        crashBackoff = policy.crashBackoff
    }

    var observation: DomainObservation? {
        if case .present(let observation) = domain { observation } else { nil }
    }

    var domainRuns: Bool { observation?.isRunning ?? false }

    /// The guest shut itself down, and nothing else has been wanted since.
    var staysDown: Bool {
        guard let ended, let assignment else { return false }
        return ended == Ended(generation: assignment.generation, powerCycle: assignment.powerCycle)
    }

    /// The newest placement that this host has seen; older ones are none of its business (P1).
    var knownEpoch: Epoch? {
        [assignment?.epoch, observation?.epoch].compactMap { $0 }.max()
    }

    /// Takes over a new assignment. What was held back because of the old one is tried at once.
    mutating func assign(_ new: Assignment) {
        isNamed = true
        guard new != assignment else { return }
        if new.guest != assignment?.guest {
            seedWritten = false
            addressReserved = false
        }
        if new.desired != .deleted { diskRemoved = false }
        if new.desired != .deleted { addressReleased = false }
        if new.generation != assignment?.generation || new.epoch != assignment?.epoch {
            retryAt = nil
            failure = nil
            failureBackoff.reset()
            startAt = nil
            crashes = 0
            crashBackoff.reset()
            noticed = false
        }
        assignment = new
    }
}
