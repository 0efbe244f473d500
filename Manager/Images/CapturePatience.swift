public import ProtocolModel

/// How often the copy of a disk is asked for again, and when a node that is there and does not give it is given up.
public struct CapturePatience: Sendable, Equatable {
    /// For so long without a chunk.
    static let silence = Duration.seconds(120)
    /// However far each one came.
    static let tries = 50

    private var since: Uptime?
    private var failures = 0
    private var backoff = Backoff(first: .seconds(1), maximum: .seconds(15), jitter: 0)
    /// When it is asked for again.
    public private(set) var retryAt: Uptime?

    public init() {}

    /// Notes that a pull broke off.
    ///
    /// - Parameter moved: whether chunks came.
    /// - Returns: whether it is given up.
    public mutating func brokeOff(moved: Bool, at now: Uptime) -> Bool {
        if moved {
            since = nil
            backoff.reset()
        }
        let first = since ?? now
        since = first
        failures += 1
        // Nothing random decides here.
        var random = SystemRandomNumberGenerator()
        retryAt = now + backoff.next(using: &random)
        return now - first >= Self.silence || failures >= Self.tries
    }
}
