import ProtocolModel

/// In which order servers are asked: as the settings name them, but those that failed a moment ago come last, so that a dead
/// first server does not cost everybody its time-out.
struct ServerOrder: Sendable {
    /// How long a server that failed stays behind the others.
    static let penalty = Duration.seconds(30)

    private let count: Int
    private var failedUntil: [Int: Uptime] = [:]

    init(count: Int) { self.count = count }

    /// Places in the settings' list; none is left out.
    func order(at now: Uptime) -> [Int] {
        let isBehind = { (index: Int) in failedUntil[index].map { now < $0 } ?? false }
        let all = Array(0..<count)
        return all.filter { !isBehind($0) } + all.filter(isBehind)
    }

    /// - Returns: whether it had worked before, so that this is news.
    mutating func failed(_ index: Int, at now: Uptime) -> Bool {
        let isNews = failedUntil[index] == nil
        failedUntil[index] = now + Self.penalty
        return isNews
    }

    /// - Returns: whether it had failed before, so that this is news.
    mutating func worked(_ index: Int) -> Bool { failedUntil.removeValue(forKey: index) != nil }
}
