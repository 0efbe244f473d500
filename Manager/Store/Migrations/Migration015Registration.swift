extension Migration {
    /// Who may register, and links that were mailed.
    static let registration = Migration(
        number: 15, name: "registration",
        statements: [
            """
            CREATE TABLE IF NOT EXISTS registration_entries (
                id VARCHAR(36) NOT NULL PRIMARY KEY, pattern VARCHAR(254) NOT NULL UNIQUE, description TEXT NOT NULL,
                created_at BIGINT NOT NULL)
            """,
            """
            CREATE TABLE IF NOT EXISTS mailed_links (
                hash DIGEST NOT NULL PRIMARY KEY, purpose VARCHAR(16) NOT NULL, email VARCHAR(254) NOT NULL,
                user_id VARCHAR(36), created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, used_at BIGINT)
            """,
            "CREATE INDEX IF NOT EXISTS mailed_links_expires ON mailed_links (expires_at)",
        ])
}
