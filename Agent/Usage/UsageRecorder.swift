import AgentDurability
public import ProtocolMessages
public import ProtocolModel

/// Sampler and spool as one: a sample is taken when it is on the disk, and not before. What could not be kept is part of
/// the next sample.
public struct UsageRecorder: Sendable {
    private var sampler: Sampler
    private var spool: UsageSpool
    /// Ends of runs that could not be kept yet.
    private var unsaved: [Roost_V1_UsageSample] = []
    private static let unsavedLimit = 10_000
    /// Whether the spool says since when guests are counted here in this boot of the host.
    private var isBegun: Bool

    public init(sampler: Sampler, spool: UsageSpool) {
        self.sampler = sampler
        self.spool = spool
        isBegun = sampler.state.sampledAtUptimeNanoseconds != nil
    }

    public var spoolID: SpoolID { spool.id }
    public var batchesLost: UInt64 { spool.batchesLost }
    public var spoolBytes: Int { spool.bytes }

    /// Samples all running domains.
    public mutating func sample(
        _ readings: [UsageReading], at now: Timestamp, _ uptime: Uptime
    ) throws(SpoolError) -> [SpoolNotice] {
        var next = sampler
        let samples = next.sample(readings, at: now, uptime)
        do {
            let notices = try keep(samples, next)
            sampler = next
            return notices
        } catch {
            sampler.meet(readings, at: now, uptime)
            throw error
        }
    }

    /// Samples the last part of a run.
    public mutating func stopped(
        _ instance: InstanceID, at now: Timestamp, _ uptime: Uptime
    ) throws(SpoolError) -> [SpoolNotice] {
        guard let sample = sampler.stopped(instance, at: now, uptime) else { return [] }
        if unsaved.count < Self.unsavedLimit { unsaved.append(sample) }
        return try keep([], sampler)
    }

    private mutating func keep(
        _ samples: [Roost_V1_UsageSample], _ sampler: Sampler
    ) throws(SpoolError) -> [SpoolNotice] {
        // The first look is kept even where it shows nothing: a process that comes later counts from there.
        guard !samples.isEmpty || !unsaved.isEmpty || !isBegun else { return [] }
        var notices: [SpoolNotice] = []
        try spool.append(unsaved + samples, state: sampler.state, &notices)
        unsaved = []
        isBegun = true
        return notices
    }

    public mutating func batches(
        after position: SpoolPosition?, limit: Int
    ) throws(SpoolError) -> [(position: SpoolPosition, batch: Roost_V1_UsageBatch)] {
        try spool.batches(after: position, limit: limit)
    }

    public mutating func acknowledge(_ spool: SpoolID, upTo number: UInt64) {
        self.spool.acknowledge(spool, upTo: number)
    }
}
