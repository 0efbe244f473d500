import AgentHypervisor
import AgentReconcile
import AgentUsage
import Logging
import ProtocolModel
import Synchronization

/// Where an instance's files lie; everything in it is repeatable.
protocol InstanceStorage: Sendable {
    /// What a domain is given of its files.
    func parts(of assignment: Assignment) -> (disk: BootDisk, seed: String?, consoleLog: String?)
    /// Makes the boot disk on top of a raw image, unless there is one.
    func createDisk(_ assignment: Assignment, image: String) async throws(ActionFailure)
    func writeSeed(_ assignment: Assignment) async throws(ActionFailure)
    /// Removes disk, seed and all else of the instance.
    func remove(_ instance: InstanceID) async throws(ActionFailure)
    func instancesWithDisks() async throws(ActionFailure) -> Set<InstanceID>
}

/// Who hands out addresses to guests.
protocol GuestAddresses: Sendable {
    /// The network that a guest's card is attached to; `nil`: guests have no card.
    var network: String? { get }
    func reserve(_ assignment: Assignment) async throws(ActionFailure)
    func release(_ instance: InstanceID) async throws(ActionFailure)
}

/// Carries actions out on a hypervisor, with files and addresses beside it.
final class HypervisorGuests: GuestHost {
    private let hypervisor: any Hypervisor
    private let storage: any InstanceStorage
    private let addresses: any GuestAddresses
    private let accelerator: @Sendable () async -> Accelerator
    private let imagePath: @Sendable (ImageID) -> String?
    /// What guests were given, for samples: the hypervisor's counters do not say how many processors a guest has.
    private let vcpus = Mutex<[InstanceID: UInt32]>([:])
    private let logger: Logger

    init(
        hypervisor: any Hypervisor, storage: any InstanceStorage, addresses: any GuestAddresses,
        accelerator: @escaping @Sendable () async -> Accelerator,
        imagePath: @escaping @Sendable (ImageID) -> String?, logger: Logger
    ) {
        self.hypervisor = hypervisor
        self.storage = storage
        self.addresses = addresses
        self.accelerator = accelerator
        self.imagePath = imagePath
        self.logger = logger
    }

    // MARK: Looking

    func survey() async throws(ActionFailure) -> Survey {
        let disks = try await storage.instancesWithDisks()
        let domains = try await asking { () async throws(HypervisorError) in try await hypervisor.domains() }
        return Survey(
            domains: Dictionary(domains.map { ($0.instance, DomainObservation($0)) }, uniquingKeysWith: { $1 }),
            disks: disks)
    }

    func readings() async throws(ActionFailure) -> [UsageReading] {
        // Counters do not say of which run they are; where the run is the same before and after, they are of that run.
        let before = try await running()
        let statistics = try await asking { () async throws(HypervisorError) in try await hypervisor.statistics() }
        let after = try await running()
        let vcpus = vcpus.withLock { $0 }
        return statistics.compactMap { counted in
            guard let domain = before[counted.instance], domain == after[counted.instance] else { return nil }
            return UsageReading(
                instance: counted.instance, powerCycle: domain.powerCycle, startedAt: domain.startedAt,
                vcpus: vcpus[counted.instance] ?? 0, memoryBytes: counted.memoryBytes,
                counters: UsageCounters(
                    cpuTimeNanoseconds: counted.cpuTimeNanoseconds, diskReadBytes: counted.diskReadBytes,
                    diskWriteBytes: counted.diskWriteBytes, networkReceiveBytes: counted.networkReceiveBytes,
                    networkTransmitBytes: counted.networkTransmitBytes),
                memoryResidentBytes: counted.memoryResidentBytes, diskAllocatedBytes: counted.diskAllocatedBytes)
        }
    }

    private func running() async throws(ActionFailure) -> [InstanceID: DomainObservation] {
        let domains = try await asking { () async throws(HypervisorError) in try await hypervisor.domains() }
        let observed = domains.map { ($0.instance, DomainObservation($0)) }.filter { $0.1.isRunning }
        return Dictionary(observed, uniquingKeysWith: { $1 })
    }

    /// Assignments tell how many processors a guest has, also one that was started by the process before this one.
    func learn(_ change: AssignmentChange) {
        vcpus.withLock { vcpus in
            switch change {
            case .full(let assignments):
                for assignment in assignments { vcpus[assignment.instance] = UInt32(clamping: assignment.guest.vcpus) }
            case .delta(let changed, let removed):
                for id in removed { vcpus[id] = nil }
                for assignment in changed { vcpus[assignment.instance] = UInt32(clamping: assignment.guest.vcpus) }
            }
        }
    }

