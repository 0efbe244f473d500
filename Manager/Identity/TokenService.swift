import Crypto
import Foundation
public import ManagerModel
public import ProtocolModel
import Synchronization

/// Who sends a request.
public struct Principal: Sendable, Equatable {
    public let userID: UserID
    public let name: String
    /// The name of the user's account.
    public let account: String
    /// What the user may do, by this token.
    public let rights: Rights
    /// The session or API key; names it, and is no secret.
    public var credential: String?
    /// Who really asks, where somebody acts as this user.
    public var impersonator: Actor.Impersonator?

    public init(
        userID: UserID, name: String, account: String, rights: Rights, credential: String? = nil,
        impersonator: Actor.Impersonator? = nil
    ) {
        self.userID = userID
        self.name = name
        self.account = account
        self.rights = rights
        self.credential = credential
        self.impersonator = impersonator
    }

    /// Who acts by a request.
    public func actor(request: String?, from address: String?) -> Actor {
        Actor(
            user: userID, name: name, rights: rights, account: account, request: request, address: address,
            credential: credential, impersonator: impersonator)
    }
}

/// What somebody who signs in receives.
public struct IssuedTokens: Sendable {
    public let access: String
    public let refresh: String
    /// How long the access token is good for.
    public let lifetime: Duration
}

/// Signs people in and says who sends a request (RFC 6749; JWT by ES256).
public struct TokenService: Sendable {
    public static let accessLifetime = Duration.seconds(900)
    /// A session that nobody uses for this long ends.
    public static let refreshLifetime = Duration.seconds(30 * 86_400)

    private let store: any CredentialStore
    private let hasher: PasswordHasher
    private let tokens: AccessTokens
    private let time: any TimeSource
    private let limiter: Limiter

    /// - Parameter issuer: names this site in tokens; a token of another site is refused.
    public init(
        store: any CredentialStore, hasher: PasswordHasher, key: TokenKey, issuer: String,
        time: any TimeSource = SystemTime(), limiter: AttemptLimiter = AttemptLimiter()
    ) async throws {
        self.store = store
        self.hasher = hasher
        self.time = time
        self.limiter = Limiter(limiter)
        tokens = try await AccessTokens(key: key, issuer: issuer, lifetime: Self.accessLifetime)
    }

    /// Signs in by name and password.
    ///
    /// - Parameter address: where the attempt comes from; failed attempts are limited for each name and address.
    /// - Throws: `IdentityError.wrongCredentials`, `.tooManyAttempts`, `.busy`, or what the store throws.
    public func signIn(name: String, password: String, address: String) async throws -> IssuedTokens {
        if let wait = limiter.take(name, address, time.uptime) {
            throw IdentityError.tooManyAttempts(retryAfterSeconds: max(1, Int((wait.milliseconds + 999) / 1000)))
        }
        let user = try await store.user(named: name)
        let isRight: Bool
        do {
            isRight = try await hasher.verify(password, against: user?.passwordHash)
        } catch {
            // Nothing was learned about the password.
            limiter.giveBack(name, address, time.uptime)
            throw error
        }
        guard isRight, let user, user.enabled, try await store.rights(of: user) != nil else {
            throw IdentityError.wrongCredentials
        }
        limiter.giveBack(name, address, time.uptime)
        return try await issue(to: user)
    }

    /// Checks the user's own password again, for changes that a stolen token must not be enough for.
    public func confirm(password: String, of user: User, address: String) async throws {
        if let wait = limiter.take(user.name, address, time.uptime) {
            throw IdentityError.tooManyAttempts(retryAfterSeconds: max(1, Int((wait.milliseconds + 999) / 1000)))
        }
        guard try await hasher.verify(password, against: user.passwordHash) else {
            throw IdentityError.wrongCredentials
        }
        limiter.giveBack(user.name, address, time.uptime)
    }

