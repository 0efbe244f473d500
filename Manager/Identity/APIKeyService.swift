public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// The rules about API keys. Every change runs in the caller's transaction and writes its event there.
public struct APIKeyService: Sendable {
    /// A user with more has lost track of them.
    public static let maximumPerUser = 100

    public struct NewKey: Sendable {
        public var name: String
        public var scope: TokenScope
        public var expiresAt: Timestamp?

        public init(name: String, scope: TokenScope, expiresAt: Timestamp?) {
            self.name = name
            self.scope = scope
            self.expiresAt = expiresAt
        }
    }

    /// What is to be different; `nil` stays as it is.
    public struct Change: Sendable {
        public var name: String?
        public var scope: TokenScope?
        /// The inner `nil` removes the end.
        public var expiresAt: Timestamp??

        public init(name: String? = nil, scope: TokenScope? = nil, expiresAt: Timestamp?? = nil) {
            self.name = name
            self.scope = scope
            self.expiresAt = expiresAt
        }
    }

    public init() {}

    /// Makes a key.
    ///
    /// - Returns: the key and its secret, which is kept nowhere.
    public func create(
        _ new: NewKey, for owner: User, by principal: Principal, actor: Actor, at now: Timestamp,
        in sql: Transaction
    ) throws -> (key: APIKey, secret: String) {
        try check(new.scope, by: principal)
        try checkRank(of: owner, by: principal, in: sql)
        try checkEnd(new.expiresAt, at: now)
        try check(end: new.expiresAt, by: principal, in: sql)
        let others = try sql.apiKeys.list(of: owner.id)
        guard !others.contains(where: { $0.name == new.name }) else { throw Self.taken(new.name) }
        guard others.count < Self.maximumPerUser else {
            throw Refusal(
                .conflict,
                "'\(owner.name)' has \(others.count) API keys, which is the most; delete one that is not used")
        }
        let secret = SecretText.fresh(.keySecret)
        let key = APIKey(
            id: .generate(at: now), user: owner.id, name: new.name, secretHash: secret.hash, scopes: new.scope.words,
            createdAt: now, expiresAt: new.expiresAt)
        try sql.apiKeys.insert(key)
        try sql.events.append(
            "api_key.created", actor: actor, owner: owner.id, resource: key.reference,
            changes: Event.differences(from: nil, to: key), at: now)
        return (key, secret.text)
    }

    public func change(
        _ key: APIKey, _ change: Change, by principal: Principal, actor: Actor, at now: Timestamp, in sql: Transaction
    ) throws -> APIKey {
        guard let owner = try sql.users.find(key.user) else { throw Refusal.notFound("API key", "\(key.id)") }
        try checkRank(of: owner, by: principal, in: sql)
        var changed = key
        if let name = change.name, name != key.name {
            guard try !sql.apiKeys.list(of: key.user).contains(where: { $0.name == name }) else {
                throw Self.taken(name)
            }
            changed.name = name
        }
        if let scope = change.scope {
            try check(scope, by: principal)
            changed.scopes = scope.words
        }
        if let end = change.expiresAt {
            try checkEnd(end, at: now)
            if let present = key.expiresAt, end.map({ $0 > present }) ?? true {
                // It goes on with what it covers, as if it were made anew.
                try check(change.scope ?? TokenScope(words: key.scopes), by: principal)
                try check(end: end, by: principal, in: sql)
            }
            changed.expiresAt = end
        }
        guard changed != key else { return key }
        try sql.apiKeys.update(changed)
        try sql.events.append(
            "api_key.changed", actor: actor, owner: key.user, resource: changed.reference,
            changes: Event.differences(from: key, to: changed), at: now)
        return changed
    }

    /// Ends a key, with the tokens that it got.
    public func remove(
        _ key: APIKey, by principal: Principal, actor: Actor, at now: Timestamp, in sql: Transaction
    ) throws {
        if let owner = try sql.users.find(key.user) { try checkRank(of: owner, by: principal, in: sql) }
        try sql.apiKeys.remove(key.id)
        try sql.events.append(
            "api_key.deleted", actor: actor, owner: key.user, resource: key.reference,
            changes: Event.differences(from: key, to: nil), at: now)
    }

    /// A key acts as its owner: nobody gets by another's key what they may not themselves, nor ends those of whoever may more
    /// than they (SEC-08).
    private func checkRank(of owner: User, by principal: Principal, in sql: Transaction) throws {
        guard try owner.id == principal.userID || principal.rights.covers(Standing(owner, in: sql).rights) else {
            throw Refusal(.forbidden, "'\(owner.name)' may more than you; ask them to do it themselves")
        }
    }

    /// A key that was to end at some time does not outlive that by making another.
    private func check(end: Timestamp?, by principal: Principal, in sql: Transaction) throws {
        guard let own = try principal.key.flatMap({ try sql.apiKeys.find($0) })?.expiresAt,
            end.map({ $0 > own }) ?? true
        else { return }
        throw Refusal(
            .forbidden, "the key that you do this with ends at \(own); none that it makes or changes can last longer",
            fields: [.init(pointer: "/expires_at", detail: "must not be after \(own)")])
    }

    /// Whoever makes a key hands on no more than the token that they do it with covers (SEC-08).
    private func check(_ scope: TokenScope, by principal: Principal) throws {
        try principal.checkIsOneself("make or widen API keys")
        guard principal.scope.covers(scope) else {
            throw Refusal(
                .forbidden,
                "your token covers only \(principal.scope.text); a key that it makes cannot cover \(scope.text)",
                fields: [.init(pointer: "/scopes", detail: "go beyond what the token covers")])
        }
    }

    private func checkEnd(_ end: Timestamp?, at now: Timestamp) throws {
        guard let end, end <= now else { return }
        throw Refusal(
            .invalidRequest, "expires_at is in the past; leave it out for a key without an end",
            fields: [.init(pointer: "/expires_at", detail: "must be in the future")])
    }

    private static func taken(_ name: String) -> Refusal {
        Refusal(.nameTaken, "there is an API key '\(name)' of this user already")
    }
}
