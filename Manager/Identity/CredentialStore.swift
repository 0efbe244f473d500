public import ManagerModel
public import ProtocolModel

/// What signing in needs of the record.
public protocol CredentialStore: Sendable {
    func user(named name: String) async throws -> User?
    func user(_ id: UserID) async throws -> User?
    /// What the user's roles allow, as of now; `nil` where nobody of the user's account may sign in.
    func rights(of user: User) async throws -> Rights?
    func insert(_ token: RefreshToken) async throws
    /// Finds the token with its user, lets `decide` say what follows and carries that out, all in one transaction:
    /// two who present the same token at once must not both get a new one.
    func exchange(
        _ hash: ContentDigest, at now: Timestamp, decide: @escaping @Sendable (RefreshToken?, User?) -> RefreshDecision
    ) async throws -> RefreshDecision
    /// Ends the family of the token, if it is known.
    func revokeFamily(of hash: ContentDigest) async throws
}

/// What follows when a refresh token is presented.
public enum RefreshDecision: Sendable, Equatable {
    /// Mark the old one as replaced and keep the new one.
    case rotate(old: ContentDigest, new: RefreshToken, user: User)
    /// A token that was replaced already came again: somebody has a copy, and nobody can tell who. End the family
    /// (RFC 9700 §4.14.2).
    case revoke(family: TokenID)
    case refuse

    /// The rule, apart from any store.
    public static func decide(
        _ token: RefreshToken?, user: User?, newHash: ContentDigest, lifetime: Duration, at now: Timestamp
    ) -> RefreshDecision {
        guard let token else { return .refuse }
        guard token.replacedAt == nil else { return .revoke(family: token.family) }
        guard now < token.expiresAt, let user, user.id == token.user, user.enabled,
            token.createdAt >= user.tokensValidAfter
        else { return .refuse }
        let new = RefreshToken(
            hash: newHash, family: token.family, user: user.id, createdAt: now, expiresAt: now + lifetime)
        return .rotate(old: token.hash, new: new, user: user)
    }
}
