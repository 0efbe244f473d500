import Crypto
import ManagerModel
import ManagerStore
public import ProtocolModel

/// What somebody who signs in receives.
public struct IssuedTokens: Sendable {
    public let access: String
    /// `nil` where there is no session that could be renewed.
    public let refresh: String?
    /// How long the access token is good for.
    public let lifetime: Duration
    public let scope: TokenScope
}

/// Signs people and programs in, and says who sends a request: an OAuth 2.0 authorization server (RFC 6749) whose access
/// tokens are signed (RFC 9068) and checked without asking the database.
public struct TokenService: Sendable {
    public static let accessLifetime = Duration.seconds(900)
    /// A session that nobody uses for this long ends.
    public static let refreshLifetime = Duration.seconds(30 * 86_400)
    /// What was revoked is remembered until no token that it concerns can count, by any manager's clock.
    static let revocationLifetime = accessLifetime + .seconds(60)

    public let issuer: String
    public let clients: OAuthClients
    let store: StoreCredentials
    let hasher: PasswordHasher
    let cache: IdentityCache
    let time: any TimeSource
    let attempts: SignInAttempts
    /// Of wrong passwords.
    let refusals = EventAllowance(burst: 100, perSecond: 0.5)
    let networks: LoginNetworks
    let uses = KeyUses()
    let external: (any ExternalSignIn)?
    /// Of devices that begin to sign in, and of codes that are typed in.
    let devices = SignInAttempts(
        AttemptLimiter(
            pairRate: .init(burst: 30, perSecond: 0.2), nameRate: .init(burst: 1000, perSecond: 20)))
    private let genuine = GenuineTokens()

    /// - Parameters:
    ///   - key: the site's first key, which signs where the record holds none yet.
    ///   - secret: the site's, the same at all managers. Seals keys in the record.
    ///   - issuer: names this site in tokens, and is the address of its API; a token of another is refused.
    ///   - networks: from which a password is taken at the token endpoint.
    ///   - external: who else knows passwords.
    ///   - isCurrent: whether all that other managers changed has been heard of.
    /// - Throws: `IdentityError.signingKey` where tokens could not be signed, or what the store throws.
    public init(
        store: StoreCredentials, hasher: PasswordHasher, key: TokenKey, secret: [UInt8], issuer: String,
        clients: OAuthClients = OAuthClients(), networks: LoginNetworks = .usual,
        time: any TimeSource = SystemTime(), limiter: AttemptLimiter = AttemptLimiter(),
        external: (any ExternalSignIn)? = nil, isCurrent: @escaping @Sendable () -> Bool = { true }
    ) async throws {
        self.store = store
        self.hasher = hasher
        self.issuer = issuer
        self.clients = clients
        self.networks = networks
        self.external = external
        self.time = time
        attempts = SignInAttempts(limiter)
        let seal = KeySeal(secret: secret)
        cache = IdentityCache(store: store.store, seal: seal, time: time, isCurrent: isCurrent)
        let now = time.timestamp
        try await SigningKeys(seal: seal).takeOver(key, in: store.store, at: now)
        _ = try await cache.facts().signer(at: now)
    }

    // MARK: Checking

    /// Who sends a request with this bearer token, as of now.
    ///
    /// - Parameter address: where it comes from, to be noted where an API key is used.
    /// - Throws: `IdentityError.invalidToken`, or what the store throws.
    public func verify(bearer text: String, from address: String? = nil) async throws -> Principal {
        let now = time.timestamp
        var facts = try await cache.facts()
        var found = try genuine(text, facts, now)
        if found == nil, let fresh = try await cache.freshFacts() {
            facts = fresh
            found = try genuine(text, facts, now)
        }
        guard let token = found else { throw IdentityError.invalidToken(.malformed) }
        let principal = try await principal(token, facts, now)
        if let key = principal.key, let address { uses.note(key, at: now, from: address) }
        return principal
    }

    /// Who somebody is by now who was let in before: for answers that are waited for, and streams, which must not outlive the
    /// token that they were asked for with.
    ///
    /// - Throws: `IdentityError.invalidToken`, or what the store throws.
    public func verify(again principal: Principal) async throws -> Principal {
        let (now, facts) = (time.timestamp, try await cache.facts())
        guard facts.ring.verifier(principal.access.keyID, at: now) != nil else {
            throw IdentityError.invalidToken(.revoked)
        }
        return try await self.principal(principal.access, facts, now)
    }

