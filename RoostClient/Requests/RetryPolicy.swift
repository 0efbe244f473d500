/// When a request is sent again, and after which pause: the one policy of this client.
public struct RetryPolicy: Sendable {
    /// Before the second attempt and those after it.
    public var pauses: [Duration]
    /// How long the manager may ask to be left alone (`Retry-After`); where it asks for more, the refusal stands.
    public var longestWish: Duration
    /// What share of each pause chance may take away, so that many clients do not come back at the same moment.
    public var jitter: Double
    /// From 0 to 1.
    var random: @Sendable () -> Double

    /// - Parameter random: from 0 to 1.
    public init(
        pauses: [Duration] = RetryPolicy.usualPauses, longestWish: Duration = .seconds(20), jitter: Double = 0.25,
        random: @escaping @Sendable () -> Double = { .random(in: 0...1) }
    ) {
        self.pauses = pauses
        self.longestWish = longestWish
        self.jitter = jitter
        self.random = random
    }

    /// About four seconds in all.
    public static let usualPauses: [Duration] = [.milliseconds(250), .milliseconds(500), .seconds(1), .seconds(2)]

    /// Nothing is sent twice.
    public static let never = RetryPolicy(pauses: [])

    /// How an attempt ended.
    enum Outcome: Equatable {
        case answer(status: Int, retryAfter: Duration?)
        case failure(ConnectionFailure)
    }

    /// The pause before the next attempt; `nil` where this outcome stands.
    ///
    /// - Parameters:
    ///   - attempt: how many there were, from 1.
    ///   - isRepeatable: whether the request does no harm when it is carried out twice.
    func pause(after outcome: Outcome, attempt: Int, isRepeatable: Bool) -> Duration? {
        guard attempt <= pauses.count else { return nil }
        let pause = pauses[attempt - 1] * (1 - jitter * random())
        switch outcome {
        case .answer(let status, let wish):
            // Neither was carried out: the manager was not ready, or had enough of us.
            guard status == 503 || status == 429, wish ?? .zero <= longestWish else { return nil }
            // A busy manager knows best, but where we chose not to pause at all, so be it.
            return pauses[attempt - 1] == .zero ? .zero : max(pause, wish ?? .zero)
        case .failure(let failure):
            guard failure.mayPass, failure.isBeforeRequest || isRepeatable else { return nil }
            return pause
        }
    }
}
