extension Migration {
    /// Chains that are planned anew while they run: which images are on their way, and how fast nodes were.
    static let chains = Migration(
        number: 8, name: "chains",
        statements: [
            "CREATE INDEX IF NOT EXISTS image_placements_state ON image_placements (state, image_id)",
            """
            CREATE TABLE IF NOT EXISTS image_throughput (
                node_id VARCHAR(36) NOT NULL PRIMARY KEY, bytes_per_second BIGINT NOT NULL, measured_at BIGINT NOT NULL)
            """,
        ])
}
