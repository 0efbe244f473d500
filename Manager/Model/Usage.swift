public import ProtocolModel

/// What one instance used in an interval; also the sum of many such.
public struct UsageAmounts: Sendable, Equatable {
    public var serverMilliseconds: Int64 = 0
    /// vCPUs × milliseconds.
    public var vcpuMilliseconds: Int64 = 0
    /// MiB × milliseconds.
    public var ramMiBMilliseconds: Int64 = 0
    public var cpuTimeNanoseconds: Int64 = 0
    public var diskReadBytes: Int64 = 0
    public var diskWriteBytes: Int64 = 0
    public var networkReceiveBytes: Int64 = 0
    public var networkTransmitBytes: Int64 = 0

    public init() {}

    public static func += (left: inout Self, right: Self) {
        left.serverMilliseconds &+= right.serverMilliseconds
        left.vcpuMilliseconds &+= right.vcpuMilliseconds
        left.ramMiBMilliseconds &+= right.ramMiBMilliseconds
        left.cpuTimeNanoseconds &+= right.cpuTimeNanoseconds
        left.diskReadBytes &+= right.diskReadBytes
        left.diskWriteBytes &+= right.diskWriteBytes
        left.networkReceiveBytes &+= right.networkReceiveBytes
        left.networkTransmitBytes &+= right.networkTransmitBytes
    }
}

/// A sample as an agent measured it, for the wall-clock interval [from, to).
public struct UsageSample: Sendable, Equatable {
    public var instance: InstanceID
    public var from: Timestamp
    public var to: Timestamp
    public var vcpus: Int
    public var ramMiB: Int
    public var cpuTimeNanoseconds: Int64
    public var diskReadBytes: Int64
    public var diskWriteBytes: Int64
    public var networkReceiveBytes: Int64
    public var networkTransmitBytes: Int64

    public init(
        instance: InstanceID, from: Timestamp, to: Timestamp, vcpus: Int, ramMiB: Int, cpuTimeNanoseconds: Int64 = 0,
        diskReadBytes: Int64 = 0, diskWriteBytes: Int64 = 0, networkReceiveBytes: Int64 = 0,
        networkTransmitBytes: Int64 = 0
    ) {
        self.instance = instance
        self.from = from
        self.to = to
        self.vcpus = vcpus
        self.ramMiB = ramMiB
        self.cpuTimeNanoseconds = cpuTimeNanoseconds
        self.diskReadBytes = diskReadBytes
        self.diskWriteBytes = diskWriteBytes
        self.networkReceiveBytes = networkReceiveBytes
        self.networkTransmitBytes = networkTransmitBytes
    }
}

/// A batch of an agent's spool. A number at or below the last one committed changes nothing (P4).
public struct UsageBatch: Sendable, Equatable {
    public var spool: SpoolID
    public var number: UInt64
    public var samples: [UsageSample]
    /// The batch before this one that the agent still has, 0 where it has none; `nil` where it does not say.
    public var follows: UInt64?

    public init(spool: SpoolID, number: UInt64, samples: [UsageSample], follows: UInt64? = nil) {
        self.spool = spool
        self.number = number
        self.samples = samples
        self.follows = follows
    }
}

/// One line of a usage report.
public struct UsageRow: Sendable, Equatable {
    public var day: CivilDay?
    public var owner: UserID
    /// The owner's name.
    public var user: String
    public var instance: InstanceID?
    public var instanceName: String?
    public var flavor: String?
    public var amounts: UsageAmounts
    /// Devices × milliseconds, by alias.
    public var devices: [String: Int64]

    public init(
        day: CivilDay?, owner: UserID, user: String, instance: InstanceID?, instanceName: String?, flavor: String?,
        amounts: UsageAmounts, devices: [String: Int64] = [:]
    ) {
        self.devices = devices
        self.day = day
        self.owner = owner
        self.user = user
        self.instance = instance
        self.instanceName = instanceName
        self.flavor = flavor
        self.amounts = amounts
    }

    /// Its place in the order of its report.
    public var place: String {
        [day.map { String($0.daysSince1970) }, instance?.description, owner.description]
            .compactMap { $0 }.joined(separator: " ")
    }
}
