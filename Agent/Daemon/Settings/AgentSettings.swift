import AgentDevices
import AgentHypervisor
import Logging
import ProcessSettings

/// How guests are run.
enum AcceleratorChoice: String, CaseIterable, Sendable {
    case auto, kvm, tcg
}

enum LogLevelName: String, CaseIterable, Sendable {
    case trace, debug, info, notice, warning, error

    var level: Logger.Level {
        switch self {
        case .trace: .trace
        case .debug: .debug
        case .info: .info
        case .notice: .notice
        case .warning: .warning
        case .error: .error
        }
    }
}

/// Everything that an operator can set for an agent, read once and passed down.
struct AgentSettings: Sendable {
    enum Key {
        static let manager = Setting(
            "manager.address",
            .optional(.text(1...4096, accepted: "host:port of the manager's port for agents, or several with commas")),
            default: nil, "Where the managers are; by default where this host joined, and those that a manager names.")
        static let nodeName = Setting(
            "node.name", .optional(.text(1...63, accepted: "a name of up to 63 characters")), default: nil,
            "The node's name in the fleet when it joins; by default the host name.")
        static let location = Setting(
            "node.location", .text(0...128), default: "",
            "Where the host stands, such as a rack; hosts of one location pull images from one another first.")
        static let hypervisor = Setting(
            "hypervisor.uri", .text(1...255, accepted: "a libvirt URI, or memory: for a hypervisor that only pretends"),
            default: "qemu:///system", "The hypervisor that runs the guests.")
        static let accelerator = Setting(
            "hypervisor.accelerator", ValueKind<AcceleratorChoice>.choice, default: .auto,
            "auto proves that KVM runs a guest before it is trusted.")
        static let emulator = Setting(
            "hypervisor.emulator", .optional(.path), default: nil,
            "The emulator's program; by default the one that libvirt knows.")
        static let parallelStarts = Setting(
            "instances.parallel_starts", .integer(1...64), default: 4,
            "Guests that are started, and disks that are made, at once.")
        static let cache = Setting(
            "images.cache", .optional(.path), default: nil,
            "The folder of cached images; by default 'images' in the data folder.")
        static let cacheBudget = Setting(
            "images.cache_budget_gib", .optional(.integer(1...1_048_576)), default: nil,
            "Disk space for cached images; above it the least recently used that nothing holds go; by default no limit."
        )
        static let cacheFloor = Setting(
            "images.free_floor_gib", .integer(0...1_048_576), default: 1,
            "Free disk space that cached images leave to others.")
        static let scrubInterval = Setting(
            "images.scrub_interval", .duration(.zero ... .seconds(31_536_000)), default: .seconds(604_800),
            "How often each cached image is read and compared with its manifest; 0s: only after an unclean stop.")
        static let scrubRate = Setting(
            "images.scrub_rate_mib", .integer(1...65_536), default: 32,
            "How many MiB of cached images are read a second for that, unless a guest waits.")
        static let rootDisk = Setting(
            "images.root_disk", ValueKind<RootDiskKind>.choice, default: .overlay,
            "overlay: on top of the cached image; reflink: a copy that shares its blocks (XFS, Btrfs).")
        static let chunkHost = Setting(
            "chunks.host", .text(1...255, accepted: "an IP address of this host, or 0.0.0.0 for all"),
            default: "0.0.0.0", "The address on which images are served to other hosts.")
        static let chunkPort = Setting(
            "chunks.port", .integer(0...65_535), default: 7402,
            "The port on which images are served to other hosts; 0 takes any free one.")
        static let chunkAdvertise = Setting(
            "chunks.advertise", .optional(.text(1...255, accepted: "host:port")), default: nil,
            "Where other hosts reach this one for images; by default the address that the manager sees, and the port.")
        static let networkName = Setting(
            "network.name", .text(1...32, accepted: "a name of up to 32 characters"), default: "roost",
            "The libvirt network of the guests.")
        static let subnet = Setting(
            "network.subnet", .text(9...18, accepted: "an IPv4 network such as 192.168.177.0/24"),
            default: "192.168.177.0/24", "The addresses of the guests' network.")
        static let bridge = Setting(
            "network.bridge", .text(1...15, accepted: "an interface name of up to 15 characters"),
            default: "roost0", "The bridge of the guests' network.")
        static let sysfs = Setting(
            "devices.sysfs", .path, default: "/sys", "Where the kernel shows its devices.")
        static let deviceNames = Setting(
            "devices.names", .path, default: "/usr/share/misc/pci.ids",
            "The database that devices have their names from; where it is missing they are shown by number.")
        static let deviceClasses = Setting(
            "devices.classes", .list(of: .deviceClass, counts: 0...64),
            default: DeviceClass.usual.map(\.description),
            "PCI classes whose devices guests may have: 03 are display controllers, 12 processing accelerators.")
        static let forcesBootDisplay = Setting(
            "devices.force_boot_display", .boolean, default: false,
            "Offer the boot display, too; while a guest has it, the host has no console.")
        static let deviceExclude = Setting(
            "devices.exclude", .list(of: .deviceAddress, counts: 0...1024), default: [],
            "Addresses of devices that stay with the host.")
        static let usageBudget = Setting(
            "usage.budget_mib", .integer(1...1_048_576), default: 256,
            "Disk space for usage that the manager has not fetched; above it the oldest is lost.")
        static let usageInterval = Setting(
            "usage.interval", .optional(.duration(.seconds(1)...(.seconds(3600)))), default: nil,
            "How often guests are sampled; by default as the manager wishes.")
        static let logLevel = Setting(
            "log.level", ValueKind<LogLevelName>.choice, default: .info, "How much is logged.")
    }

