import AgentDevices
import AgentHypervisor
import AgentReconcile
import AgentUsage
import Logging
import ProtocolModel

/// Where instances' files lie; everything in it is repeatable.
protocol InstanceStorage: Sendable {
    func paths(of instance: InstanceID) -> InstancePaths
    /// Makes the boot disk from a raw image, unless there is one, and the seed anew.
    ///
    /// - Parameter image: may be `nil` where there is a disk that depends on no image.
    /// - Returns: whether the disk depends on no image.
    func makeFiles(_ assignment: Assignment, image: String?) async throws(ActionFailure) -> Bool
    /// Removes disk, seed and all else of the instance.
    func remove(_ instance: InstanceID) async throws(ActionFailure)
    func instancesWithDisks() async throws(ActionFailure) -> (all: Set<InstanceID>, independent: Set<InstanceID>)
}

/// Where an instance's files lie.
struct InstancePaths {
    var disk: String
    var diskFormat: DomainSpecification.DiskFormat
    /// The disk depends on no image.
    var diskIsIndependent: Bool
    var seed: String
    var consoleLog: String
    var nvram = ""
}

/// Who hands out addresses to guests.
protocol GuestAddresses: Sendable {
    /// The network that a guest's card is attached to.
    var network: String { get }
    func learn(_ change: AssignmentChange)
    /// Makes sure that there is the network that guests are attached to.
    func prepare() async throws(ActionFailure)
    func reserve(_ assignment: Assignment) async throws(ActionFailure)
    func release(_ instance: InstanceID) async throws(ActionFailure)
}

/// Carries actions out on a hypervisor, with files and addresses beside it.
struct HypervisorGuests: GuestHost {
    let hypervisor: any Hypervisor
    let storage: any InstanceStorage
    let addresses: any GuestAddresses
    let devices: any GuestDevices
    /// Where the kernel shows which processors belong to a NUMA node.
    var sysfsRoot = "/sys"
    let accelerator: @Sendable () async -> DomainSpecification.Accelerator
    let emulator: String?
    let imagePath: @Sendable (ImageID) -> String?
    let time: any TimeSource
    let logger: Logger

    // MARK: Looking

    func survey() async throws(ActionFailure) -> Survey {
        let disks = try await storage.instancesWithDisks()
        return Survey(domains: try await domains(), disks: disks.all, independentDisks: disks.independent)
    }

    private func domains() async throws(ActionFailure) -> [InstanceID: DomainObservation] {
        let domains = try await asking { () async throws(HypervisorError) in try await hypervisor.domains() }
        return Dictionary(domains.map { ($0.instance, DomainObservation($0)) }, uniquingKeysWith: { $1 })
    }

    func readings() async throws(ActionFailure) -> [UsageReading] {
        try await asking { () async throws(HypervisorError) in try await hypervisor.statistics() }
            .map { UsageReading($0) }
    }

    func learn(_ change: AssignmentChange) { addresses.learn(change) }

    // MARK: Acting

    func perform(_ action: Action) async -> Outcome {
        do throws(ActionFailure) {
            switch action {
            case .makeFiles(let assignment):
                if try await makeFiles(assignment) { return .madeIndependentDisk }
            case .reserveAddress(let assignment): try await addresses.reserve(assignment)
            case .start(let assignment): try await start(assignment)
            case .askToShutDown(let id):
                try await asking { () async throws(HypervisorError) in try await hypervisor.requestShutdown(id) }
            case .powerOff(let id):
                try await asking { () async throws(HypervisorError) in try await hypervisor.powerOff(id) }
            case .removeDomain(let id):
                try await removeDomain(id)
                // Stopped is said of an instance once its devices are somebody else's to have.
                await devices.release(id)
            case .releaseAddress(let id): try await addresses.release(id)
            case .removeDisk(let id):
                await devices.release(id)
                try await storage.remove(id)
            case .inspect(let id): return .observed(try await domains()[id])
            }
            return .succeeded
        } catch {
            return .failed(error)
        }
    }

    /// What the manager asks for is read here once more: it may be newer than this agent, and is not trusted.
    private static func hardware(of assignment: Assignment) throws(ActionFailure) -> GuestHardware {
        do throws(GuestHardware.Fault) {
            return try GuestHardware(settings: assignment.guest.hardware)
        } catch {
            throw ActionFailure(
                code: "hardware_refused",
                sentence:
                    "the manager asks for hardware that this agent does not know: \(error.property) \(error.detail)",
                isLasting: true)
        }
    }

    private func makeFiles(_ assignment: Assignment) async throws(ActionFailure) -> Bool {
        _ = try Self.hardware(of: assignment)
        let image = imagePath(assignment.image)
        guard image != nil || storage.paths(of: assignment.instance).diskIsIndependent else {
            throw Self.missing(assignment.image)
        }
        return try await storage.makeFiles(assignment, image: image)
    }

    private static func missing(_ image: ImageID) -> ActionFailure {
        ActionFailure(
            code: "image_missing", sentence: "image \(image) is not on this host, or not verified; it is fetched anew")
    }

    private func start(_ assignment: Assignment) async throws(ActionFailure) {
        let wanted = assignment.guest.devices.map(\.address)
        guard !wanted.isEmpty else { return try await start(assignment, with: GrantedDevices(addresses: [])) }
        let claim = DeviceClaim(instance: assignment.instance, epoch: assignment.epoch)
        let granted = try await devices.claim(claim, wanted)
        do throws(ActionFailure) {
            try await start(assignment, with: granted)
            devices.startEnded(claim, started: true)
        } catch {
            devices.startEnded(claim, started: false)
            throw error
        }
    }

