public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var queue: QueueRepository { QueueRepository(sql: self) }
}

/// Instances that wait for room, in the order in which they are looked at.
public struct QueueRepository {
    let sql: Transaction

    private static let order = "ORDER BY queue_rank, instance_id"

    public func isEmpty() throws -> Bool { try sql.query("SELECT 1 FROM placement_queue LIMIT 1").isEmpty }

    public func count() throws -> Int { try sql.query("SELECT COUNT(*) AS n FROM placement_queue")[0].int("n") }

    public func find(_ instance: InstanceID) throws -> QueueEntry? {
        try sql.query("SELECT * FROM placement_queue WHERE instance_id = ?", instance).first.map(QueueEntry.init(row:))
    }

    /// The first of them.
    public func list(limit: Int) throws -> [QueueEntry] {
        try sql.query("SELECT * FROM placement_queue \(Self.order) LIMIT ?", limit).map(QueueEntry.init(row:))
    }

    /// Those for whom a host is kept, in their order.
    ///
    /// - Parameter fromPreemptible: whether with those that may be preempted, who keep nothing from others.
    public func reservations(fromPreemptible: Bool) throws -> [QueueEntry] {
        try sql.query(
            """
            SELECT * FROM placement_queue WHERE reserved_node_id IS NOT NULL AND is_preemptible <= ? \(Self.order)
            """, fromPreemptible ? 1 : 0
        ).map(QueueEntry.init(row:))
    }

    /// All that wait, in their order: to say where each stands.
    public func order() throws -> [InstanceID] {
        try sql.query("SELECT instance_id FROM placement_queue \(Self.order)").map { try $0.id("instance_id") }
    }

    /// How many would be ahead of one that came with this rank.
    public func count(before rank: Int64) throws -> Int {
        try sql.query("SELECT COUNT(*) AS n FROM placement_queue WHERE queue_rank < ?", rank)[0].int("n")
    }

    public func insert(_ entry: QueueEntry) throws {
        try sql.execute(
            """
            INSERT INTO placement_queue (instance_id, queue_rank, priority, queued_at, wish, overtaken, reserved_node_id,
                is_preemptible, reason, reason_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            entry.instance, entry.rank, entry.priority, entry.queuedAt, try jsonText(entry.wish), entry.overtaken,
            entry.reserved, entry.isPreemptible, entry.reason, entry.reasonAt)
    }

    /// Keeps a host for one that waits, or none any more; a later one of its kind that had it looks for another.
    public func reserve(_ node: NodeID?, for entry: QueueEntry) throws {
        if let node {
            try sql.execute(
                """
                UPDATE placement_queue SET reserved_node_id = NULL
                WHERE reserved_node_id = ? AND is_preemptible = ? AND instance_id <> ?
                """, node, entry.isPreemptible, entry.instance)
        }
        try sql.execute("UPDATE placement_queue SET reserved_node_id = ? WHERE instance_id = ?", node, entry.instance)
    }

    public func setReason(_ reason: String, of instance: InstanceID, at now: Timestamp) throws {
        try sql.execute(
            "UPDATE placement_queue SET reason = ?, reason_at = ? WHERE instance_id = ?", reason, now, instance)
    }

    /// One was placed: those that are ahead of it, and go on waiting, were overtaken.
    public func overtake(_ entry: QueueEntry) throws {
        try sql.execute(
            """
            UPDATE placement_queue SET overtaken = overtaken + 1
            WHERE queue_rank < ? OR (queue_rank = ? AND instance_id < ?)
            """, entry.rank, entry.rank, entry.instance)
    }

    public func remove(_ instance: InstanceID) throws {
        try sql.execute("DELETE FROM placement_queue WHERE instance_id = ?", instance)
    }
}

extension QueueEntry {
    init(row: SQLRow) throws {
        self.init(
            instance: try row.id("instance_id"), priority: try row.int("priority"),
            queuedAt: try row.timestamp("queued_at"), wish: try row.json("wish"), overtaken: try row.int("overtaken"),
            reserved: try row.optionalID("reserved_node_id"), isPreemptible: try row.flag("is_preemptible"),
            reason: try row.text("reason"), reasonAt: try row.timestamp("reason_at"))
    }
}
