/// What the token endpoint gave (RFC 6749 §5.1).
public struct OAuthTokens: Sendable, Equatable {
    /// To be sent with each request.
    public var accessToken: String
    /// Trades once for new tokens; grants that can simply be repeated have none.
    public var refreshToken: String?
    /// Of the access token, from when it was given.
    public var lifetime: Duration?
    /// What the access token covers, where that is less than all.
    public var scope: String?

    /// Tokens from elsewhere.
    public init(
        accessToken: String, refreshToken: String? = nil, lifetime: Duration? = nil, scope: String? = nil
    ) {
        self.accessToken = accessToken
        self.refreshToken = refreshToken
        self.lifetime = lifetime
        self.scope = scope
    }

    /// - Throws: ``ClientError/malformed(_:)`` where there is no token in it.
    public init(_ document: JSON) throws(ClientError) {
        guard let token = document["access_token"].text else { throw .malformed("the manager gave no token") }
        self.init(
            accessToken: token, refreshToken: document["refresh_token"].text,
            lifetime: document["expires_in"].integer.map { .seconds($0) }, scope: document["scope"].text)
    }
}

/// A fresh pair of tokens for a grant, by the token endpoint of the client's manager.
public struct TokenExchange: Sendable {
    let post: @Sendable ([(String, String)]) async throws -> OAuthTokens

    /// - Parameter post: sends the fields of a form to the token endpoint.
    public init(post: @escaping @Sendable ([(String, String)]) async throws -> OAuthTokens) { self.post = post }

    /// RFC 6749 §6. A refresh token counts once: who sends one twice ends the session.
    public func refresh(_ token: String) async throws -> OAuthTokens {
        try await post([
            ("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", OAuth.publicClient),
        ])
    }

    /// RFC 6749 §4.4, with an API key.
    public func clientCredentials(id: String, secret: String, scope: String? = nil) async throws -> OAuthTokens {
        try await post(
            [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)]
                + (scope.map { [("scope", $0)] } ?? []))
    }
}
