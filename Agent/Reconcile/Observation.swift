public import ProtocolModel

/// Why a domain does not run.
public enum StopCause: String, Sendable, Hashable, CaseIterable {
    /// The guest shut itself down.
    case guestShutdown
    /// The guest or its QEMU died.
    case crashed
    /// The hypervisor could not start it.
    case failed
    /// Somebody powered it off from outside the guest.
    case destroyed
    /// Nobody can tell, such as after a boot of the host.
    case unknown
}

/// A domain as the hypervisor shows it. A domain that does not exist has no observation.
public struct DomainObservation: Sendable, Hashable {
    public enum State: Sendable, Hashable {
        case running
        case stopped(StopCause)
    }

    /// As recorded in the domain when it was started.
    public var epoch: Epoch
    /// As recorded in the domain when it was started.
    public var powerCycle: PowerCycle
    public var state: State
    public var startedAt: Timestamp?
    /// Addresses of the assigned devices that it was started with.
    public var devices: [String]

    public init(
        epoch: Epoch, powerCycle: PowerCycle, state: State, startedAt: Timestamp? = nil, devices: [String] = []
    ) {
        self.devices = devices
        self.epoch = epoch
        self.powerCycle = powerCycle
        self.state = state
        self.startedAt = startedAt
    }

    public var isRunning: Bool { state == .running }
}

/// Everything of ours that a host holds, at one look.
public struct Survey: Sendable, Hashable {
    public var domains: [InstanceID: DomainObservation]
    public var disks: Set<InstanceID>
    /// Of these, the ones that depend on no image.
    public var independentDisks: Set<InstanceID>

    public init(
        domains: [InstanceID: DomainObservation] = [:], disks: Set<InstanceID> = [],
        independentDisks: Set<InstanceID> = []
    ) {
        self.domains = domains
        self.disks = disks
        self.independentDisks = independentDisks
    }
}
