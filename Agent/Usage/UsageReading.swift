public import ProtocolModel

/// Counters of a domain since its start; none of them runs backwards within one run.
public struct UsageCounters: Sendable, Hashable, Codable {
    public var cpuTimeNanoseconds: UInt64
    public var diskReadBytes: UInt64
    public var diskWriteBytes: UInt64
    public var networkReceiveBytes: UInt64
    public var networkTransmitBytes: UInt64

    public init(
        cpuTimeNanoseconds: UInt64 = 0, diskReadBytes: UInt64 = 0, diskWriteBytes: UInt64 = 0,
        networkReceiveBytes: UInt64 = 0, networkTransmitBytes: UInt64 = 0
    ) {
        self.cpuTimeNanoseconds = cpuTimeNanoseconds
        self.diskReadBytes = diskReadBytes
        self.diskWriteBytes = diskWriteBytes
        self.networkReceiveBytes = networkReceiveBytes
        self.networkTransmitBytes = networkTransmitBytes
    }

    /// What was added since `earlier`; a counter that is behind (a device was replaced) began anew.
    func since(_ earlier: UsageCounters) -> UsageCounters {
        func difference(_ path: KeyPath<UsageCounters, UInt64>) -> UInt64 {
            let (now, before) = (self[keyPath: path], earlier[keyPath: path])
            return now >= before ? now - before : now
        }
        return UsageCounters(
            cpuTimeNanoseconds: difference(\.cpuTimeNanoseconds), diskReadBytes: difference(\.diskReadBytes),
            diskWriteBytes: difference(\.diskWriteBytes), networkReceiveBytes: difference(\.networkReceiveBytes),
            networkTransmitBytes: difference(\.networkTransmitBytes))
    }
}

/// One look at a running domain.
public struct UsageReading: Sendable, Hashable {
    public var instance: InstanceID
    public var powerCycle: PowerCycle
    /// When this run of the domain began, as recorded with the domain, so that it is the same at each look.
    public var startedAt: Timestamp?
    public var vcpus: UInt32
    public var memoryBytes: UInt64
    public var counters: UsageCounters
    public var memoryResidentBytes: UInt64
    public var diskAllocatedBytes: UInt64

    public init(
        instance: InstanceID, powerCycle: PowerCycle, startedAt: Timestamp?, vcpus: UInt32, memoryBytes: UInt64,
        counters: UsageCounters, memoryResidentBytes: UInt64 = 0, diskAllocatedBytes: UInt64 = 0
    ) {
        self.instance = instance
        self.powerCycle = powerCycle
        self.startedAt = startedAt
        self.vcpus = vcpus
        self.memoryBytes = memoryBytes
        self.counters = counters
        self.memoryResidentBytes = memoryResidentBytes
        self.diskAllocatedBytes = diskAllocatedBytes
    }
}
