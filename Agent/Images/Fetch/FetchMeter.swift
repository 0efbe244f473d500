import ProtocolModel

/// How fast a source gives what it has. The time in which it waited for a chunk itself does not count, so that a host
/// behind a slow one is not taken for slow.
struct FetchMeter: Sendable {
    /// Long enough for several chunks on most links, short enough for a decision in two seconds.
    static let window = Duration.milliseconds(1200)
    /// Less time than this says nothing.
    static let least = Duration.milliseconds(400)

    private var since: Uptime
    private var bytes: [(at: Uptime, count: Int)] = []
    private var waits: [(from: Uptime, to: Uptime)] = []
    /// The source waits since then.
    private var waitingSince: Uptime?

    init(at now: Uptime) { since = now }

    /// Another source.
    mutating func restart(at now: Uptime) { self = Self(at: now) }

    /// Something arrived.
    mutating func took(_ count: Int, at now: Uptime) {
        if let from = waitingSince {
            waits.append((from, now))
            waitingSince = nil
        }
        bytes.append((now, count))
        forget(before: now)
    }

    /// The source says that it has been waiting for so long, and goes on.
    mutating func waits(for duration: Duration, at now: Uptime) {
        waitingSince = waitingSince ?? max(since, bytes.last?.at ?? since, now + (.zero - duration))
        forget(before: now)
    }

    /// An answer begins that the source had to wait for.
    mutating func waited(for duration: Duration, at now: Uptime) {
        guard duration > .zero, waitingSince == nil else { return }
        let from = max(since, bytes.last?.at ?? since, now + (.zero - duration))
        if from < now { waits.append((from, now)) }
    }

    /// Bytes a second; `nil` where too little was seen.
    func rate(at now: Uptime) -> Int64? {
        let begin = max(since, now + (.zero - Self.window))
        guard now - since >= Self.least else { return nil }
        var busy = now - begin
        for wait in waits + (waitingSince.map { [($0, now)] } ?? []) where wait.1 > begin {
            busy = busy - (wait.1 - max(wait.0, begin))
        }
        guard busy >= Self.least else { return nil }
        let total = bytes.reduce(0) { $0 + ($1.at > begin ? $1.count : 0) }
        return Int64(Double(total) / busy.inSeconds)
    }

    private mutating func forget(before now: Uptime) {
        let begin = now + (.zero - Self.window)
        // Rarely, so that it costs nothing.
        if bytes.count > 64 { bytes.removeAll { $0.at < begin } }
        if waits.count > 64 { waits.removeAll { $0.to < begin } }
    }
}

extension Duration {
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
