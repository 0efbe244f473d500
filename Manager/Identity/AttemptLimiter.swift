public import ProtocolModel

/// Slows down guessing: a bucket of attempts for each name from each address, and a larger one for each address.
///
/// An attempt is taken before the password is checked, so that many at once count as many, and given back when it was
/// right, so that scripts that sign in often are not locked out.
public struct AttemptLimiter: Sendable {
    struct Bucket: Sendable {
        var level: Double
        var at: Uptime
    }
    enum Key: Hashable, Sendable {
        case pair(name: String, address: String)
        case address(String)
    }
    public struct Rate: Sendable {
        public var burst: Double
        public var perSecond: Double

        public init(burst: Double, perSecond: Double) {
            self.burst = burst
            self.perSecond = perSecond
        }
    }

    private let pairRate: Rate
    private let addressRate: Rate
    private let capacity: Int
    private var buckets: [Key: Bucket] = [:]

    /// - Parameter capacity: how many buckets are kept; the table never grows beyond it.
    public init(
        pairRate: Rate = Rate(burst: 10, perSecond: 0.1), addressRate: Rate = Rate(burst: 100, perSecond: 1),
        capacity: Int = 20_000
    ) {
        self.pairRate = pairRate
        self.addressRate = addressRate
        self.capacity = capacity
    }

    /// Takes one attempt.
    ///
    /// - Returns: `nil` where it may go on, otherwise the time to wait.
    public mutating func take(name: String, address: String, at now: Uptime) -> Duration? {
        let keys = keys(name, address)
        let levels = keys.map { level(of: $0, at: now) }
        let waits = zip(keys, levels).map { key, level in level >= 1 ? 0 : (1 - level) / rate(key).perSecond }
        if let wait = waits.max(), wait > 0 { return .seconds(wait) }
        makeRoom(at: now)
        for (key, level) in zip(keys, levels) { buckets[key] = Bucket(level: level - 1, at: now) }
        return nil
    }

    /// Gives back an attempt that succeeded.
    public mutating func giveBack(name: String, address: String, at now: Uptime) {
        for key in keys(name, address) where buckets[key] != nil {
            let level = min(rate(key).burst, level(of: key, at: now) + 1)
            buckets[key] = level >= rate(key).burst ? nil : Bucket(level: level, at: now)
        }
    }

    var count: Int { buckets.count }

    private func keys(_ name: String, _ address: String) -> [Key] {
        // Names are cut: the table is bounded in bytes, too.
        [.pair(name: String(name.lowercased().prefix(64)), address: address), .address(address)]
    }

    private func rate(_ key: Key) -> Rate {
        switch key {
        case .pair: pairRate
        case .address: addressRate
        }
    }

    private func level(of key: Key, at now: Uptime) -> Double {
        let rate = rate(key)
        guard let bucket = buckets[key] else { return rate.burst }
        let elapsed = max(0, Double((now - bucket.at).milliseconds) / 1000)
        return min(rate.burst, bucket.level + elapsed * rate.perSecond)
    }

    /// Drops what has filled up again; where that is not enough, the half that is nearest to being full.
    private mutating func makeRoom(at now: Uptime) {
        guard buckets.count + 2 > capacity else { return }
        buckets = buckets.filter { level(of: $0.key, at: now) < rate($0.key).burst }
        guard buckets.count + 2 > capacity else { return }
        let ranked = buckets.keys.map { (key: $0, missing: rate($0).burst - level(of: $0, at: now)) }
            .sorted { $0.missing > $1.missing }
        buckets = buckets.filter { _ in false }.merging(
            ranked.prefix(capacity / 2).map { ($0.key, Bucket(level: rate($0.key).burst - $0.missing, at: now)) }
        ) { $1 }
    }
}
