public import ManagerModel
import ManagerStore
public import ProtocolModel

/// What a token is worth (RFC 7662 §2.2).
public struct Introspection: Sendable {
    public var scope: TokenScope
    public var client: String
    public var user: UserID
    public var userName: String
    public var isAccessToken: Bool
    public var expiresAt: Timestamp
    public var issuedAt: Timestamp
    public var session: TokenID?
    public var token: TokenID?
    public var impersonator: Actor.Impersonator?
}

extension TokenService {
    /// Ends a token (RFC 7009): a refresh token with its whole session, an access token by itself. One that is unknown, or
    /// has ended already, is no error.
    ///
    /// - Parameter client: who asks, where that is known: what another client was given stays.
    public func revoke(_ text: String, client: String? = nil) async throws {
        let now = time.timestamp
        if let hash = SecretText.hash(text, .refreshToken) {
            return try await store.endSession(of: hash, client: client, at: now)
        }
        // Also one whose user is disabled, say: it might be enabled again.
        guard let token = try? genuine(text, try await cache.facts(), now), token.expiresAt > now,
            client == nil || token.claims.client == client
        else { return }
        let revocation = TokenRevocation(id: token.id, expiresAt: token.expiresAt + .seconds(60))
        try await store.store.write { sql in
            try sql.credentials.revoke(revocation)
            guard let user = try sql.users.find(token.user) else { return }
            try sql.events.append(
                "user.token_revoked", actor: .session(token.session, of: user, from: nil), owner: user.id,
                resource: user.reference, data: ["token": token.id.description, "client": token.claims.client], at: now)
        }
    }

    /// What a token is worth just now; `nil`: nothing.
    public func introspect(_ text: String) async throws -> Introspection? {
        if let hash = SecretText.hash(text, .refreshToken) { return try await introspect(refresh: hash) }
        do {
            let principal = try await verify(bearer: text)
            guard let token = try genuine(text, try await cache.facts(), time.timestamp) else { return nil }
            return Introspection(
                scope: principal.scope, client: principal.client, user: principal.userID, userName: principal.name,
                isAccessToken: true, expiresAt: token.expiresAt, issuedAt: token.issuedAt, session: token.session,
                token: token.id, impersonator: principal.impersonator)
        } catch IdentityError.invalidToken {
            return nil
        }
    }

    private func introspect(refresh hash: ContentDigest) async throws -> Introspection? {
        let now = time.timestamp
        return try await store.store.read { sql in
            guard let token = try sql.credentials.refreshToken(hash: hash), token.replacedAt == nil,
                token.expiresAt > now, let user = try sql.users.find(token.user), user.enabled,
                token.createdAt >= user.tokensValidAfter, let scope = try? TokenScope(token.scope)
            else { return nil }
            return Introspection(
                scope: scope, client: token.client, user: user.id, userName: user.name, isAccessToken: false,
                expiresAt: token.expiresAt, issuedAt: token.createdAt, session: token.family)
        }
    }
}
