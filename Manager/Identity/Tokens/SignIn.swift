public import ManagerModel
import ManagerStore
public import ProtocolModel
import Synchronization

/// How a session begins: for the event log, and for what may follow.
public enum GrantKind: String, Sendable {
    case password, device
    case authorizationCode = "authorization_code"
}

// Passwords, and the sessions that they open.
extension TokenService {
    /// Signs in by name and password at the token endpoint.
    ///
    /// - Parameter address: where the attempt comes from; failed attempts are limited for each name and address.
    /// - Throws: `IdentityError.passwordNotTakenHere`, or what `authenticate` throws.
    public func signIn(
        name: String, password: String, address: String, client: String = OAuthClients.commandLine.id,
        scope: TokenScope = .everything
    ) async throws -> IssuedTokens {
        guard networks.contains(address) else { throw IdentityError.passwordNotTakenHere(address: address) }
        let user = try await authenticate(name: name, password: password, address: address)
        return try await issue(to: user, client: client, scope: scope, address: address, grant: .password)
    }

    /// Who this is, by name and password.
    ///
    /// - Throws: `IdentityError.wrongCredentials`, `.tooManyAttempts`, `.busy`, or what the store throws.
    public func authenticate(name: String, password: String, address: String) async throws -> User {
        let known = try await admit(name, address) { try await store.user(named: name) }
        let proved: User?
        do {
            proved = try await prove(name, password, known)
        } catch IdentityError.refusedElsewhere(let sentence) {
            await noteRefusal(of: known, from: address)
            throw IdentityError.refusedElsewhere(sentence)
        } catch {
            // Nothing was learned about the password.
            attempts.giveBack(name, address, time.uptime)
            throw error
        }
        guard let proved, try await store.isLetIn(proved) else {
            await noteRefusal(of: known, from: address)
            throw IdentityError.wrongCredentials
        }
        attempts.giveBack(name, address, time.uptime)
        return proved
    }

    /// The user whom the password belongs to; `nil` where it is wrong.
    private func prove(_ name: String, _ password: String, _ known: User?) async throws -> User? {
        if let external, User.isKnownElsewhere(known) {
            guard DirectorySignIn.isPlain(name) else { return nil }
            do {
                return try await external.user(name: name, password: password)
            } catch IdentityError.wrongCredentials {
                return nil
            }
        }
        return try await hasher.verify(password, against: known?.localPasswordHash) ? known : nil
    }

    /// Checks the user's own password again, for changes that a stolen token must not be enough for.
    public func confirm(password: String, of user: User, address: String) async throws {
        _ = try await admit(user.name, address) { user }
        guard try await hasher.verify(password, against: user.localPasswordHash) else {
            await noteRefusal(of: user, from: address)
            throw IdentityError.wrongCredentials
        }
        attempts.giveBack(user.name, address, time.uptime)
    }

    /// Counts an attempt, before its password is looked at.
    ///
    /// - Parameter find: finds the user of that name; whoever asks too often costs not even that.
    private func admit(
        _ name: String, _ address: String, find: () async throws -> User?
    ) async throws -> User? {
        switch attempts.take(name, address, time.uptime) {
        case .goOn: return try await find()
        case .wait(let wait): throw Self.tooMany(wait)
        case .waitUnlessFamiliar(let wait):
            let now = time.timestamp
            guard let user = try await find(),
                try await store.store.read({ sql in
                    try sql.credentials.hasSession(of: user.id, from: address, at: now)
                }), attempts.take(name, address, isFamiliar: true, time.uptime) == .goOn
            else { throw Self.tooMany(wait) }
            return user
        }
    }

    /// Tells the event log of a password that was wrong. Not of each where there are very many, and never what was given for
    /// a name that is none: it may have been the password.
    private func noteRefusal(of user: User?, from address: String) async {
        guard let data = refusals.take(at: time.uptime) else { return }
        let now = time.timestamp
        let actor = Actor(user: nil, name: "anonymous", rights: .none, account: "", address: address)
        let resource = user?.reference ?? ResourceReference(kind: "user", id: "", name: "unknown")
        // That it cannot be written is no reason to answer otherwise.
        _ = try? await store.store.write(isPatient: true) { sql in
            try sql.events.append(
                "user.sign_in_refused", actor: actor, owner: user?.id, resource: resource,
                detail: "a wrong name or password", data: data, outcome: .refused, at: now)
        }
    }

