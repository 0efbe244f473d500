public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var registrations: RegistrationRepository { RegistrationRepository(sql: self) }
}

/// Who may register, and the links that were mailed.
public struct RegistrationRepository {
    let sql: Transaction

    // MARK: The list

    public func entries(_ page: Page = .everything) throws -> [WhitelistEntry] {
        var conditions = Conditions()
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM registration_entries\(conditions.sql)\(page.tail)",
            arguments: conditions.arguments + [page.limit]
        ).map(WhitelistEntry.init(row:))
    }

    public func entry(_ id: WhitelistEntryID) throws -> WhitelistEntry? {
        try sql.query("SELECT * FROM registration_entries WHERE id = ?", id).first.map(WhitelistEntry.init(row:))
    }

    public func entry(_ pattern: WhitelistPattern) throws -> WhitelistEntry? {
        try sql.query("SELECT * FROM registration_entries WHERE pattern = ?", pattern.text).first
            .map(WhitelistEntry.init(row:))
    }

    public func insert(_ entry: WhitelistEntry) throws {
        try sql.execute(
            "INSERT INTO registration_entries (id, pattern, description, created_at) VALUES (?, ?, ?, ?)", entry.id,
            entry.pattern.text, entry.description, entry.createdAt)
    }

    public func update(_ entry: WhitelistEntry) throws {
        try sql.execute(
            "UPDATE registration_entries SET pattern = ?, description = ? WHERE id = ?", entry.pattern.text,
            entry.description, entry.id)
    }

    public func remove(_ id: WhitelistEntryID) throws {
        try sql.execute("DELETE FROM registration_entries WHERE id = ?", id)
    }

    // MARK: Links

    public func link(_ hash: ContentDigest) throws -> MailedLink? {
        try sql.query("SELECT * FROM mailed_links WHERE hash = ?", hash).first.map { row in
            MailedLink(
                hash: hash, purpose: try row.choice("purpose"), email: try row.text("email"),
                user: try row.optionalID("user_id"), createdAt: try row.timestamp("created_at"),
                expiresAt: try row.timestamp("expires_at"), usedAt: try row.optionalTimestamp("used_at"))
        }
    }

    public func insert(_ link: MailedLink) throws {
        try sql.execute(
            """
            INSERT INTO mailed_links (hash, purpose, email, user_id, created_at, expires_at, used_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            link.hash, link.purpose.rawValue, link.email, link.user, link.createdAt, link.expiresAt, link.usedAt)
    }

    public func markUsed(_ hash: ContentDigest, at now: Timestamp) throws {
        try sql.execute("UPDATE mailed_links SET used_at = ? WHERE hash = ?", now, hash)
    }

    /// Links of this user that nobody has used: a password that was just set is not to be set by an older mail.
    public func removeLinks(of user: UserID) throws {
        try sql.execute("DELETE FROM mailed_links WHERE user_id = ? AND used_at IS NULL", user)
    }

    func removeLinks(expiredBefore now: Timestamp, limit: Int) throws -> Int {
        let hashes = try sql.query("SELECT hash FROM mailed_links WHERE expires_at < ? LIMIT ?", now, limit)
            .map { try $0.blob("hash") }
        for hash in hashes { try sql.execute("DELETE FROM mailed_links WHERE hash = ?", hash) }
        return hashes.count
    }

    /// Users who have this address, in whatever case it is written.
    public func users(withEmail email: String, limit: Int) throws -> [User] {
        try sql.query(
            "SELECT * FROM users WHERE LOWER(email) = ? ORDER BY enabled DESC, id LIMIT ?", email.lowercased(), limit
        )
        .map(User.init(row:))
    }
}

extension WhitelistEntry {
    init(row: SQLRow) throws {
        let text = try row.text("pattern")
        guard let pattern = WhitelistPattern(text) else { throw StoreError.corrupt("pattern: '\(text)' is none") }
        self.init(
            id: try row.id("id"), pattern: pattern, description: try row.text("description"),
            createdAt: try row.timestamp("created_at"))
    }
}
