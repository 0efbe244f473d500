/// A mistake made on purpose, to see that the simulator finds it. It is made where the simulator carries messages, work
/// and files, so that no program has a switch for it.
public enum PlantedFault: String, Sendable, CaseIterable {
    /// An agent takes the domain of an overtaken placement for the current one.
    case epochCheckLeftOut = "epoch-check-left-out"
    /// The manager answers a request before it is committed.
    case acknowledgementBeforeCommit = "acknowledgement-before-commit"
    /// A deleted instance keeps its claim on its node.
    case claimNotReleased = "claim-not-released"
    /// What users claim does not count against their limits.
    case limitNotCounted = "limit-not-counted"
    /// An agent acts on assignments that it has not kept.
    case assignmentNotPersisted = "assignment-not-persisted"
    /// A request that is repeated for want of an answer is done again.
    case retryNotIdempotent = "retry-not-idempotent"
    /// A status about an older wish counts for the newest.
    case staleGenerationAccepted = "stale-generation-accepted"
    /// Usage is acknowledged before it is committed.
    case usageAcknowledgedBeforeCommit = "usage-acknowledged-before-commit"
    /// A batch of a number that was counted is counted again.
    case duplicateUsageCounted = "duplicate-usage-counted"
    /// A whole assignment set is merged into the old one.
    case fullSetTreatedAsDelta = "full-set-treated-as-delta"
    /// A node that was removed keeps its session.
    case removedNodeKept = "removed-node-kept"
    /// What a superseded session says is recorded.
    case supersededSessionHeard = "superseded-session-heard"
    /// A drain counts guests that still shut down as gone.
    case drainReportedEarly = "drain-reported-early"
    /// Placement does not ask whether a node is enabled.
    case disabledNodePlacedOn = "disabled-node-placed-on"
    /// An address is given away again while its guest still runs.
    case addressGivenTwice = "address-given-twice"
    /// A device's claim is forgotten while its guest still runs.
    case deviceGivenTwice = "device-given-twice"
    /// A chunk is kept and served without being verified.
    case chunkNotVerified = "chunk-not-verified"
    /// Drains that run are forgotten when the manager restarts.
    case drainLostOnRestart = "drain-lost-on-restart"
    /// The assignments are written without a sync.
    case journalNotSynced = "journal-not-synced"
    /// An agent that starts counts running guests from their own start, though they were counted before.
    case countedFromStartAgain = "counted-from-start-again"
    /// An agent that starts takes every domain for a stray until it hears from the manager.
    case strayBeforeSetIsKnown = "stray-before-set-is-known"
    /// A user's request is carried out with the rights of a superuser.
    case userTakenForSuperuser = "user-taken-for-superuser"
    /// A write of an old leader is not refused.
    case fencingLeftOut = "fencing-left-out"
    /// A leader counts its lease from the moment at which its renewal is answered.
    case leaseCountedFromAnswer = "lease-counted-from-answer"
    /// A manager that sees another's lease takes it without waiting for its end.
    case takenOverAtOnce = "taken-over-at-once"
    /// A manager that wants the lease takes it, though it has changed since it was looked at.
    case leaseTakenUncompared = "lease-taken-uncompared"
    /// An agent starts what its disk says before it has heard a manager, also what may run elsewhere by now.
    case startsUnheard = "starts-unheard"
    /// A manager that does not lead takes agents, and records what they say.
    case agentsWithoutLeading = "agents-without-leading"
    /// A leader whose term is over keeps its agents.
    case sessionsOutliveTheTerm = "sessions-outlive-the-term"
    /// An agent tells the manager that its host was taken back, and runs guests as before.
    case startsAfterDeparture = "starts-after-departure"
    /// That a host was taken back is not written down.
    case departureNotKept = "departure-not-kept"
    /// A manager does not listen to what agents say of their hosts' operators.
    case departureNotHeard = "departure-not-heard"
    /// What other managers change is not followed.
    case feedNotFollowed = "feed-not-followed"

    /// Whether it can be seen only where hosts have devices.
    public var isAboutDevices: Bool { self == .deviceGivenTwice }
}
