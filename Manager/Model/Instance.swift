public import ProtocolModel

/// A virtual machine as its owner knows it. It keeps its ID, name, disk and addresses across power cycles (CTL-02, CTL-03).
public struct Instance: Sendable, Equatable {
    public var id: InstanceID
    public var name: String
    public var owner: UserID
    public var account: String
    public var flavor: FlavorID
    public var image: ImageID
    public var keyName: String?
    /// Public keys in OpenSSH's one-line form, copied at creation so that removing a key pair changes no guest.
    public var sshKeys: [String]
    public var userData: [UInt8]
    public var metadata: [String: String]
    public var hostName: String

    // The claim: what placement has set aside on the node.
    public var vcpus: Int
    public var ramMiB: Int
    public var diskGiB: Int
    public var gpus: Int
    /// Devices that it is given whenever it runs, as its flavor asked for them when it was created.
    public var devices: [FlavorRequirements.Devices]
    /// Where its hardware is other than ordinary (`GuestHardware`), as flavor and image said when it was created.
    public var hardware: [String: String] = [:]
    /// Where it lies on its node; `nil`: anywhere.
    public var place: GuestPlace?

    // Placement.
    /// Whose others it was placed beside, or away from.
    public var serverGroup: ServerGroupID?
    /// `nil`: it waits for one in the queue, or ended before it had any.
    public var node: NodeID?
    public var epoch: Epoch
    public var macAddress: String?
    public var ipAddress: String?

    /// What becomes of it when its host vanishes.
    public var onHostLoss = HostLossPolicy.keep
    /// Its host may have kept an assignment that does not say `onHostLoss.restart` yet, and start it by that after a boot.
    public var isHostLossPolicyUnconfirmed = false
    /// For when it is placed again.
    public var placementLimits = PlacementLimits.none

    // What should be.
    public var desired: DesiredState
    public var generation: Generation
    public var powerCycle: PowerCycle
    /// Stop or reboot without asking the guest.
    public var force: Bool
    /// How long the guest may take to stop before it is forced off; `nil`: it is never forced.
    public var stopTimeoutSeconds: Int?
    /// Stopped because its node was disabled; enabling the node starts it again.
    public var stoppedByDrain: Bool
    /// Where it stands among those that wait, of `QueueEntry.priorities`.
    public var priority: Int
    /// What becomes of it when another needs its room; `nil`: it never yields.
    public var preemption: Preemption?
    public var room: InstanceRoom

    // What is, as last reported.
    public var status: InstanceStatus
    public var statusCode: String
    public var statusReason: String
    public var startedAt: Timestamp?
    public var readyAt: Timestamp?

    public var operation: OperationID?
    public var createdAt: Timestamp
    public var updatedAt: Timestamp
    public var deletedAt: Timestamp?

    public init(
        id: InstanceID, name: String, owner: UserID, account: String, flavor: Flavor, image: ImageID, keyName: String?,
        sshKeys: [String], userData: [UInt8], metadata: [String: String], hostName: String, node: NodeID?,
        macAddress: String?, ipAddress: String?, serverGroup: ServerGroupID? = nil, priority: Int = 0,
        preemption: Preemption? = nil, createdAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.owner = owner
        self.account = account
        self.flavor = flavor.id
        self.image = image
        self.keyName = keyName
        self.sshKeys = sshKeys
        self.userData = userData
        self.metadata = metadata
        self.hostName = hostName
        self.vcpus = flavor.vcpus
        self.ramMiB = flavor.ramMiB
        self.diskGiB = flavor.diskGiB
        self.gpus = flavor.gpus
        self.devices = flavor.devices
        self.serverGroup = serverGroup
        self.node = node
        self.epoch = Epoch(1)
        self.macAddress = macAddress
        self.ipAddress = ipAddress
        self.desired = .running
        self.generation = Generation(1)
        self.powerCycle = PowerCycle(1)
        self.force = false
        self.stopTimeoutSeconds = nil
        self.stoppedByDrain = false
        self.priority = priority
        self.preemption = preemption
        self.room = .held
        self.status = .queued
        self.statusCode = "accepted"
        self.statusReason = "waiting for the node to begin"
        self.createdAt = createdAt
        self.updatedAt = createdAt
    }

