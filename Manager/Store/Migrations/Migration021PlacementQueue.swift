extension Migration {
    /// Instances that wait for room, and those that yield theirs.
    static let placementQueue = Migration(
        number: 21, name: "placement_queue",
        statements: [
            """
            CREATE TABLE IF NOT EXISTS placement_queue (
                instance_id VARCHAR(36) NOT NULL PRIMARY KEY, queue_rank BIGINT NOT NULL, priority BIGINT NOT NULL,
                queued_at BIGINT NOT NULL, wish TEXT NOT NULL, overtaken BIGINT NOT NULL, reserved_node_id VARCHAR(36),
                is_preemptible BIGINT NOT NULL, reason TEXT NOT NULL, reason_at BIGINT NOT NULL)
            """,
            "CREATE INDEX IF NOT EXISTS placement_queue_order ON placement_queue (queue_rank, instance_id)",
            "CREATE INDEX IF NOT EXISTS placement_queue_reserved ON placement_queue (reserved_node_id)",
            "ALTER TABLE instances ADD COLUMN IF NOT EXISTS priority BIGINT NOT NULL DEFAULT 0",
            // `queue` or `stop`; NULL: it never yields.
            "ALTER TABLE instances ADD COLUMN IF NOT EXISTS preemption VARCHAR(16)",
            "ALTER TABLE instances ADD COLUMN IF NOT EXISTS room VARCHAR(16) NOT NULL DEFAULT 'held'",
            "CREATE INDEX IF NOT EXISTS instances_preemption ON instances (preemption)",
        ])
}
