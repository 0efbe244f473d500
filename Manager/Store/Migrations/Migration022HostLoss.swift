extension Migration {
    /// Hosts that vanish, and what their instances do then.
    static let hostLoss = Migration(
        number: 22, name: "host loss",
        statements: [
            "ALTER TABLE nodes ADD COLUMN IF NOT EXISTS loss TEXT",
            "ALTER TABLE instances ADD COLUMN IF NOT EXISTS on_host_loss VARCHAR(16)",
            "ALTER TABLE instances ADD COLUMN IF NOT EXISTS host_loss_unconfirmed BIGINT",
            "ALTER TABLE instances ADD COLUMN IF NOT EXISTS placement_limits TEXT",
            """
            CREATE TABLE IF NOT EXISTS former_placements (
                node_id VARCHAR(36) NOT NULL, instance_id VARCHAR(36) NOT NULL, epoch BIGINT NOT NULL,
                generation BIGINT NOT NULL, image_id VARCHAR(36) NOT NULL, ip_address VARCHAR(64), moved_at BIGINT NOT NULL,
                gone BIGINT NOT NULL, assignment_revision BIGINT NOT NULL, PRIMARY KEY (node_id, instance_id))
            """,
            "CREATE INDEX IF NOT EXISTS former_placements_instance ON former_placements (instance_id)",
        ])
}
