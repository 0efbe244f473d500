extension StoreCheck {
    /// Who has no host waits for one, and who waits has no part of one but the disk.
    mutating func queue() throws {
        for row in try sql.query(
            """
            SELECT i.id AS id FROM instances i LEFT JOIN placement_queue q ON q.instance_id = i.id
            WHERE q.instance_id IS NULL AND i.node_id = '' AND i.status <> 'DELETED' LIMIT 100
            """)
        {
            find("queue", "instance \(try row.text("id"))", "it has no node, and does not wait for one")
        }
        for row in try sql.query(
            """
            SELECT i.id AS id, i.status AS status FROM placement_queue q JOIN instances i ON i.id = q.instance_id
            WHERE i.status <> 'QUEUED' OR (i.node_id <> '' AND i.desired <> 'stopped') LIMIT 100
            """)
        {
            find(
                "queue", "instance \(try row.text("id"))",
                "it waits for room, and is \(try row.text("status")) on a node")
        }
        for row in try sql.query(
            """
            SELECT d.id AS id, q.instance_id AS instance_id FROM devices d
            JOIN placement_queue q ON q.instance_id = d.instance_id LIMIT 100
            """)
        {
            find("queue", "device \(try row.text("id"))", "instance \(try row.text("instance_id")) has it, and waits")
        }
        for row in try sql.query(
            """
            SELECT reserved_node_id AS node, COUNT(*) AS n FROM placement_queue WHERE reserved_node_id IS NOT NULL
            GROUP BY reserved_node_id, is_preemptible HAVING COUNT(*) > 1
            """)
        {
            find("queue", "node \(try row.text("node"))", "it is kept for \(try row.int("n")) instances at once")
        }
    }
}