    static func tooMany(_ wait: Duration) -> IdentityError {
        .tooManyAttempts(retryAfterSeconds: max(1, Int((wait.milliseconds + 999) / 1000)))
    }

    /// Tokens for a user who has proved who they are: a new session.
    ///
    /// - Parameter session: its ID, where that is settled already.
    public func issue(
        to user: User, client: String = OAuthClients.commandLine.id, scope: TokenScope = .everything,
        address: String? = nil, grant: GrantKind = .password, session: TokenID? = nil
    ) async throws -> IssuedTokens {
        let now = time.timestamp
        let refresh = SecretText.fresh(.refreshToken)
        let session = session ?? TokenID.generate(at: now)
        try await store.open(
            RefreshToken(
                hash: refresh.hash, family: session, user: user.id, client: client, scope: scope.text,
                address: address, createdAt: now, expiresAt: now + Self.refreshLifetime),
            of: user, grant)
        let (access, lifetime) = try await access(
            Subject(user: user.id, name: user.name, client: client, scope: scope, session: session), at: now)
        return IssuedTokens(access: access, refresh: refresh.text, lifetime: lifetime, scope: scope)
    }

    /// Exchanges a refresh token for new tokens; the old one is used up.
    ///
    /// - Parameters:
    ///   - client: who asks; the token of another is refused.
    ///   - narrowed: what the access token shall cover, where that is less than the session does.
    /// - Throws: `IdentityError.invalidRefreshToken`; where a used one came again, its whole session has ended.
    public func refresh(
        _ token: String, client: String = OAuthClients.commandLine.id, narrowed: TokenScope? = nil
    ) async throws -> IssuedTokens {
        guard let hash = SecretText.hash(token, .refreshToken) else { throw IdentityError.invalidRefreshToken }
        let now = time.timestamp
        let new = SecretText.fresh(.refreshToken)
        let decision = try await store.exchange(hash, at: now) { token, user in
            // Before it is used up.
            if let token, let narrowed, (try? TokenScope(token.scope))?.covers(narrowed) != true { return .beyond }
            return RefreshDecision.decide(
                token, user: user, client: client, newHash: new.hash, lifetime: Self.refreshLifetime, at: now)
        }
        if decision == .beyond {
            throw GrantRefusal(
                .invalidScope, "this session covers less than that; ask for no more than it was opened with")
        }
        guard case .rotate(_, let kept, let user) = decision, let covered = try? TokenScope(kept.scope) else {
            throw IdentityError.invalidRefreshToken
        }
        let scope = narrowed ?? covered
        let (access, lifetime) = try await access(
            Subject(user: user.id, name: user.name, client: client, scope: scope, session: kept.family), at: now)
        return IssuedTokens(access: access, refresh: new.text, lifetime: lifetime, scope: scope)
    }
}

extension User {
    /// `nil` where the user has no password here.
    var localPasswordHash: String? { passwordHash.isEmpty ? nil : passwordHash }
}

/// The limiter with its lock, shared by all copies of the service.
final class SignInAttempts: Sendable {
    private let limiter: Mutex<AttemptLimiter>

    init(_ limiter: AttemptLimiter) { self.limiter = Mutex(limiter) }

    func take(
        _ name: String, _ address: String, isFamiliar: Bool = false, _ now: Uptime
    ) -> AttemptLimiter.Verdict {
        limiter.withLock { $0.take(name: name, address: address, isFamiliar: isFamiliar, at: now) }
    }

    /// The time to wait, where nobody is familiar.
    func wait(_ name: String, _ address: String, _ now: Uptime) -> Duration? {
        switch take(name, address, now) {
        case .goOn: nil
        case .wait(let wait), .waitUnlessFamiliar(let wait): wait
        }
    }

    func giveBack(_ name: String, _ address: String, _ now: Uptime) {
        limiter.withLock { $0.giveBack(name: name, address: address, at: now) }
    }
}
