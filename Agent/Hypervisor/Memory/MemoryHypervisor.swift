public import ProtocolModel
import Synchronization

/// A hypervisor without guests: domains are entries of a table. For load tests and large simulated fleets, chosen with
/// `hypervisor.uri: memory:`, and named as what it is in the node's inventory.
public final class MemoryHypervisor: Hypervisor {
    public let events: AsyncStream<DomainEvent>
    private let channel = EventChannel()
    private let time: any TimeSource
    private let table = Mutex<[InstanceID: Entry]>([:])

    private struct Entry {
        var specification: DomainSpecification
        var state: DomainState
    }

    public init(time: any TimeSource = SystemTime()) {
        self.time = time
        events = channel.stream
        channel.send(.connectionRestored)
    }

    public func describe() async throws(HypervisorError) -> HypervisorDescription {
        HypervisorDescription(
            cpuModel: "simulated", architecture: "x86_64", cpuCount: 64, memoryBytes: 256 << 30, libvirtVersion: "none",
            hypervisorVersion: "in memory")
    }

    public func domains() async throws(HypervisorError) -> [ObservedDomain] {
        table.withLock { table in
            table.values.map {
                ObservedDomain(
                    instance: $0.specification.instance, epoch: $0.specification.epoch,
                    powerCycle: $0.specification.powerCycle, state: $0.state, startedAt: $0.specification.startedAt,
                    devices: $0.specification.assignedDevices)
            }
        }.sorted { $0.instance < $1.instance }
    }

    public func deviceOwners() async throws(HypervisorError) -> [DeviceOwner] {
        table.withLock { table in
            table.values.filter { $0.state == .running && !$0.specification.devices.isEmpty }.map {
                DeviceOwner(.instance($0.specification.instance, $0.specification.epoch), $0.specification.devices)
            }
        }
    }

    public func start(_ domain: DomainSpecification) async throws(HypervisorError) {
        let started = table.withLock { table in
            if table[domain.instance]?.state == .running { return false }
            table[domain.instance] = Entry(specification: domain, state: .running)
            return true
        }
        guard started else { throw .domainRuns(domain.instance) }
        channel.send(.started(domain.instance))
    }

    public func requestShutdown(_ instance: InstanceID) async throws(HypervisorError) {
        try stop(instance, .guestShutdown)
    }

    public func powerOff(_ instance: InstanceID) async throws(HypervisorError) {
        guard table.withLock({ $0[instance] != nil }) else { return }
        try stop(instance, .destroyed)
    }

    /// Ends a guest for a given reason; also for tests of crashes.
    public func stop(_ instance: InstanceID, _ reason: DomainState.Reason) throws(HypervisorError) {
        let stopped: Bool? = table.withLock { table in
            guard let entry = table[instance] else { return nil }
            guard entry.state == .running else { return false }
            table[instance]?.state = .shutOff(reason)
            return true
        }
        guard let stopped else { throw .noSuchDomain(instance) }
        if stopped { channel.send(.stopped(instance, reason)) }
    }

    public func remove(_ instance: InstanceID) async throws(HypervisorError) {
        let removed = table.withLock { $0.removeValue(forKey: instance) }
        if removed?.state == .running { channel.send(.stopped(instance, .destroyed)) }
    }

    public func statistics() async throws(HypervisorError) -> [DomainStatistics] {
        let now = time.timestamp
        return table.withLock { table in
            table.values.filter { $0.state == .running }.map { entry in
                let specification = entry.specification
                var statistics = DomainStatistics(
                    instance: specification.instance, powerCycle: specification.powerCycle,
                    startedAt: specification.startedAt, vcpus: specification.vcpus,
                    memoryBytes: specification.memoryBytes)
                statistics.memoryResidentBytes = specification.memoryBytes
                // A guest that is a tenth busy.
                statistics.cpuTimeNanoseconds = UInt64(max(0, (now - specification.startedAt).milliseconds)) * 100_000
                return statistics
            }
        }
    }
}
