public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// Counts samples exactly once (P4).
public enum Accounting {
    /// What became of a batch.
    public enum Outcome: Sendable, Equatable {
        /// Committed with this transaction, or committed earlier: may be acknowledged up to `number`.
        case counted(upTo: UInt64)
        /// The same, and `lost` batches before it will never come.
        case resumed(upTo: UInt64, lost: UInt64)
        /// An earlier batch has not arrived; the agent sends again from its oldest.
        case missing(after: UInt64)
    }

    /// Adds a batch to the hourly roll-up and moves the spool's mark in the same transaction.
    ///
    /// A number at or below the mark changes nothing. A number beyond the next is refused as long as something between may
    /// come: not at the very first batch that this manager sees of a spool, since the agent deletes only what was
    /// acknowledged, and not where the agent says that it has nothing between, since its disk lost it, or since this record
    /// went back to a backup. To wait for it would be to count nothing of that host ever again.
    public static func count(
        _ batch: UsageBatch, from node: NodeID, at now: Timestamp, in sql: Transaction
    ) throws -> Outcome {
        let last = try sql.usage.lastNumber(node: node, spool: batch.spool)
        guard batch.number > last else { return .counted(upTo: last) }
        let isNext = last == 0 || batch.number == last + 1
        guard isNext || batch.follows.map({ $0 <= last }) == true else { return .missing(after: last) }
        try add(batch.samples, from: node, at: now, in: sql)
        try sql.usage.setLastNumber(batch.number, node: node, spool: batch.spool, at: now)
        return isNext ? .counted(upTo: batch.number) : .resumed(upTo: batch.number, lost: batch.number - last - 1)
    }

    private struct Place: Hashable {
        var hour: Int64
        var instance: InstanceID
    }

    /// Sums up in memory what belongs to one instance's hour: each row of the roll-up is written once for a batch, however many
    /// samples of it there are.
    private static func add(
        _ samples: [UsageSample], from node: NodeID, at now: Timestamp, in sql: Transaction
    ) throws {
        let known = try sql.usage.attributions(of: Set(samples.map(\.instance)))
        // A node that was lost tells later what its guests had used until they were given up; what one that ran on used beyond
        // that is nobody's, since its owner pays for the one that took its place.
        let elsewhere = known.filter { $0.value.node != node }
        let ends = elsewhere.isEmpty ? [:] : try sql.formerPlacements.ends(of: elsewhere.keys, on: node)
        var sums: [Place: UsageAmounts] = [:]
        for sample in samples {
            // A node speaks only for its own instances, and not for times to come (P9).
            guard let whose = known[sample.instance],
                whose.node == node || ends[sample.instance].map({ sample.to <= $0 }) == true,
                // Moments before 1970 are so far from now that their distance would not fit (P10).
                sample.from >= Timestamp(milliseconds: 0), sample.from < sample.to,
                sample.to < now + .seconds(3600), sample.to - sample.from <= .seconds(86_400 * 31)
            else { continue }
            let sample = bounded(sample, vcpus: whose.vcpus, ramMiB: whose.ramMiB)
            eachHour(of: sample) { hour, amounts in
                sums[Place(hour: hour, instance: sample.instance), default: UsageAmounts()] += amounts
            }
        }
        // In the order of the table's key: neighbours share a page, and two writers never wait for each other in a circle.
        let order = sums.keys.sorted { ($0.hour, $0.instance) < ($1.hour, $1.instance) }
        try sql.usage.add(
            order.compactMap { place in
                guard let whose = known[place.instance], let amounts = sums[place] else { return nil }
                return .init(
                    hour: place.hour, instance: place.instance, owner: whose.owner, account: whose.account,
                    flavor: whose.flavor, amounts: amounts)
            })
    }

    /// No more than a guest of this kind could have used: what a broken or hostile node says must not make the sums
    /// overflow, its own nor the site's (P10).
    private static func bounded(_ sample: UsageSample, vcpus: Int, ramMiB: Int) -> UsageSample {
        let milliseconds = (sample.to - sample.from).milliseconds
        // Emulation and I/O count as processor time beside the vCPUs.
        let processors = Int64(vcpus) + 64
        let bytes = milliseconds * (64 << 20)
        var sample = sample
        sample.vcpus = min(sample.vcpus, vcpus)
        sample.ramMiB = min(sample.ramMiB, ramMiB)
        sample.cpuTimeNanoseconds = min(sample.cpuTimeNanoseconds, processors * milliseconds * 1_000_000)
        sample.diskReadBytes = min(sample.diskReadBytes, bytes)
        sample.diskWriteBytes = min(sample.diskWriteBytes, bytes)
        sample.networkReceiveBytes = min(sample.networkReceiveBytes, bytes)
        sample.networkTransmitBytes = min(sample.networkTransmitBytes, bytes)
        return sample
    }

    /// Divides a sample among the hours that it touches, in proportion to time; the parts add up to the whole exactly.
    static func eachHour(of sample: UsageSample, _ body: (_ hour: Int64, UsageAmounts) -> Void) {
        let hourLength: Int64 = 3_600_000
        let total = sample.to.milliseconds - sample.from.milliseconds
        var begin = sample.from.milliseconds
        func share(_ amount: Int64, upTo end: Int64) -> Int64 {
            // What belongs before `end`, rounded down: differences of it lose and double nothing.
            Int64(Double(amount) * (Double(end - sample.from.milliseconds) / Double(total)))
        }
        while begin < sample.to.milliseconds {
            let hour = begin >= 0 ? begin / hourLength : (begin - hourLength + 1) / hourLength
            let end = min(sample.to.milliseconds, (hour + 1) * hourLength)
            func part(_ amount: Int64) -> Int64 {
                (end == sample.to.milliseconds ? amount : share(amount, upTo: end)) - share(amount, upTo: begin)
            }
            var amounts = UsageAmounts()
            amounts.serverMilliseconds = end - begin
            amounts.vcpuMilliseconds = Int64(sample.vcpus) * (end - begin)
            amounts.ramMiBMilliseconds = Int64(sample.ramMiB) * (end - begin)
            amounts.cpuTimeNanoseconds = part(sample.cpuTimeNanoseconds)
            amounts.diskReadBytes = part(sample.diskReadBytes)
            amounts.diskWriteBytes = part(sample.diskWriteBytes)
            amounts.networkReceiveBytes = part(sample.networkReceiveBytes)
            amounts.networkTransmitBytes = part(sample.networkTransmitBytes)
            body(hour, amounts)
            begin = end
        }
    }
}