    private func start(_ assignment: Assignment, with granted: GrantedDevices) async throws(ActionFailure) {
        let paths = storage.paths(of: assignment.instance)
        // Nobody boots from an image that was not verified (P7).
        let base = paths.diskIsIndependent ? nil : imagePath(assignment.image)
        guard base != nil || paths.diskIsIndependent else { throw Self.missing(assignment.image) }
        let passed = granted.addresses.compactMap { PCIAddress($0) }
        guard passed.count == granted.addresses.count else {
            throw ActionFailure(
                code: "device_refused", sentence: "\(granted.addresses) are not all addresses of devices",
                isLasting: true)
        }
        let hardware = try Self.hardware(of: assignment)
        var specification = DomainSpecification(
            instance: assignment.instance, epoch: assignment.epoch, powerCycle: assignment.powerCycle,
            startedAt: time.timestamp, title: assignment.guest.name, vcpus: assignment.guest.vcpus,
            memoryBytes: assignment.guest.memoryBytes, diskPath: paths.disk, seedPath: paths.seed,
            consoleLogPath: paths.consoleLog, macAddress: assignment.guest.macAddress, network: addresses.network,
            accelerator: await accelerator(), emulator: emulator, basePath: base,
            diskFormat: paths.diskFormat, devices: passed,
            assignedDevices: assignment.guest.devices.map(\.address),
            numa: granted.numaNode.map {
                NUMAPlace(node: $0, vcpus: assignment.guest.vcpus, sysfsRoot: sysfsRoot)
            }, hardware: hardware, nvramPath: paths.nvram)
        specification.place = assignment.guest.place
        guard !specification.place.hasNowhereToRun else {
            throw ActionFailure(
                code: "no_shared_processors",
                sentence:
                    "no processor of this host is left that guests may share: all of them are some guest's alone or kept for "
                    + "that; say so of fewer with 'roost node cpus'")
        }
        let wanted = specification
        try await addresses.prepare()
        try await asking { () async throws(HypervisorError) in try await hypervisor.start(wanted) }
    }

    /// Removing a domain would cut its power, so that one that runs after all is left for another look (P5).
    private func removeDomain(_ id: InstanceID) async throws(ActionFailure) {
        guard let domain = try await domains()[id] else { return }
        guard !domain.isRunning else {
            throw ActionFailure(
                code: "domain_running", sentence: "the domain runs although it was thought to be stopped")
        }
        try await asking { () async throws(HypervisorError) in try await hypervisor.remove(id) }
    }

    private func asking<Answer: Sendable>(
        _ call: () async throws(HypervisorError) -> Answer
    ) async throws(ActionFailure) -> Answer {
        do throws(HypervisorError) {
            return try await call()
        } catch {
            throw ActionFailure(error)
        }
    }

    // MARK: Events

    func watch(_ handler: @escaping @Sendable (HostEvent) -> Void) async {
        // The first look makes the connection, and with it the events come.
        handler(.ready)
        for await event in hypervisor.events {
            switch event {
            case .started(let id): handler(.started(id))
            case .stopped(let id, let reason):
                handler(.stopped(id, StopCause(reason)))
                devices.lookAgain()
            case .connectionLost:
                logger.warning("the hypervisor went away; guests run on")
                // Looking is what connects again; it is repeated until it succeeds.
                handler(.ready)
            case .connectionRestored:
                handler(.ready)
                devices.lookAgain()
            }
        }
    }
}

extension ActionFailure {
    init(_ error: HypervisorError) {
        let code =
            switch error {
            case .unreachable: "hypervisor_unreachable"
            case .domainRuns: "domain_runs"
            case .noSuchDomain: "no_such_domain"
            case .refused: "hypervisor_refused"
            case .overloaded: "hypervisor_overloaded"
            case .badConfiguration: "bad_configuration"
            case .foreignDomain: "foreign_domain"
            case .domainStopped: "domain_stopped"
            case .jobRuns: "domain_job_runs"
            case .diskFull: "disk_full"
            case .hardwareRefused: "hardware_refused"
            }
        // Another host would have to be found, or another image.
        self.init(code: code, sentence: error.description, isLasting: code == "hardware_refused")
    }
}

extension DomainObservation {
    init(_ domain: ObservedDomain) {
        let state: State =
            switch domain.state {
            // A guest that stands still holds its memory and its disk, and may go on at any moment.
            case .running, .paused: .running
            case .shutOff(let reason): .stopped(StopCause(reason))
            }
        self.init(
            epoch: domain.epoch, powerCycle: domain.powerCycle, state: state, startedAt: domain.startedAt,
            devices: domain.devices)
    }
}

extension StopCause {
    init(_ reason: DomainState.Reason) {
        self =
            switch reason {
            case .guestShutdown: .guestShutdown
            case .crashed: .crashed
            case .destroyed: .destroyed
            case .failed: .failed
            case .unknown: .unknown
            }
    }
}

extension UsageReading {
    init(_ counted: DomainStatistics) {
        self.init(
            instance: counted.instance, powerCycle: counted.powerCycle, startedAt: counted.startedAt,
            vcpus: UInt32(clamping: counted.vcpus), memoryBytes: counted.memoryBytes,
            counters: UsageCounters(
                cpuTimeNanoseconds: counted.cpuTimeNanoseconds, diskReadBytes: counted.diskReadBytes,
                diskWriteBytes: counted.diskWriteBytes, networkReceiveBytes: counted.networkReceiveBytes,
                networkTransmitBytes: counted.networkTransmitBytes),
            memoryResidentBytes: counted.memoryResidentBytes, diskAllocatedBytes: counted.diskAllocatedBytes)
    }
}