    /// Who a genuine token lets in, as of now.
    private func principal(_ token: AccessToken, _ facts: TokenFacts, _ now: Timestamp) async throws -> Principal {
        try token.check(issuer: issuer, at: now)
        let isRevoked = facts.revoked.contains(token.id) || token.session.map(facts.revoked.contains) == true
        guard !isRevoked else { throw IdentityError.invalidToken(.revoked) }
        let standing = try await standing(token.user, issuedAt: token.issuedAt)
        var sender = standing
        if let impersonator = token.impersonator {
            // Whoever acts as another must still be let do that.
            sender = try await self.standing(impersonator, issuedAt: token.issuedAt)
            guard Masquerade.isAllowed(to: sender, as: standing) else { throw IdentityError.invalidToken(.revoked) }
        }
        var scope = token.scope
        if let id = token.key {
            guard let key = try await cache.key(id), key.user == token.user, key.isGood(at: now),
                let allowed = try? TokenScope(words: key.scopes)
            else { throw IdentityError.invalidToken(.revoked) }
            scope = scope.limited(to: allowed)
        }
        return Principal(standing, by: token, scope: scope, isPrivileged: sender.isPrivileged)
    }

    /// What a token says that a key of ours has signed; `nil` where it names a key that is not known.
    ///
    /// - Throws: `IdentityError.invalidToken`
    func genuine(_ text: String, _ facts: TokenFacts, _ now: Timestamp) throws -> AccessToken? {
        if let token = genuine.token(text) {
            guard facts.ring.verifier(token.keyID, at: now) != nil else {
                throw IdentityError.invalidToken(.revoked)
            }
            return token
        }
        guard let signed = SignedToken(text) else { throw IdentityError.invalidToken(.malformed) }
        guard let key = facts.ring.verifier(signed.keyID, at: now) else { return nil }
        guard signed.isGenuine(by: key), let token = AccessToken(signed) else {
            throw IdentityError.invalidToken(.malformed)
        }
        genuine.remember(text, token)
        return token
    }

    private func standing(_ id: UserID, issuedAt: Timestamp) async throws -> Standing {
        guard let user = try await cache.user(id) else { throw IdentityError.invalidToken(.unknownUser) }
        guard user.isEnabled else { throw IdentityError.invalidToken(.disabled) }
        guard issuedAt >= user.tokensValidAfter else { throw IdentityError.invalidToken(.revoked) }
        return user
    }

    // MARK: Issuing

    /// For whom and for what an access token is.
    struct Subject {
        var user: UserID
        var name: String
        var client: String
        var scope: TokenScope
        var session: TokenID?
        var impersonator: AccessClaims.Impersonator?
        /// The token ends with it.
        var until: Timestamp?
    }

    func access(_ subject: Subject, at now: Timestamp) async throws -> (text: String, lifetime: Duration) {
        let signer = try await cache.facts().signer(at: now)
        let end = min(now + Self.accessLifetime, subject.until ?? Timestamp(milliseconds: .max))
        let claims = AccessClaims(
            iss: issuer, aud: issuer, sub: subject.user.description, name: subject.name, client: subject.client,
            scope: subject.scope.text, iat: Double(now.milliseconds) / 1000, exp: Double(end.milliseconds) / 1000,
            jti: TokenID.generate(at: now).description, sid: subject.session?.description, act: subject.impersonator)
        return (try SignedToken.sign(claims, keyID: signer.id, key: signer.key), end - now)
    }

    /// The encoded hash of a new password.
    ///
    /// - Throws: `IdentityError.passwordRefused` or `.busy`
    public func hash(password: String, userName: String) async throws -> String {
        try await hasher.hash(password, userName: userName)
    }
}

extension AccessToken {
    /// Reads what was signed.
    init?(_ signed: SignedToken) {
        guard let claims = AccessClaims(json: signed.payload) else { return nil }
        self.init(claims, keyID: signed.keyID)
    }
}

extension APIKey {
    func isGood(at now: Timestamp) -> Bool { expiresAt.map { now < $0 } ?? true }
}