    static let schema = SettingsSchema(
        program: "roost-agent", defaultConfigurationPath: "/etc/roost/agent.yaml",
        defaultDataPath: "/var/lib/roost/agent",
        [
            Key.manager.declared, Key.nodeName.declared, Key.location.declared, Key.hypervisor.declared,
            Key.accelerator.declared, Key.emulator.declared, Key.parallelStarts.declared, Key.cache.declared,
            Key.cacheBudget.declared, Key.cacheFloor.declared, Key.scrubInterval.declared, Key.scrubRate.declared,
            Key.rootDisk.declared,
            Key.chunkHost.declared, Key.chunkPort.declared, Key.chunkAdvertise.declared, Key.networkName.declared,
            Key.subnet.declared, Key.bridge.declared, Key.sysfs.declared,
            Key.deviceNames.declared, Key.deviceClasses.declared, Key.forcesBootDisplay.declared,
            Key.deviceExclude.declared, Key.usageBudget.declared,
            Key.usageInterval.declared, Key.logLevel.declared,
        ])

    var data: String
    var manager: String?
    var nodeName: String?
    var location: String
    var hypervisor: String
    var accelerator: AcceleratorChoice
    var emulator: String?
    var parallelStarts: Int
    var cache: String
    var cacheBudgetBytes: Int64?
    var cacheFloorBytes: Int64
    /// `nil`: only after an unclean stop.
    var scrubInterval: Duration?
    var scrubBytesPerSecond: Int64
    var rootDisk: RootDiskKind
    var chunkHost: String
    var chunkPort: Int
    var chunkAdvertise: String?
    var networkName: String
    var subnet: String
    var bridge: String
    var sysfs: String
    var deviceNames: String
    var devicePolicy: DevicePolicy
    var usageBudgetBytes: Int
    var usageInterval: Duration?
    var logLevel: Logger.Level
    /// What a person should know although nothing is wrong enough to stop.
    var warnings: [String]

    init(flags: SettingsFlags, environment: [String: String]) throws(SettingsError) {
        let reader = try SettingsReader(schema: Self.schema, flags: flags, environment: environment)
        data = reader.dataPath
        manager = reader.value(Key.manager)
        nodeName = reader.value(Key.nodeName)
        location = reader.value(Key.location)
        hypervisor = reader.value(Key.hypervisor)
        accelerator = reader.value(Key.accelerator)
        emulator = reader.value(Key.emulator)
        parallelStarts = reader.value(Key.parallelStarts)
        cache = reader.value(Key.cache) ?? reader.dataPath + "/images"
        cacheBudgetBytes = reader.value(Key.cacheBudget).map { Int64($0) << 30 }
        cacheFloorBytes = Int64(reader.value(Key.cacheFloor)) << 30
        let interval = reader.value(Key.scrubInterval)
        scrubInterval = interval == .zero ? nil : interval
        scrubBytesPerSecond = Int64(reader.value(Key.scrubRate)) << 20
        rootDisk = reader.value(Key.rootDisk)
        chunkHost = reader.value(Key.chunkHost)
        chunkPort = reader.value(Key.chunkPort)
        chunkAdvertise = reader.value(Key.chunkAdvertise)
        networkName = reader.value(Key.networkName)
        subnet = reader.value(Key.subnet)
        bridge = reader.value(Key.bridge)
        sysfs = reader.value(Key.sysfs)
        deviceNames = reader.value(Key.deviceNames)
        devicePolicy = DevicePolicy(
            classes: reader.value(Key.deviceClasses).compactMap(DeviceClass.init),
            forcesBootDisplay: reader.value(Key.forcesBootDisplay),
            excluded: Set(reader.value(Key.deviceExclude).compactMap(deviceAddress)))
        usageBudgetBytes = reader.value(Key.usageBudget) << 20
        usageInterval = reader.value(Key.usageInterval)
        logLevel = reader.value(Key.logLevel).level
        warnings = reader.warnings
    }
}

extension ValueKind where Value == String {
    fileprivate static var deviceClass: Self {
        Self(
            name: "class", accepted: "a PCI class of two, four or six hexadecimal digits, such as 03, 0302 or 010802",
            parse: { DeviceClass($0) == nil ? nil : $0 }, render: { $0 })
    }

    fileprivate static var deviceAddress: Self {
        Self(
            name: "address", accepted: "a PCI address such as 0000:3b:00.0",
            parse: { AgentDevices.deviceAddress($0) == nil ? nil : $0 }, render: { $0 })
    }
}
