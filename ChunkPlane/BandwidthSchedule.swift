/// What a transfer is for.
public enum TransferPurpose: Hashable, Sendable, CaseIterable {
    /// An instance waits for the image.
    case launch
    /// It is to be there beforehand.
    case prefill
}

/// Shares a rate among all transfers of a process: a token bucket in which launches go first, and prefills keep a share.
///
/// Pure: told who wants to move how much, and when. What is granted may exceed what is left, once; whoever comes next waits
/// until that is paid for, so that the rate holds over any time but that of one slice and a short burst.
public struct BandwidthSchedule: Sendable {
    /// Bytes that are asked for at once: at the lowest rate a fraction of a second.
    public static let sliceBytes = 64 * 1024
    /// What may have been saved up while nothing moved.
    private static let burst = 0.1
    /// A launch that was just served asks again within this time if it has more to move.
    private static let grace = Duration.milliseconds(20)

    /// Bytes a second; `nil`: no limit.
    private var rate: Double?
    /// Of the rate, while launches want all of it.
    private var prefillShare: Double
    private var tokens = 0.0
    private var prefillTokens = 0.0
    private var filledAt: ContinuousClock.Instant?
    private var launchesWaitUntil: ContinuousClock.Instant?

    /// - Parameters:
    ///   - bytesPerSecond: `nil`, or nothing above 0: no limit.
    ///   - prefillShare: from 0 to 1.
    public init(bytesPerSecond: Int64? = nil, prefillShare: Double = 0.1) {
        rate = bytesPerSecond.flatMap { $0 > 0 ? Double($0) : nil }
        self.prefillShare = min(1, max(0.01, prefillShare))
    }

    public var isLimited: Bool { rate != nil }

    /// A new limit holds at once; what was moved beyond the old one is still paid for.
    public mutating func limit(bytesPerSecond: Int64?, prefillShare: Double, at now: ContinuousClock.Instant) {
        if let rate { refill(rate, at: now) }
        let next = Self(bytesPerSecond: bytesPerSecond, prefillShare: prefillShare)
        (rate, self.prefillShare) = (next.rate, next.prefillShare)
        guard let rate else {
            self = next
            return
        }
        // A debt of the old rate's size may be very long at a lower one.
        tokens = max(tokens, -rate)
        prefillTokens = max(prefillTokens, -rate * self.prefillShare)
        filledAt = now
    }

    /// Whether `bytes` may move now, which counts them; otherwise how long to wait before asking again.
    public mutating func ask(
        for bytes: Int, _ purpose: TransferPurpose, at now: ContinuousClock.Instant
    ) -> Duration? {
        guard let rate else { return nil }
        refill(rate, at: now)
        switch purpose {
        case .launch:
            guard tokens >= 0 else {
                let wait = Self.time(for: -tokens, at: rate)
                launchesWaitUntil = now + wait + Self.grace
                return wait
            }
            launchesWaitUntil = now + Self.grace
            tokens -= Double(bytes)
            return nil
        case .prefill:
            let isCrowded = launchesWaitUntil.map { now < $0 } ?? false
            if isCrowded {
                guard prefillTokens >= 0 else { return Self.time(for: -prefillTokens, at: rate * prefillShare) }
                prefillTokens -= Double(bytes)
            } else {
                guard tokens >= 0 else { return Self.time(for: -tokens, at: rate) }
            }
            tokens -= Double(bytes)
            return nil
        }
    }

    private mutating func refill(_ rate: Double, at now: ContinuousClock.Instant) {
        defer { filledAt = max(filledAt ?? now, now) }
        guard let filledAt, now > filledAt else { return }
        let seconds = (now - filledAt) / .seconds(1)
        tokens = min(rate * Self.burst, tokens + seconds * rate)
        prefillTokens = min(rate * prefillShare * Self.burst, prefillTokens + seconds * rate * prefillShare)
    }

    private static func time(for bytes: Double, at rate: Double) -> Duration {
        // Rounded up, so that the next question is not a moment too early.
        .nanoseconds(Int64(min(1e18, (bytes / rate * 1e9).rounded(.up))) + 1)
    }
}
