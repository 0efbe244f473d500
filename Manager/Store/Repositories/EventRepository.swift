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

    /// Which events a list holds; what is not set does not matter.
    public struct Filter: Sendable, Equatable {
        /// By ID or name.
        public var actor: String?
        /// By ID or name.
        public var resource: String?
        /// A kind such as `instance.created`, or the word before its dot, such as `instance`.
        public var kind: String?
        public var request: String?
        public var operation: OperationID?
        public var since: Timestamp?
        /// Before this.
        public var until: Timestamp?
        public var address: String?
        public var credential: String?
        /// By ID or name: who acted as another.
        public var impersonator: String?
        public var outcome: Event.Outcome?

        public init() {}
    }

    /// Appends and numbers an event.
    ///
    /// - Parameters:
    ///   - operation: the operation that the change is a step of.
    ///   - changes: what changed, without secrets.
    @discardableResult
    public func append(
        _ kind: String, actor: Actor, owner: UserID?, resource: ResourceReference, detail: String = "",
        data: [String: String] = [:], operation: OperationID? = nil, changes: [String: Event.Difference] = [:],
        outcome: Event.Outcome = .done, at now: Timestamp
    ) throws -> Int64 {
        // The newest event is never pruned, so a number is never given twice.
        let number = try (sql.lastEvent ?? lastSequence()) + 1
        try sql.execute(
            """
            INSERT INTO event_log (sequence, at, kind, actor, actor_id, owner_id, resource_kind, resource_id, resource_name,
                detail, data, request_id, operation_id, changes, address, credential, impersonator_id, impersonator, outcome)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            number, now, kind, actor.name, actor.user, owner, resource.kind, resource.id, resource.name, detail,
            try jsonText(data), actor.request, operation, try jsonText(changes), actor.address, actor.credential,
            actor.impersonator?.user, actor.impersonator?.name, outcome.rawValue)
        sql.lastEvent = number
        sql.note(.events(last: number))
        return number
    }

    /// Events after a sequence number, oldest first.
    public func list(
        after sequence: Int64, _ scope: Scope, _ filter: Filter = Filter(), limit: Int
    ) throws -> [Event] {
        var conditions = Conditions()
        conditions.add("sequence > ?", sequence)
        conditions.add(scope)
        if let actor = filter.actor {
            conditions.add(UserID(actor) == nil ? "actor = ?" : "actor_id = ?", UserID(actor)?.description ?? actor)
        }
        if let resource = filter.resource {
            let id = Self.identifier(resource)
            conditions.add(id == nil ? "resource_name = ?" : "resource_id = ?", id ?? resource)
        }
        if let kind = filter.kind {
            if kind.contains(".") {
                conditions.add("kind = ?", kind)
            } else {
                conditions.add("(kind = ? OR (kind >= ? AND kind < ?))", kind, kind + ".", kind + "/")
            }
        }
        if let request = filter.request { conditions.add("request_id = ?", request) }
        if let operation = filter.operation { conditions.add("operation_id = ?", operation) }
        if let since = filter.since { conditions.add("at >= ?", since) }
        if let until = filter.until { conditions.add("at < ?", until) }
        if let address = filter.address { conditions.add("address = ?", address) }
        if let credential = filter.credential { conditions.add("credential = ?", credential) }
        if let impersonator = filter.impersonator {
            conditions.add(
                UserID(impersonator) == nil ? "impersonator = ?" : "impersonator_id = ?",
                UserID(impersonator)?.description ?? impersonator)
        }
        if let outcome = filter.outcome { conditions.add("outcome = ?", outcome.rawValue) }
        return try sql.query(
            "SELECT * FROM event_log\(conditions.sql) ORDER BY sequence LIMIT ?",
            arguments: conditions.arguments + [limit]
        ).map(Event.init(row:))
    }

    /// An ID of any kind in the form in which it is stored.
    private static func identifier(_ text: String) -> String? { InstanceID(text)?.description }

    /// The number of the newest event, 0 if there is none.
    public func lastSequence() throws -> Int64 {
        try sql.query("SELECT MAX(sequence) AS n FROM event_log")[0].optionalInteger("n") ?? 0
    }

    /// The number of the oldest event that is kept, 1 if there is none.
    public func firstSequence() throws -> Int64 {
        try sql.query("SELECT MIN(sequence) AS n FROM event_log")[0].optionalInteger("n") ?? 1
    }
}

extension Event {
    init(row: SQLRow) throws {
        self.init(
            sequence: try row.integer("sequence"), at: try row.timestamp("at"), kind: try row.text("kind"),
            actor: try row.text("actor"), actorID: try row.optionalID("actor_id"),
            owner: try row.optionalID("owner_id"),
            resource: ResourceReference(
                kind: try row.text("resource_kind"), id: try row.text("resource_id"),
                name: try row.text("resource_name")),
            detail: try row.text("detail"), data: try row.json("data"), request: try row.optionalText("request_id"),
            operation: try row.optionalID("operation_id"), changes: try row.json("changes"),
            address: try row.optionalText("address"), credential: try row.optionalText("credential"),
            impersonator: try Self.impersonator(row), outcome: try row.choice("outcome"))
    }

    private static func impersonator(_ row: SQLRow) throws -> Actor.Impersonator? {
        guard let user: UserID = try row.optionalID("impersonator_id") else { return nil }
        return Actor.Impersonator(user: user, name: try row.text("impersonator"))
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

    /// Forgets old answers.
    ///
    /// - Returns: how many; `limit` at most.
    @discardableResult
    public func remove(before moment: Timestamp, limit: Int = 500) throws -> Int {
        let rows = try sql.query(
            "SELECT user_id, idempotency_key FROM idempotency_keys WHERE created_at < ? ORDER BY created_at LIMIT ?",
            moment, limit)
        for row in rows {
            try sql.execute(
                "DELETE FROM idempotency_keys WHERE user_id = ? AND idempotency_key = ?", try row.text("user_id"),
                try row.text("idempotency_key"))
        }
        return rows.count
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
