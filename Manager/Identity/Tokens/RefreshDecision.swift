public import ManagerModel
public import ProtocolModel

/// What follows when a refresh token is presented.
public enum RefreshDecision: Sendable, Equatable {
    /// Mark the old one as replaced and keep the new one.
    case rotate(old: ContentDigest, new: RefreshToken, user: User)
    /// A token that was replaced already came again: somebody has a copy, and nobody can tell who. End the session
    /// (RFC 9700 §4.14.2).
    case revoke(family: TokenID)
    case refuse
    /// More was asked for than the session covers; it goes on.
    case beyond

    /// The rule, apart from any store.
    public static func decide(
        _ token: RefreshToken?, user: User?, client: String, newHash: ContentDigest, lifetime: Duration,
        at now: Timestamp
    ) -> RefreshDecision {
        // A token that one client was given is nothing in the hands of another (RFC 6749 §6).
        guard let token, token.client == client else { return .refuse }
        guard token.replacedAt == nil else { return .revoke(family: token.family) }
        guard now < token.expiresAt, let user, user.id == token.user, user.enabled,
            token.createdAt >= user.tokensValidAfter
        else { return .refuse }
        var new = token
        new.hash = newHash
        new.createdAt = now
        new.expiresAt = now + lifetime
        return .rotate(old: token.hash, new: new, user: user)
    }
}
