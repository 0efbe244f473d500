public import ProtocolModel

/// Decides what to do so that a host's guests become what the manager wants them to be.
///
/// A pure value: events go in, effects come out, time is a parameter. Knowledge is level-triggered: events of the
/// hypervisor only say where to look, and what is done rests on what a look showed. Any effect may fail or be lost with
/// the process; after a restart, a survey and the persisted assignments lead to the same end.
///
/// ```
/// running   absent --image held--> files -> start --> running -> address --answer--> ready
///           running, older cycle --> ask, then force --> stopped --> removed --> start
/// stopped   running --> ask, then force --> stopped --> removed (disk kept)
/// deleted   running --> force --> removed --> address released --> disk removed
/// stray     running --> force --> removed (disk kept)
/// ```
///
/// On a host that its own operator has taken back (`Departure`) every guest goes the way of `stopped`, forced in time, and
/// none is started.
public struct Reconciler: Sendable {
    let policy: ReconcilePolicy
    /// The host booted since the assignments were last persisted, so why a guest is down says nothing about the guest.
    let hostRebooted: Bool
    var random: SeededRandom
    var sequence: UInt64 = 0
    var lastAction: UInt64 = 0

    var records: [InstanceID: InstanceRecord] = [:]
    var setIsKnown = false
    var heldImages: Set<ImageID> = []
    var imageProblems: [ImageID: String] = [:]

    var isSurveyed = false
    var outstandingSurvey: SurveyToken?
    var surveyAt: Uptime?
    var surveyBackoff = Backoff(first: .seconds(1), maximum: .seconds(30))
    var disks: Set<InstanceID> = []
    var noticedDisks: Set<InstanceID> = []

    /// The host's own operator has taken it back.
    var leaving: Leaving?

    /// Disks that somebody else wants to read.
    var wantedDisks: Set<InstanceID> = []

    var heavyActions = 0
    /// Instances whose next action waits for one of the few places.
    var queue: [InstanceID] = []

    /// A manager has told this process what should be. Until then, guests that may run elsewhere by now are not started.
    var managerIsHeard = false
    var sessionIsLive = false
    var owesFullReport = false

    public init(policy: ReconcilePolicy = ReconcilePolicy(), hostRebooted: Bool = false, seed: UInt64) {
        self.policy = policy
        self.hostRebooted = hostRebooted
        self.random = SeededRandom(seed: seed)
    }

    /// When `Event.tick` is due, if nothing else happens before.
    public var nextWake: Uptime? {
        var earliest = surveyAt
        for record in records.values {
            guard let wakeAt = record.wakeAt else { continue }
            earliest = earliest.map { min($0, wakeAt) } ?? wakeAt
        }
        return earliest
    }

    /// Domains that run, as far as is known.
    public var runningDomains: Int { records.values.count { $0.domainRuns } }

    /// Instances with an assignment, for those who need to know what belongs to this host.
    public var assignedInstances: Set<InstanceID> { Set(records.values.filter { $0.assignment != nil }.map(\.id)) }

    /// Images that guests of this host are made from.
    public var imagesInUse: Set<ImageID> {
        Set(records.values.compactMap { $0.assignment?.desired == .deleted ? nil : $0.assignment?.image })
    }

    /// Takes in what happened and says what to do about it.
    public mutating func handle(_ event: Event, at now: Moment) -> [Effect] {
        sequence += 1
        var effects: [Effect] = []
        var touched: Set<InstanceID> = []
        switch event {
        case .assigned(let change): touched = assign(change, &effects)
        case .hypervisorReady: requestSurvey(&effects)
        case .surveyed(let token, let survey): touched = take(survey, for: token, at: now, &effects)
        case .surveyFailed(let token, let failure): surveyFailed(token, failure, at: now, &effects)
        case .domainStarted(let id): touched = hint(id, stopped: nil)
        case .domainStopped(let id, let cause): touched = hint(id, stopped: cause)
        case .imageHeld(let image): touched = hold(image)
        case .imageMissing(let image, let reason): touched = miss(image, reason)
        case .finished(let action, let outcome): touched = finish(action, outcome, at: now, &effects)
        case .answered(let id, let cycle): touched = answer(id, cycle, &effects)
        case .diskWanted(let id): wantedDisks.insert(id)
        case .diskReturned(let id): touched = takeBack(id)
        case .departed(let departure): touched = depart(departure, at: now, &effects)
        case .returned: touched = comeBack()
        case .managerHeard:
            managerIsHeard = true
            touched = Set(records.values.filter { $0.assignment?.restartsElsewhere == true }.map(\.id))
        case .sessionStarted:
            sessionIsLive = true
            owesFullReport = true
        case .sessionEnded: sessionIsLive = false
        case .tick:
            touched = Set(records.values.filter { $0.wakeAt.map { $0 <= now.uptime } ?? false }.map(\.id))
            if let surveyAt, surveyAt <= now.uptime { requestSurvey(&effects) }
        }
        settle(&touched, at: now, &effects)
        lendDisks(&effects)
        report(touched, at: now, &effects)
        return effects
    }

    func ids(with image: ImageID) -> Set<InstanceID> {
        Set(records.values.filter { $0.assignment?.image == image }.map(\.id))
    }

    private mutating func hold(_ image: ImageID) -> Set<InstanceID> {
        imageProblems[image] = nil
        return heldImages.insert(image).inserted ? ids(with: image) : []
    }

    private mutating func miss(_ image: ImageID, _ reason: String) -> Set<InstanceID> {
        heldImages.remove(image)
        imageProblems[image] = reason.isEmpty ? nil : reason
        return ids(with: image)
    }
}
