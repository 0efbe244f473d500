import ManagerIdentity
import ManagerModel
import ProtocolModel
import Synchronization

/// How much a user may ask: so many requests at once, and so many in each window, evenly.
public struct RateLimit: Sendable, Equatable {
    public var requests: Int
    public var window: Duration
    /// Whether it also holds for superusers and services, whose work a site depends on.
    public var holdsForAll: Bool

    public init(requests: Int, window: Duration, holdsForAll: Bool = false) {
        self.requests = requests
        self.window = window
        self.holdsForAll = holdsForAll
    }

    public static let usual = RateLimit(requests: 6000, window: .seconds(60))
}

/// What one user has left (the generic cell rate algorithm): pure.
struct RequestBudget: Sendable, Equatable {
    /// When all would be left again.
    private(set) var wholeAt: Uptime

    struct Standing: Sendable, Equatable {
        var isAllowed: Bool
        var remaining: Int
        /// Until the next request is allowed, where this one is not; else until all are left again.
        var wait: Duration
    }

    init(at now: Uptime) { wholeAt = now }

    mutating func take(_ limit: RateLimit, at now: Uptime) -> Standing {
        let each = limit.window / max(1, limit.requests)
        let begin = max(wholeAt, now)
        let used = begin - now + each
        guard used <= limit.window else {
            return Standing(isAllowed: false, remaining: 0, wait: used - limit.window)
        }
        wholeAt = begin + each
        return Standing(isAllowed: true, remaining: Int((limit.window - used) / each), wait: used)
    }
}

/// Counts requests of each user. Each manager counts for itself.
final class RateLimiter: Sendable {
    private static let maximumUsers = 10_000
    private let limit: RateLimit?
    private let budgets = Mutex<[UserID: RequestBudget]>([:])

    init(_ limit: RateLimit?) { self.limit = limit }

    /// `nil` where there is no limit for this user.
    func take(_ user: UserID, isPrivileged: Bool, at now: Uptime) -> RateStanding? {
        guard let limit, limit.holdsForAll || !isPrivileged else { return nil }
        let standing = budgets.withLock { budgets in
            if budgets.count >= Self.maximumUsers, budgets[user] == nil {
                // Who has all left needs no entry.
                budgets = budgets.filter { $0.value.wholeAt > now }
            }
            return budgets[user, default: RequestBudget(at: now)].take(limit, at: now)
        }
        return RateStanding(limit: limit, standing: standing)
    }
}

/// What a request's answer says of the limit (draft-ietf-httpapi-ratelimit-headers).
struct RateStanding: Sendable, Equatable {
    let limit: RateLimit
    let standing: RequestBudget.Standing

    var headers: [(name: String, value: String)] {
        [
            ("RateLimit-Policy", "\"user\";q=\(limit.requests);w=\(limit.window.components.seconds)"),
            ("RateLimit", "\"user\";r=\(standing.remaining);t=\(seconds)"),
        ]
    }

    /// Whole seconds, never too few.
    var seconds: Int64 {
        let (whole, rest) = standing.wait.components
        return whole + (rest > 0 ? 1 : 0)
    }

    func check() throws(Problem) {
        guard !standing.isAllowed else { return }
        throw Problem(
            .rateLimited,
            "You have sent more than \(limit.requests) requests in \(limit.window.components.seconds) s; go on in \(seconds) s. "
                + "An operator can raise the limit (api.rate_limit_requests).",
            headers: [("Retry-After", String(seconds))])
    }
}
