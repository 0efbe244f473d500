public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var accounts: AccountRepository { AccountRepository(sql: self) }
    public var groups: GroupRepository { GroupRepository(sql: self) }
    public var roles: RoleRepository { RoleRepository(sql: self) }
}

public struct AccountRepository {
    let sql: Transaction

    public func find(_ id: AccountID) throws -> Account? {
        try sql.remembered("SELECT * FROM accounts WHERE id = ?", id).first.map(Account.init(row:))
    }

    public func find(name: String) throws -> Account? {
        try sql.remembered("SELECT * FROM accounts WHERE name = ?", name).first.map(Account.init(row:))
    }

    /// Those that somebody may see; by `.user`, the one that the user is in.
    public func list(_ scope: Scope, _ page: Page = .everything) throws -> [Account] {
        var conditions = Conditions()
        switch scope {
        case .everything: break
        case .account(let name): conditions.add("name = ?", name)
        case .user(let id): conditions.add("name IN (SELECT account FROM users WHERE id = ?)", id)
        }
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM accounts\(conditions.sql)\(page.tail)",
            arguments: conditions.arguments + [page.limit]
        ).map(Account.init(row:))
    }

    /// How many users are in it.
    public func userCount(_ name: String) throws -> Int {
        try sql.query("SELECT COUNT(*) AS n FROM users WHERE account = ?", name)[0].int("n")
    }

    /// Whether instances that are not gone belong to it.
    public func hasInstances(_ name: String) throws -> Bool {
        try !sql.query(
            """
            SELECT 1 FROM instances i JOIN users u ON u.id = i.owner_id WHERE u.account = ? AND i.status <> 'DELETED' LIMIT 1
            """, name
        ).isEmpty
    }

    /// What this user owns is managed by superusers alone from now on.
    public func removeOwner(_ user: UserID) throws {
        try sql.execute("UPDATE accounts SET owner_id = NULL WHERE owner_id = ?", user)
        sql.note(.identity)
    }

    public func insert(_ account: Account) throws {
        try sql.execute(
            "INSERT INTO accounts (id, name, description, owner_id, enabled, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            account.id, account.name, account.description, account.owner, account.enabled, account.createdAt)
        sql.note(.identity)
    }

    public func update(_ account: Account) throws {
        try sql.execute(
            "UPDATE accounts SET description = ?, owner_id = ?, enabled = ? WHERE id = ?", account.description,
            account.owner, account.enabled, account.id)
        sql.note(.identity)
    }

    public func remove(_ account: Account) throws {
        try sql.execute("DELETE FROM image_shares WHERE account = ?", account.name)
        try sql.execute("DELETE FROM accounts WHERE id = ?", account.id)
        try sql.quotas.remove(.account(account.name))
        sql.note(.identity)
    }
}

/// Groups and who is in them.
public struct GroupRepository {
    let sql: Transaction

    public func find(_ id: GroupID) throws -> Group? {
        try sql.query("SELECT * FROM user_groups WHERE id = ?", id).first.map(Group.init(row:))
    }

