import AgentDevices
import AgentHypervisor
import AgentNetwork
import AgentReconcile
import Logging
import ProcessThreads
import ProtocolMessages
import ProtocolModel
import SwiftProtobuf

extension HostParts {
    /// What the settings name: libvirt, or a hypervisor that only pretends.
    static func open(
        _ settings: AgentSettings, node: NodeID, boot: BootID,
        imagePath: @escaping @Sendable (ImageID) -> String?, time: any TimeSource = SystemTime(), logger: Logger
    ) throws -> HostParts {
        guard settings.hypervisor != "memory:" else {
            return try pretending(settings, imagePath: imagePath, time: time, logger: logger)
        }
        guard let subnet = LibvirtNetwork.Subnet(settings.subnet) else {
            throw AgentProblem.badSubnet(settings.subnet)
        }
        if settings.rootDisk == .reflink {
            try Reflink.prove(from: settings.cache, to: InstanceFolder.root(in: settings.data))
        }
        let hypervisor = LibvirtHypervisor(uri: settings.hypervisor, node: node)
        let network = LibvirtNetwork(hypervisor, name: settings.networkName, bridge: settings.bridge, subnet: subnet)
        let thread = BlockingThreads(name: "roost-disks", threads: 2)
        let devices = try DeviceKeeper.open(
            settings, HostDeviceActions(sysfsRoot: settings.sysfs), hypervisor, time, logger)
        let accelerator = AcceleratorFinding(settings, boot: boot, thread: thread)
        let guests = HypervisorGuests(
            hypervisor: hypervisor,
            storage: FolderStorage(data: settings.data, rootDisk: settings.rootDisk, thread: thread),
            addresses: NetworkAddresses(network), devices: devices, sysfsRoot: settings.sysfs,
            accelerator: { await accelerator.value().accelerator },
            emulator: settings.emulator, imagePath: imagePath, time: time, logger: logger)
        let probe = ReadinessProbe()
        return HostParts(
            guests: guests,
            describe: {
                let finding = await accelerator.value()
                return await describe(hypervisor, finding.accelerator.rawValue, finding.reason, logger)
            },
            ask: { assignment in
                let address = assignment.guest.ipAddress
                if let page = assignment.guest.serviceURL { return await probe.pageAnswers(page, address: address) }
                return await probe.sshAnswers(at: address)
            }, devices: DeviceList(settings, devices, logger).source, keeper: devices,
            copies: DiskCopying(
                copier: hypervisor, disk: { InstanceFolder($0, in: settings.data).existingDisk },
                emulator: settings.emulator))
    }

    private static func pretending(
        _ settings: AgentSettings, imagePath: @escaping @Sendable (ImageID) -> String?, time: any TimeSource,
        logger: Logger
    ) throws -> HostParts {
        let hypervisor = MemoryHypervisor(time: time)
        let devices = try DeviceKeeper.open(settings, PretendedDeviceActions(), hypervisor, time, logger)
        let guests = HypervisorGuests(
            hypervisor: hypervisor, storage: MemoryStorage(), addresses: MemoryAddresses(network: settings.networkName),
            devices: devices, sysfsRoot: settings.sysfs, accelerator: { .tcg }, emulator: nil, imagePath: imagePath,
            time: time, logger: logger)
        return HostParts(
            guests: guests,
            describe: { await describe(hypervisor, "tcg", "guests are simulated in memory", logger) },
            ask: { _ in true }, devices: DeviceList(settings, devices, logger).source, keeper: devices)
    }

    private static func describe(
        _ hypervisor: any Hypervisor, _ accelerator: String, _ reason: String, _ logger: Logger
    ) async -> EngineDescription {
        var description = EngineDescription(accelerator: accelerator, acceleratorReason: reason)
        do throws(HypervisorError) {
            let told = try await hypervisor.describe()
            description.cpuModel = told.cpuModel
            description.architecture = told.architecture
            description.cpuCount = UInt32(clamping: told.cpuCount)
            description.memoryBytes = UInt64(clamping: told.memoryBytes)
            description.libvirtVersion = told.libvirtVersion
            description.hypervisorVersion = told.hypervisorVersion
        } catch {
            logger.warning("the hypervisor does not describe itself", metadata: ["error": "\(error)"])
        }
        return description
    }
}

extension DeviceKeeper {
    /// Over what the settings name, and the domains of a hypervisor.
    static func open(
        _ settings: AgentSettings, _ actions: any DeviceActions, _ hypervisor: any Hypervisor, _ time: any TimeSource,
        _ logger: Logger
    ) throws -> DeviceKeeper {
        try DeviceKeeper(
            Parts(
                survey: DeviceSurvey(settings), file: LedgerFile(data: settings.data), actions: actions,
                uses: { () async throws(ActionFailure) in try await uses(of: hypervisor) },
                wishes: ReadmissionWishes(data: settings.data)), time: time, logger: logger)
    }

    static func uses(of hypervisor: any Hypervisor) async throws(ActionFailure) -> [DeviceUse] {
        do throws(HypervisorError) {
            return try await hypervisor.deviceOwners().map { DeviceUse($0) }
        } catch {
            throw ActionFailure(error)
        }
    }
}

extension DeviceList {
    init(_ settings: AgentSettings, _ keeper: DeviceKeeper, _ logger: Logger) {
        self.init(survey: DeviceSurvey(settings), standings: { keeper.standings }, logger: logger)
    }

    /// For the inventory.
    var source: @Sendable () -> [Roost_V1_PCIDevice] { { messages } }
}

extension DeviceUse {
    fileprivate init(_ owner: DeviceOwner) {
        let occupant: DeviceOccupancy.Occupant =
            switch owner.owner {
            case .instance(let instance, let epoch): .instance(DeviceClaim(instance: instance, epoch: epoch))
            case .stranger(let name): .stranger(name)
            }
        self.init(occupant, owner.devices.map(\.description))
    }
}
