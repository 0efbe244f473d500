public import ProtocolModel

/// Who a device is claimed for: one placement of an instance on this host.
public struct DeviceClaim: Sendable, Hashable, CustomStringConvertible {
    public var instance: InstanceID
    public var epoch: Epoch

    public init(instance: InstanceID, epoch: Epoch) {
        self.instance = instance
        self.epoch = epoch
    }

    public var description: String { "instance \(instance) (placement \(epoch.value))" }
}

/// Devices that are claimed, used and cleaned together: none of them is anybody else's until all are free.
///
/// ```
///   claim ──▶ claimed ──▶ attached            domain gone, no longer wanted
///                │            │                          │
///                └────────────┴──────▶ cleaning ◀────────┘
///                                     resetting ▶ verifying ▶ returning ──▶ free
///                                         └───────────┴───────────┴──▶ quarantined
/// ```
public struct DeviceHold: Sendable, Equatable {
    public enum State: Sendable, Equatable {
        /// On the disk; may be bound to VFIO and given to a domain.
        case claimed
        /// A domain has them.
        case attached
        /// No domain has them; nobody may.
        case cleaning(Cleaning)
    }

    /// A pass over the devices that ends with each free or quarantined. A restart begins it anew.
    public struct Cleaning: Sendable, Equatable {
        public enum Phase: Sendable, Equatable {
            case resetting, verifying, returning
        }

        var phase: Phase
        /// Devices whose answer is awaited.
        var pending: Set<String>
        /// Tells this pass's answers from those of one that was broken off. 0: not begun in this life of the process.
        var ticket: UInt64
    }

    /// `nil`: nobody has them; they are only being cleaned.
    public var claim: DeviceClaim?
    /// In order.
    public var addresses: [String]
    public var state: State
    public var since: Timestamp
    /// Of these, the ones that VFIO had before anybody claimed them: an operator gave them to it, and it keeps them.
    var kept: Set<String> = []

    /// How a process that begins has it: of a pass that another began, nobody awaits the answers.
    var asKept: DeviceHold {
        var hold = self
        if isCleaning { hold.state = .cleaning(Cleaning(phase: .resetting, pending: [], ticket: 0)) }
        return hold
    }

    public var isCleaning: Bool { if case .cleaning = state { true } else { false } }
}

/// Why a claim is not granted.
public struct DeviceRefusal: Error, Sendable, Equatable, CustomStringConvertible {
    public var description: String
    /// Waiting alone does not help.
    public var isLasting: Bool

    static func lasting(_ sentence: String) -> Self { Self(description: sentence, isLasting: true) }
    static func passing(_ sentence: String) -> Self { Self(description: sentence, isLasting: false) }
}

/// Why a device is kept out of service.
public struct DeviceQuarantine: Sendable, Equatable {
    public enum Cause: Sendable, Equatable {
        /// Its reset, its verification or its return to the host failed; a person must look at it.
        case failed
        /// It is gone from the bus; it is cleaned when it comes back.
        case missing
        /// A domain has it that may not; it is cleaned when that ends.
        case occupied
    }

    public var cause: Cause
    public var reason: String
    /// Who had it last.
    public var claim: DeviceClaim?
    public var since: Timestamp
}

/// What is kept on the disk.
public struct LedgerContent: Sendable, Equatable {
    public var holds: [DeviceHold]
    public var quarantine: [String: DeviceQuarantine]

    public init(holds: [DeviceHold] = [], quarantine: [String: DeviceQuarantine] = [:]) {
        self.holds = holds
        self.quarantine = quarantine
    }
}