    // MARK: Acting

    func perform(_ action: Action) async -> Outcome {
        do throws(ActionFailure) {
            switch action {
            case .createDisk(let assignment): try await createDisk(assignment)
            case .writeSeed(let assignment): try await storage.writeSeed(assignment)
            case .reserveAddress(let assignment): try await addresses.reserve(assignment)
            case .start(let assignment): try await start(assignment)
            case .askToShutDown(let id):
                try await asking { () async throws(HypervisorError) in try await hypervisor.requestShutdown(id) }
            case .powerOff(let id): try await powerOff(id)
            case .removeDomain(let id): try await removeDomain(id)
            case .releaseAddress(let id): try await addresses.release(id)
            case .removeDisk(let id): try await storage.remove(id)
            case .inspect(let id):
                let domain = try await asking { () async throws(HypervisorError) in try await hypervisor.domain(id) }
                return .observed(domain.map { DomainObservation($0) })
            }
            return .succeeded
        } catch {
            return .failed(error)
        }
    }

    private func createDisk(_ assignment: Assignment) async throws(ActionFailure) {
        guard let image = imagePath(assignment.image) else {
            throw ActionFailure(code: "image_missing", sentence: "image \(assignment.image) is not on this host any more")
        }
        try await storage.createDisk(assignment, image: image)
    }

    private func start(_ assignment: Assignment) async throws(ActionFailure) {
        var networks: [NetworkAttachment] = []
        if let network = addresses.network {
            guard let mac = MACAddress(assignment.guest.macAddress) else {
                throw ActionFailure(
                    code: "bad_assignment", sentence: "'\(assignment.guest.macAddress)' is not a MAC address")
            }
            networks = [NetworkAttachment(network: network, macAddress: mac)]
        }
        let parts = storage.parts(of: assignment)
        let specification = DomainSpecification(
            instance: assignment.instance, epoch: assignment.epoch, powerCycle: assignment.powerCycle,
            title: assignment.guest.name, accelerator: await accelerator(), vcpus: assignment.guest.vcpus,
            memoryBytes: assignment.guest.memoryBytes, disk: parts.disk, seedPath: parts.seed, networks: networks,
            consoleLogPath: parts.consoleLog)
        vcpus.withLock { $0[assignment.instance] = UInt32(clamping: assignment.guest.vcpus) }
        try await asking { () async throws(HypervisorError) in try await hypervisor.start(specification) }
    }

    private func powerOff(_ id: InstanceID) async throws(ActionFailure) {
        do throws(HypervisorError) {
            try await hypervisor.powerOff(id)
        } catch {
            switch error {
            case .notRunning, .noSuchDomain: return
            default: throw ActionFailure(error)
            }
        }
    }

    /// Removing a domain would pull its plug, so that one that runs after all is left for another look (P5).
    private func removeDomain(_ id: InstanceID) async throws(ActionFailure) {
        let domain = try await asking { () async throws(HypervisorError) in try await hypervisor.domain(id) }
        guard let domain else { return }
        guard !DomainObservation(domain).isRunning else {
            throw ActionFailure(code: "domain_running", sentence: "the domain runs although it was thought to be stopped")
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
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.hypervisor.run() }
            group.addTask {
                for await event in self.hypervisor.events { self.pass(event, to: handler) }
            }
            await group.waitForAll()
        }
    }

    private func pass(_ event: DomainEvent, to handler: @Sendable (HostEvent) -> Void) {
        switch event {
        case .started(let id): handler(.started(id))
        case .stopped(let id, let reason): handler(.stopped(id, StopCause(reason)))
        case .paused(let id):
            logger.warning(
                "a guest stands still; is the host's disk full?", metadata: ["instance": "\(id)"])
        case .connectionLost: logger.warning("the hypervisor went away; guests run on")
        case .connectionRestored, .eventsLost: handler(.ready)
        }
    }
}

extension ActionFailure {
    init(_ error: HypervisorError) { self.init(code: error.code, sentence: error.description) }
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
            epoch: domain.epoch, powerCycle: domain.powerCycle, state: state, startedAt: domain.startedAt)
    }
}

extension StopCause {
    init(_ reason: StopReason) {
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
