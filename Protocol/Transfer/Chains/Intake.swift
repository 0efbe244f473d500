import ProtocolModel

/// How much a node received of late, from the totals that it reports.
struct Intake: Sendable {
    /// Several reports long, so that one which is late makes little difference.
    private static let window = Duration.seconds(2)
    private static let least = Duration.seconds(1)

    private var totals: [(at: Uptime, bytes: Int64)] = []
    /// The most that it received in such a time, bytes a second: what its link carries at least. Unlike what is measured while
    /// its source had data, it knows nothing of bursts, which links let through after each rest.
    private(set) var best: Int64?

    /// - Parameter total: all bytes so far; `nil` where the node receives nothing more.
    mutating func note(_ total: Int64?, at now: Uptime) {
        // A smaller one is that of another life.
        guard let total, total >= totals.last?.bytes ?? 0 else {
            restart()
            return
        }
        totals.append((now, total))
        totals.removeAll { now - $0.at > Self.window }
        if let rate = rate(at: now) { best = max(best ?? 0, rate) }
    }

    /// It has another upstream, whose pace is not the last one's.
    mutating func restart() { totals = [] }

    /// Bytes a second; `nil` where too little was seen, or nothing of late.
    func rate(at now: Uptime) -> Int64? {
        guard let first = totals.first, let last = totals.last, last.at - first.at >= Self.least,
            now - last.at <= Self.least
        else { return nil }
        let took = (last.at - first.at).components
        return Int64(Double(last.bytes - first.bytes) / (Double(took.seconds) + Double(took.attoseconds) / 1e18))
    }
}
