extension Migration {
    /// Images that are being made of instances' disks.
    static let imageCaptures = Migration(
        number: 11, name: "image captures",
        statements: [
            """
            CREATE TABLE IF NOT EXISTS image_captures (
                image_id VARCHAR(36) NOT NULL PRIMARY KEY, instance_id VARCHAR(36) NOT NULL, node_id VARCHAR(36) NOT NULL,
                state VARCHAR(16) NOT NULL, manifest_digest DIGEST, size_bytes BIGINT, requested_at BIGINT NOT NULL)
            """,
            "CREATE INDEX IF NOT EXISTS image_captures_node ON image_captures (node_id)",
            "CREATE INDEX IF NOT EXISTS image_captures_instance ON image_captures (instance_id)",
        ])
}
