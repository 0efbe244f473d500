extension Migration {
    /// Groups of nodes, images that groups are to have, and what holds a copy's transfer up or hastens it.
    static let prefill = Migration(
        number: 6, name: "prefill",
        statements: [
            """
            CREATE TABLE IF NOT EXISTS aggregates (
                id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL UNIQUE, metadata TEXT NOT NULL,
                created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL)
            """,
            """
            CREATE TABLE IF NOT EXISTS aggregate_nodes (
                aggregate_id VARCHAR(36) NOT NULL, node_id VARCHAR(36) NOT NULL, PRIMARY KEY (aggregate_id, node_id))
            """,
            "CREATE INDEX IF NOT EXISTS aggregate_nodes_node ON aggregate_nodes (node_id)",
            """
            CREATE TABLE IF NOT EXISTS prefill_policies (
                id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(128) NOT NULL UNIQUE, image VARCHAR(128) NOT NULL,
                aggregate_id VARCHAR(36), enabled BIGINT NOT NULL, owner_id VARCHAR(36) NOT NULL,
                created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL)
            """,
            "ALTER TABLE image_placements ADD COLUMN IF NOT EXISTS paused BIGINT NOT NULL DEFAULT 0",
            "ALTER TABLE image_placements ADD COLUMN IF NOT EXISTS priority VARCHAR(16) NOT NULL DEFAULT 'prefill'",
            "ALTER TABLE nodes ADD COLUMN IF NOT EXISTS transfer_limits TEXT",
        ])
}