    /// For the store, which reads every column.
    public init(
        id: InstanceID, name: String, owner: UserID, account: String, flavor: FlavorID, image: ImageID,
        keyName: String?,
        sshKeys: [String], userData: [UInt8], metadata: [String: String], hostName: String, vcpus: Int, ramMiB: Int,
        diskGiB: Int, gpus: Int = 0, devices: [FlavorRequirements.Devices] = [], serverGroup: ServerGroupID? = nil,
        node: NodeID?, epoch: Epoch, macAddress: String?, ipAddress: String?,
        desired: DesiredState,
        generation: Generation, powerCycle: PowerCycle, force: Bool, stopTimeoutSeconds: Int?, stoppedByDrain: Bool,
        priority: Int = 0, preemption: Preemption? = nil, room: InstanceRoom = .held,
        status: InstanceStatus, statusCode: String, statusReason: String, startedAt: Timestamp?, readyAt: Timestamp?,
        operation: OperationID?, createdAt: Timestamp, updatedAt: Timestamp, deletedAt: Timestamp?
    ) {
        self.id = id
        self.name = name
        self.owner = owner
        self.account = account
        self.flavor = flavor
        self.image = image
        self.keyName = keyName
        self.sshKeys = sshKeys
        self.userData = userData
        self.metadata = metadata
        self.hostName = hostName
        self.vcpus = vcpus
        self.ramMiB = ramMiB
        self.diskGiB = diskGiB
        self.gpus = gpus
        self.devices = devices
        self.serverGroup = serverGroup
        self.node = node
        self.epoch = epoch
        self.macAddress = macAddress
        self.ipAddress = ipAddress
        self.desired = desired
        self.generation = generation
        self.powerCycle = powerCycle
        self.force = force
        self.stopTimeoutSeconds = stopTimeoutSeconds
        self.stoppedByDrain = stoppedByDrain
        self.priority = priority
        self.preemption = preemption
        self.room = room
        self.status = status
        self.statusCode = statusCode
        self.statusReason = statusReason
        self.startedAt = startedAt
        self.readyAt = readyAt
        self.operation = operation
        self.createdAt = createdAt
        self.updatedAt = updatedAt
        self.deletedAt = deletedAt
    }
}

extension Instance {
    /// Whether it is in the queue: it has no host yet, or waits for room on the one that has its disk.
    public var isWaiting: Bool { status == .queued && (node == nil || desired == .stopped) }

    /// Whether its host has no domain of it, nor is to have one.
    public var isWithoutDomain: Bool { desired == .stopped && (status == .stopped || status == .queued) }
}

/// What a user wants of an instance.
public enum DesiredState: String, Sendable, CaseIterable {
    case running, stopped, deleted
}

/// What a user sees of an instance (DESIGN §4).
public enum InstanceStatus: String, Sendable, CaseIterable {
    case queued = "QUEUED"
    case building = "BUILDING"
    case active = "ACTIVE"
    case stopping = "STOPPING"
    case stopped = "STOPPED"
    case rebooting = "REBOOTING"
    case migrating = "MIGRATING"
    case error = "ERROR"
    case deleting = "DELETING"
    case deleted = "DELETED"
}

/// What an agent says of an instance, as the manager's cores understand it.
public struct ObservedInstance: Sendable, Equatable {
    public enum State: Sendable, Equatable {
        case preparing, starting, running, stopping, stopped, failed, deleted
    }

    public var instance: InstanceID
    public var epoch: Epoch
    public var generation: Generation
    public var powerCycle: PowerCycle
    public var state: State
    public var reasonCode: String
    public var reason: String
    public var at: Timestamp
    public var domainStartedAt: Timestamp?
    /// The agent will not try again by itself.
    public var failureIsFinal: Bool

    public init(
        instance: InstanceID, epoch: Epoch, generation: Generation, powerCycle: PowerCycle, state: State,
        reasonCode: String = "", reason: String = "", at: Timestamp, domainStartedAt: Timestamp? = nil,
        failureIsFinal: Bool = false
    ) {
        self.instance = instance
        self.epoch = epoch
        self.generation = generation
        self.powerCycle = powerCycle
        self.state = state
        self.reasonCode = reasonCode
        self.reason = reason
        self.at = at
        self.domainStartedAt = domainStartedAt
        self.failureIsFinal = failureIsFinal
    }
}