    /// The encoded hash of a new password.
    ///
    /// - Throws: `IdentityError.passwordRefused` or `.busy`
    public func hash(password: String, userName: String) async throws -> String {
        try await hasher.hash(password, userName: userName)
    }

    /// Tokens for a user who has proved who they are: a new family of refresh tokens.
    public func issue(to user: User) async throws -> IssuedTokens {
        let now = time.timestamp
        let refresh = Self.freshToken()
        try await store.insert(
            RefreshToken(
                hash: refresh.hash, family: TokenID.generate(at: now), user: user.id, createdAt: now,
                expiresAt: now + Self.refreshLifetime))
        return IssuedTokens(
            access: try await tokens.sign(user, at: now), refresh: refresh.text, lifetime: tokens.lifetime)
    }

    /// Exchanges a refresh token for new tokens; the old one is used up.
    ///
    /// - Throws: `IdentityError.invalidRefreshToken`; where a used one came again, its whole family has ended.
    public func refresh(_ token: String) async throws -> IssuedTokens {
        guard let hash = Self.hash(of: token) else { throw IdentityError.invalidRefreshToken }
        let now = time.timestamp
        let new = Self.freshToken()
        let decision = try await store.exchange(hash, at: now) { token, user in
            RefreshDecision.decide(token, user: user, newHash: new.hash, lifetime: Self.refreshLifetime, at: now)
        }
        guard case .rotate(_, _, let user) = decision else { throw IdentityError.invalidRefreshToken }
        return IssuedTokens(access: try await tokens.sign(user, at: now), refresh: new.text, lifetime: tokens.lifetime)
    }

    /// Ends the session that a refresh token belongs to (RFC 7009); an unknown token is no error.
    public func revoke(_ token: String) async throws {
        guard let hash = Self.hash(of: token) else { return }
        try await store.revokeFamily(of: hash)
    }

    /// Who sends a request with this bearer token, as of now.
    ///
    /// - Throws: `IdentityError.invalidToken`, or what the store throws.
    public func verify(bearer token: String) async throws -> Principal {
        let claims = try await tokens.verify(token, at: time.timestamp)
        guard let id = UserID(claims.sub), let user = try await store.user(id) else {
            throw IdentityError.invalidToken(.unknownUser)
        }
        guard user.enabled else { throw IdentityError.invalidToken(.disabled) }
        guard claims.issuedAt >= user.tokensValidAfter else { throw IdentityError.invalidToken(.revoked) }
        guard let rights = try await store.rights(of: user) else { throw IdentityError.invalidToken(.disabled) }
        return Principal(userID: user.id, name: user.name, account: user.account, rights: rights)
    }
}

extension TokenService {
    private static let refreshBytes = 32

    /// 256 random bits; only their hash is kept.
    private static func freshToken() -> (text: String, hash: ContentDigest) {
        let bytes = SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) }
        let text = "rrt_" + bytes.hexadecimal
        return (text, digest(of: text))
    }

    private static func hash(of token: String) -> ContentDigest? {
        guard token.hasPrefix("rrt_"), token.utf8.count == 4 + 2 * refreshBytes else { return nil }
        return digest(of: token)
    }

    private static func digest(of text: String) -> ContentDigest {
        guard let digest = ContentDigest(bytes: SHA256.hash(data: Array(text.utf8))) else {
            preconditionFailure("SHA-256 has 32 bytes")
        }
        return digest
    }

    /// The limiter with its lock, shared by all copies of the service.
    private final class Limiter: Sendable {
        private let value: Mutex<AttemptLimiter>

        init(_ value: AttemptLimiter) { self.value = Mutex(value) }

        func take(_ name: String, _ address: String, _ now: Uptime) -> Duration? {
            value.withLock { $0.take(name: name, address: address, at: now) }
        }

        func giveBack(_ name: String, _ address: String, _ now: Uptime) {
            value.withLock { $0.giveBack(name: name, address: address, at: now) }
        }
    }
}
