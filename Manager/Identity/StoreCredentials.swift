public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// Users and refresh tokens of the manager's store, for signing in.
public struct StoreCredentials: CredentialStore {
    private let store: Store

    public init(_ store: Store) { self.store = store }

    public func user(named name: String) async throws -> User? {
        try await store.read { try $0.users.find(name: name) }
    }

    public func user(_ id: UserID) async throws -> User? {
        try await store.read { try $0.users.find(id) }
    }

    public func rights(of user: User) async throws -> Rights? {
        try await store.read { transaction in
            guard try transaction.accounts.find(name: user.account)?.enabled ?? true else { return nil }
            let rights = try transaction.roles.rights(of: user.roles)
            // A password that somebody else has set is good for setting another, and nothing more.
            return user.mustChangePassword ? rights.limited(to: [.userRead, .userChange]) : rights
        }
    }

    public func insert(_ token: RefreshToken) async throws {
        try await store.write { transaction in
            try transaction.users.insert(token)
            guard let user = try transaction.users.find(token.user) else { return }
            try transaction.events.append(
                "user.signed_in",
                actor: Actor(user: user.id, name: user.name, rights: .none, account: user.account), owner: user.id,
                resource: user.reference, at: token.createdAt)
            try transaction.users.markSignedIn(user.id, at: token.createdAt)
        }
    }

    public func exchange(
        _ hash: ContentDigest, at now: Timestamp, decide: @escaping @Sendable (RefreshToken?, User?) -> RefreshDecision
    ) async throws -> RefreshDecision {
        try await store.write { transaction in
            let token = try transaction.users.refreshToken(hash: hash)
            let user = try token.flatMap { try transaction.users.find($0.user) }
            let decision = decide(token, user)
            switch decision {
            case .rotate(let old, let new, _):
                try transaction.users.markReplaced(old, at: now)
                try transaction.users.insert(new)
            case .revoke(let family):
                try transaction.users.removeRefreshTokens(family: family)
                if let user {
                    try transaction.events.append(
                        "user.session_revoked", actor: .manager, owner: user.id, resource: user.reference,
                        detail: "a refresh token was used twice", at: now)
                }
            case .refuse: break
            }
            return decision
        }
    }

    public func revokeFamily(of hash: ContentDigest) async throws {
        try await store.write { transaction in
            guard let token = try transaction.users.refreshToken(hash: hash) else { return }
            try transaction.users.removeRefreshTokens(family: token.family)
        }
    }
}

extension User {
    var reference: ResourceReference { ResourceReference(kind: "user", id: id.description, name: name) }
}

extension KeyPair {
    var reference: ResourceReference { ResourceReference(kind: "keypair", id: id.description, name: name) }
}
