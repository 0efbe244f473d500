extension Migration {
    /// Devices that guests could be given, and the site's rules about them.
    static let devices = Migration(
        number: 18, name: "devices",
        statements: [
            """
            CREATE TABLE IF NOT EXISTS device_rules (
                id VARCHAR(36) NOT NULL PRIMARY KEY, action VARCHAR(16) NOT NULL, alias VARCHAR(64) NOT NULL,
                match_text TEXT NOT NULL, description VARCHAR(256) NOT NULL, created_at BIGINT NOT NULL,
                updated_at BIGINT NOT NULL)
            """,
            """
            CREATE TABLE IF NOT EXISTS devices (
                id VARCHAR(36) NOT NULL PRIMARY KEY, node_id VARCHAR(36) NOT NULL, address VARCHAR(16) NOT NULL,
                facts TEXT NOT NULL, present BIGINT NOT NULL, status VARCHAR(16) NOT NULL, aliases TEXT NOT NULL,
                objection TEXT, quarantine_reason TEXT, quarantined_at BIGINT, first_seen_at BIGINT NOT NULL,
                changed_at BIGINT NOT NULL, instance_id VARCHAR(36), claimed_alias VARCHAR(64), claimed_at BIGINT,
                UNIQUE (node_id, address))
            """,
            "CREATE INDEX IF NOT EXISTS devices_by_instance ON devices (instance_id)",
            // What the instance's flavor asked for when it was created: `a100:2,t4:1`.
            "ALTER TABLE instances ADD COLUMN IF NOT EXISTS devices TEXT",
        ])
}
