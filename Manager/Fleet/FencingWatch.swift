import ManagerLifecycle
import ManagerModel
import ProtocolModel

/// Which lost hosts are to be fenced now. A value; what it forgets with its process is in the record, or counted anew.
///
/// One run at a time for each host, the first some time after the host counts as down here, further ones at longer and longer
/// intervals until one has fenced it or the host is heard. A leader that finds a run of another's without an end waits for as long
/// as that may take: that manager may live and not lead. So two run at once only where one was stopped for longer than its own
/// time limit, which the command has to bear (`docs/LOST-HOSTS.md`).
struct FencingWatch: Sendable {
    private struct Entry {
        /// Which loss it is about.
        var since: Timestamp
        var notBefore: Uptime
        var failures: Int
        var isRunning = false
    }

    private static let parallel = 16
    private static let grace = Duration.seconds(10)
    private static let firstWait = Duration.seconds(10)
    private static let longestWait = Duration.seconds(600)

    private var entries: [NodeID: Entry] = [:]
    /// Why nothing is fenced now, as it was told last.
    private var withheld: String?

    /// Takes in what there is to fence, and says for which hosts a run is to begin now.
    ///
    /// - Returns: with them, once, why nothing is fenced although there is something to fence.
    mutating func see(
        _ sight: FencingSight, _ rules: FencingRules, at now: Uptime
    ) -> (begun: [NodeID], objection: String?) {
        guard let objection = sight.objection(rules) else {
            withheld = nil
            return (begin(sight.candidates, rules, at: now), nil)
        }
        // The waits of all begin anew behind it: what comes back has time to be heard.
        entries = entries.filter(\.value.isRunning)
        defer { withheld = objection }
        return ([], withheld == nil ? objection : nil)
    }

    private mutating func begin(
        _ candidates: [NodeID: HostLoss], _ rules: FencingRules, at now: Uptime
    ) -> [NodeID] {
        entries = entries.filter { $0.value.isRunning || candidates[$0.key] != nil }
        for (node, loss) in candidates {
            if let known = entries[node], known.since == loss.since || known.isRunning { continue }
            entries[node] = Self.entry(for: loss, rules, at: now)
        }
        var begun: [NodeID] = []
        var running = entries.values.count(where: \.isRunning)
        for (node, entry) in entries.sorted(by: { $0.key < $1.key }) {
            guard running < Self.parallel else { break }
            guard !entry.isRunning, candidates[node] != nil, now >= entry.notBefore else { continue }
            entries[node]?.isRunning = true
            running += 1
            begun.append(node)
        }
        return begun
    }

    private static func entry(for loss: HostLoss, _ rules: FencingRules, at now: Uptime) -> Entry {
        guard let fencing = loss.fencing else {
            return Entry(since: loss.since, notBefore: now + rules.after, failures: 0)
        }
        let wait = fencing.endedAt == nil ? rules.timeLimit + grace : wait(after: fencing.attempts)
        return Entry(since: loss.since, notBefore: now + wait, failures: fencing.attempts)
    }

    private static func wait(after failures: Int) -> Duration {
        min(longestWait, firstWait * (1 << min(10, max(0, failures - 1))))
    }

    /// A run has ended, or did not come to be.
    mutating func ended(_ node: NodeID, at now: Uptime) {
        guard var entry = entries[node] else { return }
        entry.isRunning = false
        entry.failures += 1
        entry.notBefore = now + Self.wait(after: entry.failures)
        entries[node] = entry
    }
}
