import Crypto
public import ManagerModel
import ManagerStore
import ProtocolModel

/// What a browser brings to the sign-in page (RFC 6749 §4.1.1, RFC 7636 §4.3), found to be in order.
public struct AuthorizationRequest: Sendable {
    public let client: OAuthClient
    public let redirect: String
    public let challenge: String
    public let scope: TokenScope

    /// A challenge is a SHA-256 in base64url.
    public static func isChallenge(_ text: String) -> Bool { Base64URL.decode(text)?.count == 32 }

    public init(client: OAuthClient, redirect: String, challenge: String, scope: TokenScope) {
        self.client = client
        self.redirect = redirect
        self.challenge = challenge
        self.scope = scope
    }
}

extension TokenService {
    /// A code is exchanged at once, by a program.
    static let codeLifetime = Duration.seconds(60)

    /// A code for a user who has signed in on the page, to be sent to the client.
    public func code(for user: User, _ request: AuthorizationRequest) async throws -> String {
        let now = time.timestamp
        let code = SecretText.fresh(.authorizationCode)
        let kept = AuthorizationCode(
            hash: code.hash, client: request.client.id, redirect: request.redirect, challenge: request.challenge,
            scope: request.scope.text, user: user.id, session: .generate(at: now), createdAt: now,
            expiresAt: now + Self.codeLifetime)
        try await store.store.write { sql in
            try StoreCredentials.checkProof(of: user, in: sql)
            try sql.credentials.insert(kept)
        }
        return code.text
    }

    /// Exchanges a code for tokens, once (RFC 6749 §4.1.3, RFC 7636 §4.6).
    ///
    /// - Throws: `GrantRefusal`
    public func exchange(
        code: String, verifier: String, redirect: String, client: String, address: String
    ) async throws -> IssuedTokens {
        let refusal = GrantRefusal(
            .invalidGrant, "the code is not valid any more, or not this client's; begin anew in the browser")
        guard let hash = SecretText.hash(code, .authorizationCode) else { throw refusal }
        let now = time.timestamp
        let refresh = SecretText.fresh(.refreshToken)
        let opened = try await store.store.write { sql -> (User, RefreshToken)? in
            guard let kept = try sql.credentials.authorizationCode(hash: hash) else { return nil }
            guard kept.usedAt == nil else {
                // Somebody has a copy: what was opened with it ends (RFC 6749 §4.1.2).
                try sql.credentials.end(session: kept.session, tokensUntil: now + Self.revocationLifetime)
                return nil
            }
            // Once, whether it fits or not: nobody gets to try verifiers.
            try sql.credentials.markUsed(authorizationCode: hash, at: now)
            guard kept.fits(verifier: verifier, redirect: redirect, client: client, at: now),
                let user = try sql.users.find(kept.user), user.enabled, kept.createdAt >= user.tokensValidAfter
            else { return nil }
            let token = RefreshToken(
                hash: refresh.hash, family: kept.session, user: user.id, client: kept.client, scope: kept.scope,
                address: address, createdAt: now, expiresAt: now + Self.refreshLifetime)
            try StoreCredentials.open(token, of: user, .authorizationCode, in: sql)
            return (user, token)
        }
        guard let (user, token) = opened else { throw refusal }
        return try await issued(token, refresh, to: user, at: now)
    }

    /// Tokens of a session that has been opened.
    func issued(
        _ token: RefreshToken, _ refresh: SecretText, to user: User, at now: Timestamp
    ) async throws -> IssuedTokens {
        let scope = try TokenScope(token.scope)
        let (access, lifetime) = try await access(
            Subject(user: user.id, name: user.name, client: token.client, scope: scope, session: token.family), at: now)
        return IssuedTokens(access: access, refresh: refresh.text, lifetime: lifetime, scope: scope)
    }
}

extension AuthorizationCode {
    /// Whether whoever brings it is the one who asked for it.
    func fits(verifier: String, redirect: String, client: String, at now: Timestamp) -> Bool {
        // RFC 7636 §4.1: 43 to 128 unreserved characters.
        guard (43...128).contains(verifier.utf8.count), now < expiresAt, redirect == self.redirect,
            client == self.client
        else { return false }
        return Base64URL.encode(SHA256.hash(data: Array(verifier.utf8))) == challenge
    }
}