    /// Those that somebody may see; by `.user`, those that the user is in.
    public func list(_ scope: Scope, name: String? = nil, _ page: Page = .everything) throws -> [Group] {
        var conditions = Conditions()
        switch scope {
        case .everything: break
        case .account(let account): conditions.add("account = ?", account)
        case .user(let id): conditions.add("id IN (SELECT group_id FROM group_members WHERE user_id = ?)", id)
        }
        if let name { conditions.add("name = ?", name) }
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM user_groups\(conditions.sql)\(page.tail)",
            arguments: conditions.arguments + [page.limit]
        ).map(Group.init(row:))
    }

    public func insert(_ group: Group) throws {
        try sql.execute(
            "INSERT INTO user_groups (id, account, name, description, created_at) VALUES (?, ?, ?, ?, ?)", group.id,
            group.account, group.name, group.description, group.createdAt)
    }

    public func update(_ group: Group) throws {
        try sql.execute(
            "UPDATE user_groups SET name = ?, description = ? WHERE id = ?", group.name, group.description, group.id)
    }

    public func remove(_ id: GroupID) throws {
        try sql.execute("DELETE FROM group_members WHERE group_id = ?", id)
        try sql.execute("DELETE FROM user_groups WHERE id = ?", id)
    }

    // MARK: Members

    /// The names of its members, in order.
    public func memberNames(of id: GroupID) throws -> [String] {
        try sql.query(
            """
            SELECT u.name AS name FROM group_members m JOIN users u ON u.id = m.user_id WHERE m.group_id = ? ORDER BY u.name
            """, id
        ).map { try $0.text("name") }
    }

    public func contains(_ user: UserID, in id: GroupID) throws -> Bool {
        try !sql.query("SELECT 1 FROM group_members WHERE group_id = ? AND user_id = ?", id, user).isEmpty
    }

    /// The user is not in it yet.
    public func add(_ user: UserID, to id: GroupID) throws {
        try sql.execute("INSERT INTO group_members (group_id, user_id) VALUES (?, ?)", id, user)
    }

    public func remove(_ user: UserID, from id: GroupID) throws {
        try sql.execute("DELETE FROM group_members WHERE group_id = ? AND user_id = ?", id, user)
    }

    /// Takes the user out of all groups.
    public func remove(_ user: UserID) throws {
        try sql.execute("DELETE FROM group_members WHERE user_id = ?", user)
    }
}

/// The roles that the site has defined itself.
public struct RoleRepository {
    let sql: Transaction

    public func find(_ name: String) throws -> RoleDefinition? {
        try sql.remembered("SELECT * FROM roles WHERE name = ?", name).first.map(RoleDefinition.init(row:))
    }

    public func list() throws -> [RoleDefinition] {
        try sql.query("SELECT * FROM roles ORDER BY name").map(RoleDefinition.init(row:))
    }

    /// What a user with these roles may do. A role that is gone allows nothing (SEC-08).
    public func rights(of names: [String]) throws -> Rights {
        try names.reduce(Rights.none) { rights, name in
            if let role = Role(rawValue: name) { return rights.union(.builtIn(role)) }
            return try find(name).map { rights.union($0.rights) } ?? rights
        }
    }

    public func insert(_ role: RoleDefinition) throws {
        try sql.execute(
            "INSERT INTO roles (name, description, permissions, created_at) VALUES (?, ?, ?, ?)", role.name,
            role.description, try Self.text(role.rights), role.createdAt)
        sql.note(.identity)
    }

    public func update(_ role: RoleDefinition) throws {
        try sql.execute(
            "UPDATE roles SET description = ?, permissions = ? WHERE name = ?", role.description,
            try Self.text(role.rights), role.name)
        sql.note(.identity)
    }

    public func remove(_ name: String) throws {
        try sql.execute("DELETE FROM roles WHERE name = ?", name)
        sql.note(.identity)
    }

    private static func text(_ rights: Rights) throws -> String {
        try jsonText(
            Dictionary(uniqueKeysWithValues: rights.granted.map { ($0.key.rawValue, $0.value.word) })
                as [String: String])
    }
}

extension Account {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"), description: try row.text("description"),
            owner: try row.optionalID("owner_id"), enabled: try row.flag("enabled"),
            createdAt: try row.timestamp("created_at"))
    }
}

extension Group {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"), account: try row.text("account"),
            description: try row.text("description"), createdAt: try row.timestamp("created_at"))
    }
}

extension RoleDefinition {
    init(row: SQLRow) throws {
        let words: [String: String] = try row.json("permissions")
        var reaches: [Permission: Reach] = [:]
        // What a newer manager knows and this one does not is not granted here.
        for (word, reach) in words {
            if let permission = Permission(rawValue: word) { reaches[permission] = Reach(word: reach) ?? Reach.none }
        }
        self.init(
            name: try row.text("name"), description: try row.text("description"), rights: Rights(reaches),
            createdAt: try row.timestamp("created_at"))
    }
}
