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
        let devices = DeviceList(survey: DeviceSurvey(settings), logger: logger)
        guard settings.hypervisor != "memory:" else {
            return pretending(settings, devices: devices, imagePath: imagePath, time: time, logger: logger)
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
        let accelerator = AcceleratorFinding(settings, boot: boot, thread: thread)
        let guests = HypervisorGuests(
            hypervisor: hypervisor,
            storage: FolderStorage(data: settings.data, rootDisk: settings.rootDisk, thread: thread),

            addresses: NetworkAddresses(network), accelerator: { await accelerator.value().accelerator },
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
            }, devices: { devices.messages },
            copies: DiskCopying(
                copier: hypervisor, disk: { InstanceFolder($0, in: settings.data).existingDisk },
                emulator: settings.emulator))
    }

    private static func pretending(
        _ settings: AgentSettings, devices: DeviceList, imagePath: @escaping @Sendable (ImageID) -> String?,
        time: any TimeSource, logger: Logger
    ) -> HostParts {
        let hypervisor = MemoryHypervisor(time: time)
        let guests = HypervisorGuests(
            hypervisor: hypervisor, storage: MemoryStorage(), addresses: MemoryAddresses(network: settings.networkName),
            accelerator: { .tcg }, emulator: nil, imagePath: imagePath, time: time, logger: logger)
        return HostParts(
            guests: guests,
            describe: { await describe(hypervisor, "tcg", "guests are simulated in memory", logger) },
            ask: { _ in true }, devices: { devices.messages })
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
