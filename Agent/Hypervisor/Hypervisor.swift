public import ProtocolModel

/// What runs guests on this host: libvirt, or one in memory for load tests. It knows Roost's own domains alone and
/// touches no other.
public protocol Hypervisor: Sendable {
    func describe() async throws(HypervisorError) -> HypervisorDescription
    /// Roost's domains, running or not.
    func domains() async throws(HypervisorError) -> [ObservedDomain]
    /// Defines the domain, replacing a definition that does not run, and starts it. A domain that runs is an error.
    func start(_ domain: DomainSpecification) async throws(HypervisorError)
    /// Presses the guest's power button.
    func requestShutdown(_ instance: InstanceID) async throws(HypervisorError)
    /// Cuts the power; the definition stays, and with it the reason why it stopped. No error where nothing runs.
    func powerOff(_ instance: InstanceID) async throws(HypervisorError)
    /// Cuts the power and removes the definition. No error where there is none.
    func remove(_ instance: InstanceID) async throws(HypervisorError)
    /// Domains with PCI devices of the host, whoever made them: those that run, and those that are being started.
    func deviceOwners() async throws(HypervisorError) -> [DeviceOwner]
    /// One look at all running domains.
    func statistics() async throws(HypervisorError) -> [DomainStatistics]
    /// What the hypervisor tells by itself. One consumer; of events that nobody fetches the oldest are dropped in favour
    /// of `connectionRestored`, upon which everything must be looked at again.
    var events: AsyncStream<DomainEvent> { get }
}

/// Why the hypervisor could not do something.
public enum HypervisorError: Error, Sendable, Equatable, CustomStringConvertible {
    /// libvirt does not answer.
    case unreachable(String)
    case domainRuns(InstanceID)
    case noSuchDomain(InstanceID)
    /// libvirt's own words.
    case refused(code: Int, message: String)
    /// A call did not come back in time, or too many are waiting.
    case overloaded
    case badConfiguration(String)
    /// A domain that is not this agent's has the instance's UUID or name: it is left alone.
    case foreignDomain(InstanceID)
    /// The domain ended while its disk was copied.
    case domainStopped(InstanceID)
    /// Another job, such as a backup that somebody began with virsh, is in the way.
    case jobRuns(InstanceID)
    case diskFull(path: String)
    /// What the guest's image or flavor asks of its hardware cannot be had here.
    case hardwareRefused(String)

    public var description: String {
        switch self {
        case .unreachable(let message): "libvirt does not answer: \(message); check that libvirtd runs"
        case .domainRuns(let id): "the domain of instance \(id) runs already"
        case .noSuchDomain(let id): "there is no domain of instance \(id)"
        case .refused(let code, let message): "libvirt error \(code): \(message)"
        case .overloaded: "too many calls wait for libvirt"
        case .badConfiguration(let message), .hardwareRefused(let message): message
        case .foreignDomain(let id):
            "a domain that this agent did not make has the UUID of instance \(id); look at it with virsh, and remove it"
        case .domainStopped(let id): "the domain of instance \(id) ended while its disk was copied"
        case .jobRuns(let id):
            "another job runs on the domain of instance \(id) (virsh domjobinfo roost-\(id)); it is waited for"
        case .diskFull(let path):
            "the disk that holds \(path) is full, and the copy of an instance's disk needs as much room as the whole disk has "
                + "for a while; free space on the host"
        }
    }
}

public struct HypervisorDescription: Sendable, Equatable {
    public var cpuModel: String
    public var architecture: String
    public var cpuCount: Int
    public var memoryBytes: Int64
    public var libvirtVersion: String
    public var hypervisorVersion: String

    public init(
        cpuModel: String, architecture: String, cpuCount: Int, memoryBytes: Int64, libvirtVersion: String,
        hypervisorVersion: String
    ) {
        self.cpuModel = cpuModel
        self.architecture = architecture
        self.cpuCount = cpuCount
        self.memoryBytes = memoryBytes
        self.libvirtVersion = libvirtVersion
        self.hypervisorVersion = hypervisorVersion
    }
}

public enum DomainState: Sendable, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        case guestShutdown, crashed, destroyed, failed, unknown
    }

    case running
    case paused
    case shutOff(Reason)
}

/// A domain as the hypervisor shows it. Epoch, power cycle and start are what was recorded in it when it was defined.
public struct ObservedDomain: Sendable, Equatable {
    public var instance: InstanceID
    public var epoch: Epoch
    public var powerCycle: PowerCycle
    public var state: DomainState
    public var startedAt: Timestamp?
    public var devices: [String]

