public import ProtocolModel

/// What the manager wants of one instance on this host: the agent's own form of `InstanceAssignment`.
public struct Assignment: Sendable, Hashable {
    public enum Desired: String, Sendable, Hashable, CaseIterable {
        case running, stopped, deleted
    }

    public var instance: InstanceID
    /// Of the placement that gave the instance to this host.
    public var epoch: Epoch
    public var generation: Generation
    public var desired: Desired
    /// A running guest with an older cycle is rebooted.
    public var powerCycle: PowerCycle
    /// Stop or reboot without asking the guest.
    public var force: Bool
    public var image: ImageID
    /// How long the guest may take to answer; `nil`: as long as it likes.
    public var bootTimeout: Duration?
    /// How long the guest may take to shut down before it is forced off; `nil`: it is never forced.
    public var stopTimeout: Duration?
    /// Where false, the guest counts as ready as soon as it runs.
    public var probesReadiness: Bool
    public var guest: GuestDescription
    /// The manager may start it on another host once this one is known to be down: then nobody tells this host, so that a
    /// process of the agent starts the guest only once it has heard a manager itself (P1).
    public var restartsElsewhere = false

    public init(
        instance: InstanceID, epoch: Epoch, generation: Generation, desired: Desired, powerCycle: PowerCycle,
        force: Bool, image: ImageID, bootTimeout: Duration?, stopTimeout: Duration?, probesReadiness: Bool,
        guest: GuestDescription
    ) {
        self.instance = instance
        self.epoch = epoch
        self.generation = generation
        self.desired = desired
        self.powerCycle = powerCycle
        self.force = force
        self.image = image
        self.bootTimeout = bootTimeout
        self.stopTimeout = stopTimeout
        self.probesReadiness = probesReadiness
        self.guest = guest
    }
}

/// What the guest is made of. No decision of the reconciler looks at it; it travels to those who carry actions out.
public struct GuestDescription: Sendable, Hashable {
    public var name: String
    public var hostName: String
    public var vcpus: Int
    public var memoryBytes: UInt64
    public var diskBytes: UInt64
    public var macAddress: String
    public var ipAddress: String
    public var sshKeys: [String]
    public var userData: [UInt8]
    public var metadata: [String: String]
    /// Readiness by this URL, in which `{}` stands for the address, in place of ssh.
    public var serviceURL: String?
    public var owner: String
    /// Passed to the guest.
    public var devices: [AssignedDevice]
    /// Where its hardware is other than ordinary (`GuestHardware`), as the manager sent it.
    public var hardware: [String: String]
    /// Where it lies on the host.
    public var place = DomainPlace()

    public init(
        name: String, hostName: String, vcpus: Int, memoryBytes: UInt64, diskBytes: UInt64, macAddress: String,
        ipAddress: String, sshKeys: [String] = [], userData: [UInt8] = [], metadata: [String: String] = [:],
        serviceURL: String? = nil, owner: String = "", devices: [AssignedDevice] = [],
        hardware: [String: String] = [:]
    ) {
        self.hardware = hardware
        self.name = name
        self.hostName = hostName
        self.vcpus = vcpus
        self.memoryBytes = memoryBytes
        self.diskBytes = diskBytes
        self.macAddress = macAddress
        self.ipAddress = ipAddress
        self.sshKeys = sshKeys
        self.userData = userData
        self.metadata = metadata
        self.serviceURL = serviceURL
        self.owner = owner
        self.devices = devices
    }
}

/// A PCI device of the host that a guest is given.
public struct AssignedDevice: Sendable, Hashable {
    public var address: String
    /// What it was asked for by.
    public var alias: String

    public init(address: String, alias: String = "") {
        self.address = address
        self.alias = alias
    }
}
