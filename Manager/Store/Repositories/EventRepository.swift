public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var events: EventRepository { EventRepository(sql: self) }
    public var idempotency: IdempotencyRepository { IdempotencyRepository(sql: self) }
    public var siteSettings: SiteSettingRepository { SiteSettingRepository(sql: self) }
}

/// The one event log. It is written in the transaction of the change it tells of.
public struct EventRepository {
    let sql: Transaction

    /// Appends and numbers an event.
    @discardableResult
    public func append(
        _ kind: String, actor: Actor, owner: UserID?, resource: ResourceReference, detail: String = "",
        data: [String: String] = [:], at now: Timestamp
    ) throws -> Int64 {
        let last = try sql.query("SELECT MAX(sequence) AS n FROM events")[0].optionalInteger("n") ?? 0
        try sql.execute(
            """
            INSERT INTO events (sequence, at, kind, actor, owner_id, resource_kind, resource_id, resource_name, detail, data)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            last + 1, now, kind, actor.name, owner, resource.kind, resource.id, resource.name, detail,
            try jsonText(data))
        sql.note(.events(last: last + 1))
        return last + 1
    }

    /// Events after a sequence number, oldest first. `owner` `nil`: everybody's.
    public func list(after sequence: Int64, owner: UserID?, limit: Int) throws -> [Event] {
        var conditions = Conditions()
        conditions.add("sequence > ?", sequence)
        if let owner { conditions.add("owner_id = ?", owner) }
        return try sql.query(
            "SELECT * FROM events\(conditions.sql) ORDER BY sequence LIMIT ?", arguments: conditions.arguments + [limit]
        ).map { row in
            Event(
                sequence: try row.integer("sequence"), at: try row.timestamp("at"), kind: try row.text("kind"),
                actor: try row.text("actor"), owner: try row.optionalID("owner_id"),
                resource: ResourceReference(
                    kind: try row.text("resource_kind"), id: try row.text("resource_id"),
                    name: try row.text("resource_name")),
                detail: try row.text("detail"), data: try row.json("data"))
        }
    }

    /// The number of the newest event, 0 if there is none.
    public func lastSequence() throws -> Int64 {
        try sql.query("SELECT MAX(sequence) AS n FROM events")[0].optionalInteger("n") ?? 0
    }
}

/// Answers to requests with an `Idempotency-Key`, kept in the transaction that did what was asked.
public struct IdempotencyRepository {
    let sql: Transaction

    public struct Answer: Sendable, Equatable {
        /// SHA-256 of method, path and body.
        public var requestDigest: ContentDigest
        public var status: Int
        public var headers: [String: String]
        public var body: [UInt8]

        public init(requestDigest: ContentDigest, status: Int, headers: [String: String], body: [UInt8]) {
            self.requestDigest = requestDigest
            self.status = status
            self.headers = headers
            self.body = body
        }
    }

    public func find(user: UserID, key: String) throws -> Answer? {
        try sql.query("SELECT * FROM idempotency_keys WHERE user_id = ? AND idempotency_key = ?", user, key).first.map {
            guard let digest = try $0.optionalDigest("request_digest") else {
                throw StoreError.corrupt("request digest")
            }
            return Answer(
                requestDigest: digest, status: try $0.int("status"), headers: try $0.json("headers"),
                body: try $0.blob("body"))
        }
    }

    public func insert(_ answer: Answer, user: UserID, key: String, at now: Timestamp) throws {
        try sql.execute(
            """
            INSERT INTO idempotency_keys (user_id, idempotency_key, request_digest, status, headers, body, created_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            user, key, answer.requestDigest, answer.status, try jsonText(answer.headers), answer.body, now)
    }

    public func remove(before moment: Timestamp) throws {
        try sql.execute("DELETE FROM idempotency_keys WHERE created_at < ?", moment)
    }
}

/// Facts about the site as a whole, such as its ID.
public struct SiteSettingRepository {
    let sql: Transaction

    public func value(_ name: String) throws -> String? {
        try sql.query("SELECT value FROM settings WHERE name = ?", name).first.map { try $0.text("value") }
    }

    public func set(_ name: String, _ value: String) throws {
        if try self.value(name) == nil {
            try sql.execute("INSERT INTO settings (name, value) VALUES (?, ?)", name, value)
        } else {
            try sql.execute("UPDATE settings SET value = ? WHERE name = ?", value, name)
        }
    }
}
