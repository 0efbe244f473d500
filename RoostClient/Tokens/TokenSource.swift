import Synchronization

/// Where a client's access tokens come from. One source serves all requests of a client at once.
public protocol TokenSource: Sendable {
    /// The token to send; `nil` to send none.
    func token(_ exchange: TokenExchange) async throws -> String?

    /// Another token after the manager refused one (401); `nil` where there is none to be had, and the refusal stands.
    ///
    /// - Parameter refused: the one that was sent.
    func renewed(after refused: String?, _ exchange: TokenExchange) async throws -> String?
}

/// Requests without a token: signing in, readiness, the API's description.
public struct NoToken: TokenSource {
    /// There is nothing to say.
    public init() {}
    /// See ``TokenSource``.
    public func token(_ exchange: TokenExchange) async throws -> String? { nil }
    /// See ``TokenSource``.
    public func renewed(after refused: String?, _ exchange: TokenExchange) async throws -> String? { nil }
}

/// A token from elsewhere, used as it is until it expires.
public struct FixedToken: TokenSource {
    private let text: String
    /// - Parameter text: the access token.
    public init(_ text: String) { self.text = text }
    /// See ``TokenSource``.
    public func token(_ exchange: TokenExchange) async throws -> String? { text }
    /// See ``TokenSource``.
    public func renewed(after refused: String?, _ exchange: TokenExchange) async throws -> String? { nil }
}

/// A session that somebody signed in to, renewed by its refresh token for as long as the manager allows.
public actor Session: TokenSource {
    private var tokens: OAuthTokens
    private var renewal: Task<String?, any Error>?
    private let keep: @Sendable (OAuthTokens) async -> Void

    /// - Parameter keep: is told of each new pair, which replaces the one before; for who stores them.
    public init(_ tokens: OAuthTokens, keep: @escaping @Sendable (OAuthTokens) async -> Void = { _ in }) {
        self.tokens = tokens
        self.keep = keep
    }

    /// See ``TokenSource``.
    public func token(_ exchange: TokenExchange) async throws -> String? { tokens.accessToken }

    /// See ``TokenSource``.
    public func renewed(after refused: String?, _ exchange: TokenExchange) async throws -> String? {
        if tokens.accessToken != refused { return tokens.accessToken }
        // Of requests that are refused at once only the first may trade the token; the others wait for it.
        if let renewal { return try await renewal.value }
        guard let refresh = tokens.refreshToken else { return nil }
        let renewal = Task { try await trade(refresh, exchange) }
        self.renewal = renewal
        defer { self.renewal = nil }
        return try await renewal.value
    }

    private func trade(_ refresh: String, _ exchange: TokenExchange) async throws -> String? {
        do {
            var fresh = try await exchange.refresh(refresh)
            fresh.refreshToken = fresh.refreshToken ?? refresh
            tokens = fresh
            await keep(fresh)
            return fresh.accessToken
        } catch let error as ClientError where error.endsSession {
            // It stays ended, and is not asked for again.
            tokens.refreshToken = nil
            return nil
        }
    }
}

/// An API key, for programs: it signs in when it is first used, and again whenever a token has run out.
public actor APIKeyTokens: TokenSource {
    private let id: String
    private let secret: String
    private let scope: String?
    private var current: (text: String, until: ContinuousClock.Instant)?
    private var exchanging: Task<OAuthTokens, any Error>?
    private let now: @Sendable () -> ContinuousClock.Instant

    /// Before a token's end: what is sent then may arrive too late.
    private static let margin = Duration.seconds(15)

    /// - Parameter scope: what the tokens cover, where that is to be less than what the key does.
    public init(
        id: String, secret: String, scope: String? = nil,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.id = id
        self.secret = secret
        self.scope = scope
        self.now = now
    }

    /// See ``TokenSource``.
    public func token(_ exchange: TokenExchange) async throws -> String? {
        if let current, now() < current.until { return current.text }
        return try await fresh(exchange)
    }

    /// See ``TokenSource``.
    public func renewed(after refused: String?, _ exchange: TokenExchange) async throws -> String? {
        if let current, current.text != refused { return current.text }
        return try await fresh(exchange)
    }

    private func fresh(_ exchange: TokenExchange) async throws -> String {
        if let exchanging { return try await exchanging.value.accessToken }
        let exchanging = Task { [id, secret, scope] in
            try await exchange.clientCredentials(id: id, secret: secret, scope: scope)
        }
        self.exchanging = exchanging
        defer { self.exchanging = nil }
        let tokens = try await exchanging.value
        let lifetime = tokens.lifetime ?? .seconds(60)
        current = (tokens.accessToken, now() + max(lifetime - Self.margin, lifetime / 2))
        return tokens.accessToken
    }
}

extension ClientError {
    /// Whether the token endpoint said that a refresh token is worth nothing; a manager that is away or busy did not.
    package var endsSession: Bool {
        guard let problem else { return false }
        return (400..<500).contains(problem.status) && problem.status != 429 && problem.status != 408
    }
}
