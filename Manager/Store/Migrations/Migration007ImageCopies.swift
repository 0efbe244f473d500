extension Migration {
    /// What nodes say of their copies of images, and copies that are to stay whatever room is needed.
    static let imageCopies = Migration(
        number: 7, name: "image copies",
        statements: [
            """
            CREATE TABLE IF NOT EXISTS image_copies (
                image_id VARCHAR(36) NOT NULL, node_id VARCHAR(36) NOT NULL, disk_bytes BIGINT NOT NULL,
                held_since BIGINT, last_used_at BIGINT, verified_at BIGINT, corrupt_chunks BIGINT NOT NULL,
                PRIMARY KEY (image_id, node_id))
            """,
            "CREATE INDEX IF NOT EXISTS image_copies_node ON image_copies (node_id)",
            """
            CREATE TABLE IF NOT EXISTS image_pins (
                image_id VARCHAR(36) NOT NULL, node_id VARCHAR(36) NOT NULL, pinned_at BIGINT NOT NULL,
                PRIMARY KEY (image_id, node_id))
            """,
            "CREATE INDEX IF NOT EXISTS image_pins_node ON image_pins (node_id)",
        ])
}
