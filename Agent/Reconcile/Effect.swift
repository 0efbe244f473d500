public import ProtocolModel

/// Something to be done about one instance. Each is repeatable: done twice, it leaves what it leaves when done once, and
/// what is to be removed may be gone already.
public enum Action: Sendable, Hashable {
    /// Make the boot disk from the image, unless there is one, and write the guest's first-boot data anew.
    case makeFiles(Assignment)
    /// Make sure that the guest is given its address; the guest runs already.
    case reserveAddress(Assignment)
    /// Define and start the domain, with epoch and power cycle recorded in it. A domain that runs is a failure.
    case start(Assignment)
    case askToShutDown(InstanceID)
    case powerOff(InstanceID)
    /// Remove a domain that does not run; its disk stays.
    case removeDomain(InstanceID)
    case releaseAddress(InstanceID)
    case removeDisk(InstanceID)
    /// Look at the domain; answered by `Outcome.observed`.
    case inspect(InstanceID)

    public var instance: InstanceID {
        switch self {
        case .makeFiles(let assignment), .reserveAddress(let assignment), .start(let assignment):
            assignment.instance
        case .askToShutDown(let id), .powerOff(let id), .removeDomain(let id), .releaseAddress(let id),
            .removeDisk(let id), .inspect(let id):
            id
        }
    }

    /// Costs the host so much that only a few may run at once.
    var isHeavy: Bool {
        switch self {
        case .makeFiles, .start: true
        default: false
        }
    }

    /// Afterwards, failed or not, the domain may be other than it was.
    var changesDomain: Bool {
        switch self {
        case .start, .powerOff, .removeDomain: true
        default: false
        }
    }
}

/// Something that the driver carries out.
public enum Effect: Sendable, Hashable {
    /// Answered by `Event.surveyed` or `.surveyFailed` with the same token.
    case survey(SurveyToken)
    /// Answered by `Event.finished` with the same ID.
    case perform(ActionID, Action)
    /// Ask the guest until it answers (`Event.answered`) or `endProbe`.
    case probe(Assignment)
    case endProbe(InstanceID)
    /// The answer to `Event.diskWanted`.
    case lend(InstanceID, DiskLoan)
    /// Goes to the manager where a session is live.
    case report(full: Bool, [Status])
    case notice(Notice)
}

/// How somebody else may read an instance's disk.
public enum DiskLoan: Sendable, Hashable {
    /// The guest has the disk: it can be read through its domain alone.
    case running
    /// No domain has the disk, and none gets it until it is returned.
    case stopped
    /// There is none.
    case absent
}

/// What a person who reads the log should know.
public enum Notice: Sendable, Hashable {
    case olderEpochIgnored(InstanceID, offered: Epoch, known: Epoch)
    /// The domain belongs to no assignment of this host (P1); it is removed and its disk kept.
    case strayDomain(InstanceID, epoch: Epoch)
    /// A disk without an assignment is kept for a person to decide.
    case strayDisk(InstanceID)
    case outdatedDomain(InstanceID, running: Epoch, assigned: Epoch)
    case guestStopped(InstanceID, StopCause)
    case crashLoop(InstanceID, crashes: Int, nextStartIn: Duration)
    case bootTimedOut(InstanceID, after: Duration)
    case forcedOff(InstanceID, after: Duration)
    case actionFailed(InstanceID, ActionFailure, nextTryIn: Duration)
    case surveyFailed(ActionFailure, nextTryIn: Duration)
}
