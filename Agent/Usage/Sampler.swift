import Foundation
public import ProtocolMessages
public import ProtocolModel
import SwiftProtobuf

/// Turns readings of domains into samples: what each used in [from, to) (P4).
///
/// Durations come from the clock that never jumps; the wall clock only says where on the calendar they lie. Samples of one
/// run follow one another without gap or overlap, but for a step of the wall clock, after which they lie by the new time.
public struct Sampler: Sendable {
    /// What must survive the process, so that a guest that runs on is counted on: kept in the spool with each batch.
    public struct State: Sendable, Codable, Equatable {
        var baselines: [Baseline] = []
        /// When samples were last taken, by the wall clock.
        var sampledAtMilliseconds: Int64?
        /// The same moment by the clock that never jumps, in this boot of the host.
        var sampledAtUptimeNanoseconds: Int64?
        var boot: BootID?
        public init() {}
    }

    struct Baseline: Sendable, Codable, Equatable {
        var instance: InstanceID
        var powerCycle: PowerCycle
        var startedAtMilliseconds: Int64?
        var boot: BootID
        var counters: UsageCounters
        /// The end of what has been counted.
        var countedToMilliseconds: Int64
        var uptimeNanoseconds: Int64
        var vcpus: UInt32
        var memoryBytes: UInt64
        /// The run is over and counted to its end; a look at it that comes late adds nothing.
        var isOver = false
        /// The last look did not find it.
        var isAbsent: Bool?
    }

    /// A wall clock that is off by less than this is being slewed, not stepped.
    static let clockStep = Duration.seconds(2)
    /// For how long a run that nobody sees any more is remembered, in case that it shows again.
    static let memory = Duration.seconds(86_400)

    private let boot: BootID
    private let limit: Int
    private var baselines: [InstanceID: Baseline] = [:]
    /// Runs that began before this have been counted up to here by somebody, or never will be.
    private var floor: Timestamp
    private var sampledAt: Timestamp?
    /// In this boot of the host.
    private var sampledAtUptime: Uptime?

    /// - Parameter state: of the process before this one; `nil` where there was none, or where it was lost.
    public init(state: State?, boot: BootID, limit: Int = Limits.samplesPerBatch, at now: Timestamp) {
        self.boot = boot
        self.limit = limit
        self.floor = state?.sampledAtMilliseconds.map(Timestamp.init(milliseconds:)) ?? now
        self.sampledAt = state?.sampledAtMilliseconds.map(Timestamp.init(milliseconds:))
        if state?.boot == boot, let nanoseconds = state?.sampledAtUptimeNanoseconds {
            sampledAtUptime = Uptime(sinceStart: .nanoseconds(nanoseconds))
        }
        for baseline in state?.baselines ?? [] where baseline.boot == boot { baselines[baseline.instance] = baseline }
    }

    public var state: State {
        var state = State()
        state.baselines = baselines.values.sorted { $0.instance < $1.instance }
        state.sampledAtMilliseconds = sampledAt?.milliseconds
        state.sampledAtUptimeNanoseconds = sampledAtUptime?.nanoseconds
        state.boot = boot
        return state
    }

    /// Samples every running domain. A domain that is not among the readings has stopped unseen, and what it used since
    /// the last sample is not known; or the hypervisor left it out, and its next sample covers the time.
    public mutating func sample(
        _ readings: [UsageReading], at now: Timestamp, _ uptime: Uptime
    ) -> [Roost_V1_UsageSample] {
        let running = Set(readings.map(\.instance))
        baselines = baselines.filter { running.contains($0.key) || uptime - $0.value.uptime < Self.memory }
        for id in baselines.keys where !running.contains(id) { baselines[id]?.isAbsent = true }
        // More domains than fit a batch: those that have waited longest; the others lose nothing by waiting.
        let due = readings.count <= limit ? readings : Array(readings.sorted { waits($0) < waits($1) }.prefix(limit))
        let samples = due.compactMap { sample($0, at: now, uptime) }
        sampledAt = now
        sampledAtUptime = uptime
        return samples
    }

    /// The last part of a run, at its end. What the counters would say is gone with the domain unless `reading` has it.
    public mutating func stopped(
        _ instance: InstanceID, last reading: UsageReading? = nil, at now: Timestamp, _ uptime: Uptime
    ) -> Roost_V1_UsageSample? {
        defer {
            baselines[instance]?.isOver = true
            // The next run of this instance began behind this moment.
            baselines[instance]?.uptimeNanoseconds = uptime.nanoseconds
        }
        if let reading { return sample(reading, at: now, uptime) }
        // One that was gone at the last look ended before it, unheard: this is the end of a run that nobody saw.
        guard let baseline = baselines[instance], !baseline.isOver, baseline.isAbsent != true else { return nil }
        let used = uptime - baseline.uptime
        guard used.milliseconds > 0 else { return nil }
        return .with {
            $0.instanceID = instance.bytes
            $0.fromMs = baseline.countedToMilliseconds
            $0.toMs = baseline.countedToMilliseconds + used.milliseconds
            $0.vcpus = baseline.vcpus
            $0.memoryBytes = baseline.memoryBytes
        }
    }

    private func waits(_ reading: UsageReading) -> Int64 {
        baselines[reading.instance]?.countedToMilliseconds ?? reading.startedAt?.milliseconds ?? .min
    }

