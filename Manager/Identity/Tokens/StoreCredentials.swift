import ManagerModel
public import ManagerStore
import ProtocolModel

/// Users and sessions of the manager's store: each method is one transaction.
public struct StoreCredentials: Sendable {
    let store: Store

    public init(_ store: Store) { self.store = store }

    func user(named name: String) async throws -> User? {
        try await store.read { try $0.users.find(name: name) }
    }

    /// Whether the user, in this account, may sign in at all.
    func isLetIn(_ user: User) async throws -> Bool {
        try await store.read { sql in try Standing(user, in: sql).isEnabled }
    }

    /// Opens a session, with its event.
    func open(_ token: RefreshToken, of user: User, _ grant: GrantKind) async throws {
        try await store.write { sql in try Self.open(token, of: user, grant, in: sql) }
    }

    /// - Throws: `IdentityError.wrongCredentials` where the user is not any more who proved themselves.
    static func open(_ token: RefreshToken, of user: User, _ grant: GrantKind, in sql: Transaction) throws {
        try checkProof(of: user, in: sql)
        try sql.credentials.insert(token)
        try sql.events.append(
            "user.signed_in", actor: .session(token.family, of: user, from: token.address), owner: user.id,
            resource: user.reference, data: ["client": token.client, "grant": grant.rawValue], at: token.createdAt)
        try sql.users.markSignedIn(user.id, at: token.createdAt)
    }

    /// A password takes long to check. Where it was changed meanwhile, or the user disabled, what follows from it is nothing.
    static func checkProof(of user: User, in sql: Transaction) throws {
        guard let present = try sql.users.find(user.id), present.enabled,
            present.tokensValidAfter == user.tokensValidAfter
        else { throw IdentityError.wrongCredentials }
    }

    /// Finds the token with its user, lets `decide` say what follows and carries that out, all in one transaction: two who
    /// present the same token at once must not both get a new one.
    func exchange(
        _ hash: ContentDigest, at now: Timestamp, decide: @escaping @Sendable (RefreshToken?, User?) -> RefreshDecision
    ) async throws -> RefreshDecision {
        try await store.write { sql in
            let token = try sql.credentials.refreshToken(hash: hash)
            let user = try token.flatMap { try sql.users.find($0.user) }
            let decision = decide(token, user)
            switch decision {
            case .rotate(let old, let new, _):
                try sql.credentials.markReplaced(old, at: now)
                try sql.credentials.insert(new)
            case .revoke(let family):
                try sql.credentials.end(session: family, tokensUntil: now + TokenService.revocationLifetime)
                if let user {
                    try sql.events.append(
                        "user.session_revoked", actor: .manager, owner: user.id, resource: user.reference,
                        detail: "a refresh token was used twice", data: ["session": family.description], at: now)
                }
            case .refuse, .beyond: break
            }
            return decision
        }
    }

    /// Ends the session of a refresh token, if it is known.
    ///
    /// - Parameter client: who asks; `nil` where anybody who has the token may.
    func endSession(of hash: ContentDigest, client: String?, at now: Timestamp) async throws {
        try await store.write { sql in
            guard let token = try sql.credentials.refreshToken(hash: hash), client == nil || token.client == client,
                let user = try sql.users.find(token.user)
            else { return }
            try sql.credentials.end(session: token.family, tokensUntil: now + TokenService.revocationLifetime)
            try sql.events.append(
                "user.signed_out", actor: .session(token.family, of: user, from: nil), owner: user.id,
                resource: user.reference, at: now)
        }
    }
}

extension Actor {
    /// A user by one of their sessions, for the event log.
    static func session(_ session: TokenID?, of user: User, from address: String?) -> Actor {
        Actor(
            user: user.id, name: user.name, rights: .none, account: user.account, address: address,
            credential: session.map { "session:\($0)" })
    }
}

extension User {
    var reference: ResourceReference { ResourceReference(kind: "user", id: id.description, name: name) }
}

extension KeyPair {
    var reference: ResourceReference { ResourceReference(kind: "keypair", id: id.description, name: name) }
}

extension APIKey {
    var reference: ResourceReference { ResourceReference(kind: "api_key", id: id.description, name: name) }
}
