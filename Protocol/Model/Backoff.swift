/// The one retry policy: waits grow by a factor up to a maximum, with jitter so that a fleet does not return in step.
public struct Backoff: Sendable, Equatable {
    public var first: Duration
    public var maximum: Duration
    public var factor: Double
    /// The share of each wait that is random, 0 to 1.
    public var jitter: Double
    public private(set) var attempts = 0

    public init(first: Duration, maximum: Duration, factor: Double = 2, jitter: Double = 0.2) {
        self.first = first
        self.maximum = maximum
        self.factor = factor
        self.jitter = jitter
    }

    /// The wait before the next attempt; each call makes the following one longer.
    public mutating func next(using random: inout some RandomNumberGenerator) -> Duration {
        var wait = first
        for _ in 0..<attempts {
            wait = wait * factor
            if wait >= maximum { break }
        }
        attempts += 1
        let capped = min(wait, maximum)
        return capped - capped * (jitter * Double.random(in: 0...1, using: &random))
    }

    /// To be called after a success.
    public mutating func reset() { attempts = 0 }
}
