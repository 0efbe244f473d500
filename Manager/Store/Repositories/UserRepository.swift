public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var users: UserRepository { UserRepository(sql: self) }
    public var keyPairs: KeyPairRepository { KeyPairRepository(sql: self) }
}

/// Users.
public struct UserRepository {
    let sql: Transaction

    public func find(_ id: UserID) throws -> User? {
        try sql.remembered("SELECT * FROM users WHERE id = ?", id).first.map(User.init(row:))
    }

    public func find(name: String) throws -> User? {
        try sql.remembered("SELECT * FROM users WHERE name = ?", name).first.map(User.init(row:))
    }

    public func name(of id: UserID) throws -> String? { try sql.name("users", id) }

    public func list(_ scope: Scope = .everything, _ page: Page = .everything) throws -> [User] {
        var conditions = Conditions()
        conditions.add(scope, owner: "id", account: "account")
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM users\(conditions.sql)\(page.tail)", arguments: conditions.arguments + [page.limit]
        ).map(User.init(row:))
    }

    /// Whether a superuser other than this one may sign in.
    public func hasOtherSuperuser(than id: UserID) throws -> Bool {
        try sql.query(
            """
            SELECT * FROM users WHERE id <> ? AND enabled = 1 AND source = 'local'
                AND account NOT IN (SELECT name FROM accounts WHERE enabled = 0)
            """, id
        ).contains { row in try User(row: row).isSuperuser }
    }

    /// The names of some who have a role.
    public func names(having role: String, limit: Int) throws -> [String] {
        let candidates = try sql.query(
            "SELECT * FROM users WHERE role = ? OR extra_roles IS NOT NULL ORDER BY name", role)
        return try Array(
            candidates.lazy.map(User.init(row:)).filter { $0.roles.contains(role) }.prefix(limit).map(\.name))
    }

    public func insert(_ user: User) throws {
        try sql.execute(
            """
            INSERT INTO users (id, name, role, extra_roles, account, email, full_name, unix_name, source, enabled,
                password_hash, must_change_password, tokens_valid_after, last_sign_in_at, created_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            user.id, user.name, user.roles.first ?? "", try extraRoles(user), user.account, user.email, user.fullName,
            user.unixName, user.source.rawValue, user.enabled, user.passwordHash, user.mustChangePassword,
            user.tokensValidAfter, user.lastSignInAt, user.createdAt)
        sql.note(.identity)
    }

    public func update(_ user: User) throws {
        try sql.execute(
            """
            UPDATE users SET role = ?, extra_roles = ?, account = ?, email = ?, full_name = ?, unix_name = ?, source = ?,
                enabled = ?, password_hash = ?, must_change_password = ?, tokens_valid_after = ?, last_sign_in_at = ?
            WHERE id = ?
            """,
            user.roles.first ?? "", try extraRoles(user), user.account, user.email, user.fullName, user.unixName,
            user.source.rawValue, user.enabled, user.passwordHash, user.mustChangePassword, user.tokensValidAfter,
            user.lastSignInAt, user.id)
        sql.note(.identity)
    }

    /// Notes that somebody signed in; nothing that a check of a token looks at.
    public func markSignedIn(_ id: UserID, at now: Timestamp) throws {
        try sql.execute("UPDATE users SET last_sign_in_at = ? WHERE id = ?", now, id)
    }

    private func extraRoles(_ user: User) throws -> String? {
        user.roles.count > 1 ? try jsonText(Array(user.roles.dropFirst())) : nil
    }

    public func remove(_ id: UserID) throws {
        try sql.credentials.removeAll(of: id)
        try sql.execute("DELETE FROM keypairs WHERE owner_id = ?", id)
        try sql.execute("DELETE FROM server_groups WHERE owner_id = ?", id)
        try sql.execute("DELETE FROM group_members WHERE user_id = ?", id)
        try sql.execute("DELETE FROM users WHERE id = ?", id)
        try sql.quotas.remove(.user(id))
        sql.note(.identity)
    }
}

public struct KeyPairRepository {
    let sql: Transaction

    public func list(_ scope: Scope, name: String? = nil, _ page: Page = .everything) throws -> [KeyPair] {
        var conditions = Conditions()
        conditions.add(scope)
        if let name { conditions.add("name = ?", name) }
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM keypairs\(conditions.sql)\(page.tail)",
            arguments: conditions.arguments + [page.limit]
        ).map(KeyPair.init(row:))
    }

    public func rename(_ id: KeyPairID, to name: String) throws {
        try sql.execute("UPDATE keypairs SET name = ? WHERE id = ?", name, id)
    }

    public func find(_ id: KeyPairID) throws -> KeyPair? {
        try sql.query("SELECT * FROM keypairs WHERE id = ?", id).first.map(KeyPair.init(row:))
    }

    public func insert(_ key: KeyPair) throws {
        try sql.execute(
            """
            INSERT INTO keypairs (id, name, owner_id, type, fingerprint, public_key, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            key.id, key.name, key.owner, key.type, key.fingerprint, key.publicKey, key.createdAt)
    }

    public func remove(_ id: KeyPairID) throws {
        try sql.execute("DELETE FROM keypairs WHERE id = ?", id)
    }
}

extension User {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"),
            roles: [try row.text("role")] + (try row.optionalText("extra_roles") == nil ? [] : row.json("extra_roles")),
            account: try row.text("account"), email: try row.optionalText("email"),
            fullName: try row.text("full_name"), unixName: try row.optionalText("unix_name"),
            source: try row.choice("source"), enabled: try row.flag("enabled"),
            passwordHash: try row.text("password_hash"), mustChangePassword: try row.flag("must_change_password"),
            tokensValidAfter: try row.timestamp("tokens_valid_after"),
            lastSignInAt: try row.optionalTimestamp("last_sign_in_at"), createdAt: try row.timestamp("created_at"))
    }
}

extension KeyPair {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"), owner: try row.id("owner_id"), type: try row.text("type"),
            fingerprint: try row.text("fingerprint"), publicKey: try row.text("public_key"),
            createdAt: try row.timestamp("created_at"))
    }
}
