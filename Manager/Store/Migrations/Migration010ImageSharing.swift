extension Migration {
    /// Accounts that an image is shared with, protection, and what is expected of a file that is still to come.
    static let imageSharing = Migration(
        number: 10, name: "image sharing",
        statements: [
            "ALTER TABLE images ADD COLUMN IF NOT EXISTS is_protected BIGINT NOT NULL DEFAULT 0",
            "ALTER TABLE images ADD COLUMN IF NOT EXISTS expected_bytes BIGINT",
            "ALTER TABLE images ADD COLUMN IF NOT EXISTS expected_checksum DIGEST",
            """
            CREATE TABLE IF NOT EXISTS image_shares (
                image_id VARCHAR(36) NOT NULL, account VARCHAR(64) NOT NULL, created_at BIGINT NOT NULL,
                PRIMARY KEY (image_id, account))
            """,
            "CREATE INDEX IF NOT EXISTS image_shares_account ON image_shares (account)",
        ])
}
