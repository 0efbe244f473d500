public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// Counts samples exactly once (P4).
public enum Accounting {
    /// What became of a batch.
    public enum Outcome: Sendable, Equatable {
        /// Committed with this transaction, or committed earlier: may be acknowledged up to `number`.
        case counted(upTo: UInt64)
        /// An earlier batch has not arrived; the agent sends again from its oldest.
        case missing(after: UInt64)
    }

    /// Adds a batch to the hourly roll-up and moves the spool's mark in the same transaction.
    ///
    /// A number at or below the mark changes nothing. A number beyond the next is refused, except at the very first batch
    /// that this manager sees of a spool: the agent deletes only what was acknowledged, so nothing older exists.
    public static func count(
        _ batch: UsageBatch, from node: NodeID, at now: Timestamp, in sql: Transaction
    ) throws -> Outcome {
        let last = try sql.usage.lastNumber(node: node, spool: batch.spool)
        guard batch.number > last else { return .counted(upTo: last) }
        guard last == 0 || batch.number == last + 1 else { return .missing(after: last) }
        for sample in batch.samples { try add(sample, from: node, at: now, in: sql) }
        try sql.usage.setLastNumber(batch.number, node: node, spool: batch.spool, at: now)
        return .counted(upTo: batch.number)
    }

    private static func add(_ sample: UsageSample, from node: NodeID, at now: Timestamp, in sql: Transaction) throws {
        guard let whose = try sql.usage.attribution(of: sample.instance),
            // A node speaks only for its own instances, and not for times to come (P9).
            let instance = try sql.instances.find(sample.instance), instance.node == node,
            // Moments before 1970 are so far from now that their distance would not fit (P10).
            sample.from >= Timestamp(milliseconds: 0), sample.from < sample.to,
            sample.to < now + .seconds(3600), sample.to - sample.from <= .seconds(86_400 * 31)
        else { return }
        for (hour, amounts) in split(bounded(sample, by: instance)) {
            try sql.usage.add(
                amounts, hour: hour, instance: sample.instance, owner: whose.owner, account: whose.account,
                flavor: whose.flavor)
        }
    }

    /// No more than a guest of this kind could have used: what a broken or hostile node says must not make the sums
    /// overflow, its own nor the site's (P10).
    private static func bounded(_ sample: UsageSample, by instance: Instance) -> UsageSample {
        let milliseconds = (sample.to - sample.from).milliseconds
        // Emulation and I/O count as processor time beside the vCPUs.
        let processors = Int64(instance.vcpus) + 64
        let bytes = milliseconds * (64 << 20)
        var sample = sample
        sample.vcpus = min(sample.vcpus, instance.vcpus)
        sample.ramMiB = min(sample.ramMiB, instance.ramMiB)
        sample.cpuTimeNanoseconds = min(sample.cpuTimeNanoseconds, processors * milliseconds * 1_000_000)
        sample.diskReadBytes = min(sample.diskReadBytes, bytes)
        sample.diskWriteBytes = min(sample.diskWriteBytes, bytes)
        sample.networkReceiveBytes = min(sample.networkReceiveBytes, bytes)
        sample.networkTransmitBytes = min(sample.networkTransmitBytes, bytes)
        return sample
    }

    /// Divides a sample among the hours that it touches, in proportion to time; the parts add up to the whole exactly.
    static func split(_ sample: UsageSample) -> [(hour: Int64, amounts: UsageAmounts)] {
        let hourLength: Int64 = 3_600_000
        let total = sample.to.milliseconds - sample.from.milliseconds
        var parts: [(hour: Int64, amounts: UsageAmounts)] = []
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
            parts.append((hour, amounts))
            begin = end
        }
        return parts
    }
}
