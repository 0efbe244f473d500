extension Migration {
    /// Instances that are to be on one host, or on different ones.
    static let serverGroups = Migration(
        number: 20, name: "server_groups",
        statements: [
            """
            CREATE TABLE IF NOT EXISTS server_groups (
                id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL, owner_id VARCHAR(36) NOT NULL,
                policy VARCHAR(32) NOT NULL, max_per_host BIGINT, created_at BIGINT NOT NULL, UNIQUE (owner_id, name))
            """,
            "ALTER TABLE instances ADD COLUMN IF NOT EXISTS server_group_id VARCHAR(36)",
            "CREATE INDEX IF NOT EXISTS instances_server_group ON instances (server_group_id, node_id)",
        ])
}