    private mutating func sample(
        _ reading: UsageReading, at now: Timestamp, _ uptime: Uptime
    ) -> Roost_V1_UsageSample? {
        if let baseline = baselines[reading.instance], baseline.isSameRun(as: reading) {
            return baseline.isOver ? nil : next(reading, after: baseline, at: now, uptime)
        }
        return next(reading, after: begin(reading, at: now, uptime), at: now, uptime)
    }

    /// Remembers runs that are new here from their beginnings, though nothing is counted yet: where a look's samples cannot
    /// be kept, those of runs that end before the next look are not lost with it.
    mutating func meet(_ readings: [UsageReading], at now: Timestamp, _ uptime: Uptime) {
        for reading in readings where baselines[reading.instance]?.isSameRun(as: reading) != true {
            _ = begin(reading, at: now, uptime)
        }
    }

    /// The first look at a run. Where it began before anything was counted here, what it used so far was counted before
    /// (by a spool that is lost, say) or cannot be told; counting it could count it twice.
    private mutating func begin(_ reading: UsageReading, at now: Timestamp, _ uptime: Uptime) -> Baseline {
        var baseline = Baseline(reading, boot: boot, countedTo: now, uptime)
        if let began = beginning(of: reading, at: now, uptime), began < now {
            baseline.counters = UsageCounters(cpuTimeNanoseconds: 0)
            baseline.countedToMilliseconds = began.milliseconds
            baseline.uptimeNanoseconds -= (now - began).milliseconds * 1_000_000
        }
        baselines[reading.instance] = baseline
        return baseline
    }

    /// When a run that is new here began, by the wall clock as it shows now; `nil` where that cannot be told.
    private func beginning(of reading: UsageReading, at now: Timestamp, _ uptime: Uptime) -> Timestamp? {
        guard let startedAt = reading.startedAt else { return nil }
        // Since the last look, however the wall clock was set meanwhile, and behind the last run of the same instance.
        let last = max(
            sampledAtUptime ?? Uptime(sinceStart: .zero),
            baselines[reading.instance]?.uptime ?? Uptime(sinceStart: .zero))
        let earliest = now - (uptime - last)
        if let sampledAt, let sampledAtUptime {
            var step = (now - sampledAt) - (uptime - sampledAtUptime)
            if step <= Self.clockStep, step >= .zero - Self.clockStep { step = .zero }
            // It began before a step of the wall clock or behind it. Where both may be, the shorter cannot count too much.
            let possible = [startedAt, startedAt + step].filter { $0 >= earliest && $0 < now }
            if let latest = possible.max() { return latest }
        }
        guard startedAt >= floor, startedAt < now else { return nil }
        return max(startedAt, earliest)
    }

    private mutating func next(
        _ reading: UsageReading, after baseline: Baseline, at now: Timestamp, _ uptime: Uptime
    ) -> Roost_V1_UsageSample? {
        let used = uptime - baseline.uptime
        guard used.milliseconds > 0 else { return nil }
        let from = baseline.countedToMilliseconds
        let to = Timestamp(milliseconds: from) + .milliseconds(used.milliseconds)
        let stepped = now - to > Self.clockStep || to - now > Self.clockStep
        var next = Baseline(reading, boot: boot, countedTo: stepped ? now : to, uptime)
        // Whole milliseconds are counted; the rest belongs to the next sample.
        next.uptimeNanoseconds = baseline.uptimeNanoseconds + used.milliseconds * 1_000_000
        baselines[reading.instance] = next
        return reading.sample(from: from, to: to.milliseconds, reading.counters.since(baseline.counters))
    }
}

extension Sampler.Baseline {
    init(_ reading: UsageReading, boot: BootID, countedTo: Timestamp, _ uptime: Uptime) {
        self.init(
            instance: reading.instance, powerCycle: reading.powerCycle,
            startedAtMilliseconds: reading.startedAt?.milliseconds, boot: boot, counters: reading.counters,
            countedToMilliseconds: countedTo.milliseconds, uptimeNanoseconds: uptime.nanoseconds,
            vcpus: reading.vcpus, memoryBytes: reading.memoryBytes)
    }

    var uptime: Uptime { Uptime(sinceStart: .nanoseconds(uptimeNanoseconds)) }

    func isSameRun(as reading: UsageReading) -> Bool {
        powerCycle == reading.powerCycle && startedAtMilliseconds == reading.startedAt?.milliseconds
            && (startedAtMilliseconds != nil || reading.counters.cpuTimeNanoseconds >= counters.cpuTimeNanoseconds)
    }
}

extension UsageReading {
    fileprivate func sample(from: Int64, to: Int64, _ used: UsageCounters) -> Roost_V1_UsageSample {
        .with {
            $0.instanceID = instance.bytes
            $0.fromMs = from
            $0.toMs = to
            $0.vcpus = vcpus
            $0.memoryBytes = memoryBytes
            $0.cpuTimeNs = used.cpuTimeNanoseconds
            $0.memoryResidentBytes = memoryResidentBytes
            $0.diskReadBytes = used.diskReadBytes
            $0.diskWriteBytes = used.diskWriteBytes
            $0.networkReceiveBytes = used.networkReceiveBytes
            $0.networkTransmitBytes = used.networkTransmitBytes
            $0.diskAllocatedBytes = diskAllocatedBytes
        }
    }
}

extension Uptime {
    fileprivate var nanoseconds: Int64 {
        let (seconds, attoseconds) = sinceStart.components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
