public import ProtocolModel

/// What is, as the manager is told.
public struct Status: Sendable, Hashable {
    public enum State: String, Sendable, Hashable, CaseIterable {
        /// Image or disk is not there yet.
        case preparing
        /// The domain runs, the guest has not answered yet.
        case starting
        case running
        case stopping
        /// No domain runs; the disk is kept.
        case stopped
        case failed
        /// No domain and no disk.
        case deleted
    }

    public var instance: InstanceID
    public var epoch: Epoch
    /// Of the assignment that this status answers.
    public var generation: Generation
    public var state: State
    public var code: String
    public var reason: String
    /// When this became so.
    public var at: Timestamp
    /// Of the domain; zero where there is none.
    public var powerCycle: PowerCycle
    public var domainStartedAt: Timestamp?
    /// The agent will not do anything about it by itself.
    public var failureIsFinal: Bool
    /// Addresses of the assigned devices that the domain has.
    public var devices: [String]

    public init(
        instance: InstanceID, epoch: Epoch, generation: Generation, state: State, code: String = "",
        reason: String = "", at: Timestamp, powerCycle: PowerCycle = PowerCycle(0), domainStartedAt: Timestamp? = nil,
        failureIsFinal: Bool = false, devices: [String] = []
    ) {
        self.instance = instance
        self.epoch = epoch
        self.generation = generation
        self.state = state
        self.code = code
        self.reason = reason
        self.at = at
        self.powerCycle = powerCycle
        self.domainStartedAt = domainStartedAt
        self.failureIsFinal = failureIsFinal
        self.devices = devices
    }

    /// Equal but for the time.
    func says(theSameAs other: Status) -> Bool {
        var other = other
        other.at = at
        return self == other
    }
}
