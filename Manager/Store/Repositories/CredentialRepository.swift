public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var credentials: CredentialRepository { CredentialRepository(sql: self) }
    public var apiKeys: APIKeyRepository { APIKeyRepository(sql: self) }
}

/// Sessions, what ended them, what begins them, and the keys that sign their tokens.
public struct CredentialRepository {
    let sql: Transaction

    // MARK: Refresh tokens

    public func refreshToken(hash: ContentDigest) throws -> RefreshToken? {
        try sql.query("SELECT * FROM refresh_tokens WHERE hash = ?", hash).first.map { row in
            RefreshToken(
                hash: hash, family: try row.id("family"), user: try row.id("user_id"),
                client: try row.text("client_id"), scope: try row.text("scope"),
                address: try row.optionalText("address"), createdAt: try row.timestamp("created_at"),
                expiresAt: try row.timestamp("expires_at"), replacedAt: try row.optionalTimestamp("replaced_at"))
        }
    }

    public func insert(_ token: RefreshToken) throws {
        try sql.execute(
            """
            INSERT INTO refresh_tokens (hash, family, user_id, client_id, scope, address, created_at, expires_at, replaced_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            token.hash, token.family, token.user, token.client, token.scope, token.address, token.createdAt,
            token.expiresAt, token.replacedAt)
    }

    public func markReplaced(_ hash: ContentDigest, at now: Timestamp) throws {
        try sql.execute("UPDATE refresh_tokens SET replaced_at = ? WHERE hash = ?", now, hash)
    }

    /// Whether the user has signed in from there, and the session can still be renewed.
    public func hasSession(of user: UserID, from address: String, at now: Timestamp) throws -> Bool {
        try sql.query(
            "SELECT 1 AS known FROM refresh_tokens WHERE user_id = ? AND address = ? AND expires_at > ? LIMIT 1", user,
            address, now
        ).first != nil
    }

    /// Ends a session: no token of it is renewed, and those that are out count no more.
    public func end(session: TokenID, tokensUntil end: Timestamp) throws {
        try sql.execute("DELETE FROM refresh_tokens WHERE family = ?", session)
        try revoke(TokenRevocation(id: session, expiresAt: end))
    }

    /// Sessions of a user, which the user's `tokensValidAfter` ends as well, and those that are about to be opened: a code or a
    /// device that was let in before would begin a new one.
    public func removeSessions(of user: UserID) throws {
        for table in ["refresh_tokens", "authorization_codes", "device_grants"] {
            try sql.execute("DELETE FROM \(table) WHERE user_id = ?", user)
        }
    }

    /// All that a user could sign in with.
    func removeAll(of user: UserID) throws {
        for table in ["refresh_tokens", "api_keys", "authorization_codes", "device_grants"] {
            try sql.execute("DELETE FROM \(table) WHERE user_id = ?", user)
        }
        sql.note(.credentials)
    }

    // MARK: Revocations

    public func revoke(_ revocation: TokenRevocation) throws {
        try sql.execute(
            """
            INSERT INTO token_revocations (id, expires_at) VALUES (?, ?)
            ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at
            """, revocation.id, revocation.expiresAt)
        sql.note(.credentials)
    }

    public func revocations(at now: Timestamp) throws -> [TokenRevocation] {
        try sql.query("SELECT id, expires_at FROM token_revocations WHERE expires_at > ?", now).map {
            TokenRevocation(id: try $0.id("id"), expiresAt: try $0.timestamp("expires_at"))
        }
    }

    // MARK: Signing keys

    /// In the order in which they sign.
    public func signingKeys() throws -> [SigningKey] {
        try sql.query("SELECT * FROM signing_keys ORDER BY signs_from, id").map { row in
            SigningKey(
                id: try row.text("id"), publicKey: try row.blob("public_key"), sealedKey: try row.blob("sealed_key"),
                createdAt: try row.timestamp("created_at"), signsFrom: try row.timestamp("signs_from"))
        }
    }

    public func insert(_ key: SigningKey) throws {
        try sql.execute(
            "INSERT INTO signing_keys (id, public_key, sealed_key, created_at, signs_from) VALUES (?, ?, ?, ?, ?)",
            key.id, key.publicKey, key.sealedKey, key.createdAt, key.signsFrom)
        sql.note(.credentials)
    }

    public func removeSigningKey(_ id: String) throws {
        try sql.execute("DELETE FROM signing_keys WHERE id = ?", id)
        sql.note(.credentials)
    }

    // MARK: Authorization codes

    public func insert(_ code: AuthorizationCode) throws {
        try sql.execute(
            """
            INSERT INTO authorization_codes (hash, client_id, redirect, challenge, scope, user_id, session_id, created_at,
                expires_at, used_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            code.hash, code.client, code.redirect, code.challenge, code.scope, code.user, code.session,
            code.createdAt, code.expiresAt, code.usedAt)
    }

    public func authorizationCode(hash: ContentDigest) throws -> AuthorizationCode? {
        try sql.query("SELECT * FROM authorization_codes WHERE hash = ?", hash).first.map { row in
            AuthorizationCode(
                hash: hash, client: try row.text("client_id"), redirect: try row.text("redirect"),
                challenge: try row.text("challenge"), scope: try row.text("scope"), user: try row.id("user_id"),
                session: try row.id("session_id"), createdAt: try row.timestamp("created_at"),
                expiresAt: try row.timestamp("expires_at"), usedAt: try row.optionalTimestamp("used_at"))
        }
    }

    public func markUsed(authorizationCode hash: ContentDigest, at now: Timestamp) throws {
        try sql.execute("UPDATE authorization_codes SET used_at = ? WHERE hash = ?", now, hash)
    }

    // MARK: Device grants

    public func insert(_ grant: DeviceGrant) throws {
        try sql.execute(
            """
            INSERT INTO device_grants (hash, user_code, client_id, scope, status, user_id, created_at, expires_at,
                interval_seconds, polled_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            grant.hash, grant.userCode, grant.client, grant.scope, grant.status.rawValue, grant.user, grant.createdAt,
            grant.expiresAt, grant.intervalSeconds, grant.polledAt)
    }

    public func deviceGrant(hash: ContentDigest) throws -> DeviceGrant? {
        try sql.query("SELECT * FROM device_grants WHERE hash = ?", hash).first.map(Self.deviceGrant)
    }

    public func deviceGrant(userCode: String) throws -> DeviceGrant? {
        try sql.query("SELECT * FROM device_grants WHERE user_code = ?", userCode).first.map(Self.deviceGrant)
    }

    public func update(_ grant: DeviceGrant) throws {
        try sql.execute(
            "UPDATE device_grants SET status = ?, user_id = ?, interval_seconds = ?, polled_at = ? WHERE hash = ?",
            grant.status.rawValue, grant.user, grant.intervalSeconds, grant.polledAt, grant.hash)
    }

    public func remove(deviceGrant hash: ContentDigest) throws {
        try sql.execute("DELETE FROM device_grants WHERE hash = ?", hash)
    }

    public func countDeviceGrants(at now: Timestamp) throws -> Int {
        try sql.query("SELECT COUNT(*) AS n FROM device_grants WHERE expires_at > ?", now)[0].int("n")
    }

    private static func deviceGrant(_ row: SQLRow) throws -> DeviceGrant {
        guard let hash = try row.optionalDigest("hash") else { throw StoreError.corrupt("hash of a device grant") }
        return DeviceGrant(
            hash: hash, userCode: try row.text("user_code"), client: try row.text("client_id"),
            scope: try row.text("scope"), status: try row.choice("status"), user: try row.optionalID("user_id"),
            createdAt: try row.timestamp("created_at"), expiresAt: try row.timestamp("expires_at"),
            intervalSeconds: try row.int("interval_seconds"), polledAt: try row.optionalTimestamp("polled_at"))
    }

    // MARK: Pruning

    func removeExpired(_ table: String, _ key: String, at now: Timestamp, limit: Int) throws -> Int {
        let keys = try sql.query("SELECT \(key) FROM \(table) WHERE expires_at < ? LIMIT ?", now, limit).map { $0[key] }
        for value in keys { try sql.execute("DELETE FROM \(table) WHERE \(key) = ?", value) }
        return keys.count
    }
}

public struct APIKeyRepository {
    let sql: Transaction

    public func find(_ id: APIKeyID) throws -> APIKey? {
        try sql.query("SELECT * FROM api_keys WHERE id = ?", id).first.map(Self.key)
    }

    public func list(of user: UserID) throws -> [APIKey] {
        try sql.query("SELECT * FROM api_keys WHERE user_id = ? ORDER BY id", user).map(Self.key)
    }

    public func list(_ scope: Scope, name: String? = nil, _ page: Page = .everything) throws -> [APIKey] {
        var conditions = Conditions()
        conditions.add(scope, owner: "user_id")
        if let name { conditions.add("name = ?", name) }
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM api_keys\(conditions.sql)\(page.tail)",
            arguments: conditions.arguments + [page.limit]
        ).map(Self.key)
    }

    public func insert(_ key: APIKey) throws {
        try sql.execute(
            """
            INSERT INTO api_keys (id, user_id, name, secret_hash, scopes, created_at, expires_at, last_used_at, last_used_from)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            key.id, key.user, key.name, key.secretHash, try jsonText(key.scopes), key.createdAt, key.expiresAt,
            key.lastUsedAt, key.lastUsedFrom)
        sql.note(.credentials)
    }

    public func update(_ key: APIKey) throws {
        try sql.execute(
            "UPDATE api_keys SET name = ?, scopes = ?, expires_at = ? WHERE id = ?", key.name, try jsonText(key.scopes),
            key.expiresAt, key.id)
        sql.note(.credentials)
    }

    /// Notes a use; nothing that a check looks at.
    public func markUsed(_ id: APIKeyID, at moment: Timestamp, from address: String) throws {
        try sql.execute(
            """
            UPDATE api_keys SET last_used_at = ?, last_used_from = ?
            WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)
            """, moment, address, id, moment)
    }

    public func remove(_ id: APIKeyID) throws {
        try sql.execute("DELETE FROM api_keys WHERE id = ?", id)
        sql.note(.credentials)
    }

    private static func key(_ row: SQLRow) throws -> APIKey {
        guard let hash = try row.optionalDigest("secret_hash") else { throw StoreError.corrupt("secret of an API key") }
        return APIKey(
            id: try row.id("id"), user: try row.id("user_id"), name: try row.text("name"), secretHash: hash,
            scopes: try row.json("scopes"), createdAt: try row.timestamp("created_at"),
            expiresAt: try row.optionalTimestamp("expires_at"), lastUsedAt: try row.optionalTimestamp("last_used_at"),
            lastUsedFrom: try row.optionalText("last_used_from"))
    }
}
