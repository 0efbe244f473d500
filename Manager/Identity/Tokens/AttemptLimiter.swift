public import ProtocolModel

/// Slows down guessing: a bucket of attempts for each name from each address, a larger one for each address, and one for each
/// name, against many who share the work. The last does not count for somebody who has signed in from there before: so nobody
/// can lock another out of the places where they work.
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
        case name(String)
    }
    /// What follows of an attempt.
    public enum Verdict: Sendable, Equatable {
        case goOn
        case wait(Duration)
        /// To wait, unless the name has signed in from that address before.
        case waitUnlessFamiliar(Duration)
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
    private let nameRate: Rate
    private let capacity: Int
    private var buckets: [Key: Bucket] = [:]

    /// - Parameter capacity: how many buckets are kept; the table never grows beyond it.
    public init(
        pairRate: Rate = Rate(burst: 10, perSecond: 0.1), addressRate: Rate = Rate(burst: 100, perSecond: 1),
        nameRate: Rate = Rate(burst: 100, perSecond: 0.2), capacity: Int = 20_000
    ) {
        self.pairRate = pairRate
        self.addressRate = addressRate
        self.nameRate = nameRate
        self.capacity = capacity
    }

    /// Takes one attempt.
    ///
    /// - Parameter isFamiliar: the name is known to have signed in from that address before.
    public mutating func take(
        name: String, address: String, isFamiliar: Bool = false, at now: Uptime
    ) -> Verdict {
        let keys = keys(name, address)
        let levels = keys.map { level(of: $0, at: now) }
        let waits = zip(keys, levels).map { key, level in level >= 1 ? 0 : (1 - level) / rate(key).perSecond }
        // The name's is the last.
        if let wait = waits.dropLast().max(), wait > 0 { return .wait(.seconds(wait)) }
        if let wait = waits.last, wait > 0, !isFamiliar { return .waitUnlessFamiliar(.seconds(wait)) }
        makeRoom(at: now)
        for (key, level) in zip(keys, levels) { buckets[key] = Bucket(level: max(0, level - 1), at: now) }
        return .goOn
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
        let name = String(name.lowercased().prefix(64))
        let address = LoginNetworks.customer(of: address)
        return [.pair(name: name, address: address), .address(address), .name(name)]
    }

    private func rate(_ key: Key) -> Rate {
        switch key {
        case .pair: pairRate
        case .address: addressRate
        case .name: nameRate
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
        guard buckets.count + 3 > capacity else { return }
        buckets = buckets.filter { level(of: $0.key, at: now) < rate($0.key).burst }
        guard buckets.count + 3 > capacity else { return }
        let ranked = buckets.keys.map { (key: $0, missing: rate($0).burst - level(of: $0, at: now)) }
            .sorted { $0.missing > $1.missing }
        buckets = buckets.filter { _ in false }.merging(
            ranked.prefix(capacity / 2).map { ($0.key, Bucket(level: rate($0.key).burst - $0.missing, at: now)) }
        ) { $1 }
    }
}
