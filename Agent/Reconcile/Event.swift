public import ProtocolModel

/// A change of what should be.
public enum AssignmentChange: Sendable, Hashable {
    /// The whole set: what it does not name does not belong on this host.
    case full([Assignment])
    case delta(changed: [Assignment], removed: [InstanceID])
}

/// Tells an answer to a survey from the answers to others.
public struct SurveyToken: Sendable, Hashable {
    let sequence: UInt64
}

/// Numbers the actions of one reconciler.
public struct ActionID: Sendable, Hashable, Comparable {
    let number: UInt64
    public static func < (left: Self, right: Self) -> Bool { left.number < right.number }
}

/// Why something did not work: a code for programs and a sentence for people.
public struct ActionFailure: Error, Sendable, Hashable {
    public var code: String
    public var sentence: String
    /// Repeating it alone does not help: it is told as a failure at once, although it is repeated.
    public var isLasting: Bool

    public init(code: String, sentence: String, isLasting: Bool = false) {
        self.code = code
        self.sentence = sentence
        self.isLasting = isLasting
    }
}

/// How an action ended.
public enum Outcome: Sendable, Hashable {
    case succeeded
    /// The answer to `Action.makeFiles`, where the disk depends on no image from now on.
    case madeIndependentDisk
    /// The answer to `Action.inspect`; `nil`: there is no such domain.
    case observed(DomainObservation?)
    case failed(ActionFailure)
}

/// Something that happened. Domain events are hints: what they say is looked up before anything is done about it.
public enum Event: Sendable, Hashable {
    case assigned(AssignmentChange)
    /// The hypervisor answers, for the first time or again, so events may have been missed.
    case hypervisorReady
    case surveyed(SurveyToken, Survey)
    case surveyFailed(SurveyToken, ActionFailure)
    case domainStarted(InstanceID)
    case domainStopped(InstanceID, StopCause)
    case imageHeld(ImageID)
    case imageMissing(ImageID, reason: String)
    case finished(ActionID, Outcome)
    /// The guest of this power cycle answered its readiness probe.
    case answered(InstanceID, PowerCycle)
    /// Somebody else wants to read the instance's disk; answered by `Effect.lend`.
    case diskWanted(InstanceID)
    /// Who had the disk has it no more.
    case diskReturned(InstanceID)
    /// The host's own operator has taken the host back.
    case departed(Departure)
    /// The host was given back.
    case returned
    /// The first set that a manager sent to this process is kept, and was given as `assigned` before this.
    case managerHeard
    case sessionStarted
    case sessionEnded
    case tick
}