    public init(
        instance: InstanceID, epoch: Epoch, powerCycle: PowerCycle, state: DomainState, startedAt: Timestamp?,
        devices: [String] = []
    ) {
        self.devices = devices
        self.instance = instance
        self.epoch = epoch
        self.powerCycle = powerCycle
        self.state = state
        self.startedAt = startedAt
    }
}

/// Everything that a domain is made of; `DomainXML` is the only way from here to libvirt (SEC-06).
public struct DomainSpecification: Sendable, Equatable {
    /// Told always, and never guessed from what a guest may have written (SEC-02).
    public enum DiskFormat: String, Sendable {
        case qcow2, raw
    }

    public enum Accelerator: String, Sendable {
        case kvm, tcg
    }

    public var instance: InstanceID
    public var epoch: Epoch
    public var powerCycle: PowerCycle
    public var startedAt: Timestamp
    /// The instance's name, for people who look at the host.
    public var title: String
    public var vcpus: Int
    public var memoryBytes: UInt64
    public var diskPath: String
    public var diskFormat: DiskFormat
    /// The raw image below the disk; `nil`: as the disk's header says. Told, so that the chain is not read from a file
    /// (SEC-02), and left alone by libvirt: the user that QEMU runs as must be able to read it, and never owns it (P7).
    public var basePath: String?
    /// A read-only ISO 9660 file, label `cidata`.
    public var seedPath: String
    public var consoleLogPath: String
    /// Where UEFI keeps its variables.
    public var nvramPath: String
    public var macAddress: String
    public var network: String
    public var accelerator: Accelerator
    /// `nil`: the one that libvirt knows.
    public var emulator: String?
    /// Passed to the guest; bound to VFIO by whoever starts it, since libvirt would bind them without a note of it.
    public var devices: [PCIAddress]
    /// As they were assigned, without what goes along; recorded in the domain.
    public var assignedDevices: [String]
    /// Where the guest lies, for the sake of its devices.
    public var numa: NUMAPlace?
    public var hardware: GuestHardware
    /// Where the flavor says that it lies; goes before `numa`.
    public var place = DomainPlace()

    public init(
        instance: InstanceID, epoch: Epoch, powerCycle: PowerCycle, startedAt: Timestamp, title: String, vcpus: Int,
        memoryBytes: UInt64, diskPath: String, seedPath: String, consoleLogPath: String, macAddress: String,
        network: String, accelerator: Accelerator, emulator: String?, basePath: String? = nil,
        diskFormat: DiskFormat = .qcow2, devices: [PCIAddress] = [], assignedDevices: [String] = [],
        numa: NUMAPlace? = nil, hardware: GuestHardware = .ordinary, nvramPath: String = ""
    ) {
        self.devices = devices
        self.assignedDevices = assignedDevices
        self.numa = numa
        self.hardware = hardware
        self.nvramPath = nvramPath
        self.instance = instance
        self.epoch = epoch
        self.powerCycle = powerCycle
        self.startedAt = startedAt
        self.title = title
        self.vcpus = vcpus
        self.memoryBytes = memoryBytes
        self.diskPath = diskPath
        self.diskFormat = diskFormat
        self.seedPath = seedPath
        self.consoleLogPath = consoleLogPath
        self.macAddress = macAddress
        self.network = network
        self.accelerator = accelerator
        self.emulator = emulator
        self.basePath = basePath
    }
}

/// Counters of a running domain since its start.
public struct DomainStatistics: Sendable, Equatable {
    public var instance: InstanceID
    public var powerCycle: PowerCycle
    public var startedAt: Timestamp?
    public var vcpus: Int
    public var memoryBytes: UInt64
    public var memoryResidentBytes: UInt64 = 0
    public var cpuTimeNanoseconds: UInt64 = 0
    public var diskReadBytes: UInt64 = 0
    public var diskWriteBytes: UInt64 = 0
    public var diskAllocatedBytes: UInt64 = 0
    public var networkReceiveBytes: UInt64 = 0
    public var networkTransmitBytes: UInt64 = 0

    public init(instance: InstanceID, powerCycle: PowerCycle, startedAt: Timestamp?, vcpus: Int, memoryBytes: UInt64) {
        self.instance = instance
        self.powerCycle = powerCycle
        self.startedAt = startedAt
        self.vcpus = vcpus
        self.memoryBytes = memoryBytes
    }
}

public enum DomainEvent: Sendable, Equatable {
    case started(InstanceID)
    case stopped(InstanceID, DomainState.Reason)
    case connectionLost
    case connectionRestored
}
