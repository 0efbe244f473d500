extension Migration {
    /// What people and programs sign in with, and the keys that sign their tokens.
    static let credentials = Migration(
        number: 13, name: "credentials",
        statements: [
            "ALTER TABLE refresh_tokens ADD COLUMN IF NOT EXISTS client_id VARCHAR(64) NOT NULL DEFAULT 'roost'",
            "ALTER TABLE refresh_tokens ADD COLUMN IF NOT EXISTS scope VARCHAR(2048) NOT NULL DEFAULT '*'",
            "ALTER TABLE refresh_tokens ADD COLUMN IF NOT EXISTS address VARCHAR(64)",
            """
            CREATE TABLE IF NOT EXISTS signing_keys (
                id VARCHAR(64) NOT NULL PRIMARY KEY, public_key BLOB NOT NULL, sealed_key BLOB NOT NULL,
                created_at BIGINT NOT NULL, signs_from BIGINT NOT NULL)
            """,
            """
            CREATE TABLE IF NOT EXISTS token_revocations (
                id VARCHAR(36) NOT NULL PRIMARY KEY, expires_at BIGINT NOT NULL)
            """,
            "CREATE INDEX IF NOT EXISTS token_revocations_end ON token_revocations (expires_at)",
            """
            CREATE TABLE IF NOT EXISTS api_keys (
                id VARCHAR(36) NOT NULL PRIMARY KEY, user_id VARCHAR(36) NOT NULL, name VARCHAR(64) NOT NULL,
                secret_hash DIGEST NOT NULL, scopes TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT,
                last_used_at BIGINT, last_used_from VARCHAR(64), UNIQUE (user_id, name))
            """,
            """
            CREATE TABLE IF NOT EXISTS device_grants (
                hash DIGEST NOT NULL PRIMARY KEY, user_code VARCHAR(16) NOT NULL UNIQUE, client_id VARCHAR(64) NOT NULL,
                scope TEXT NOT NULL, status VARCHAR(16) NOT NULL, user_id VARCHAR(36), created_at BIGINT NOT NULL,
                expires_at BIGINT NOT NULL, interval_seconds BIGINT NOT NULL, polled_at BIGINT)
            """,
            """
            CREATE TABLE IF NOT EXISTS authorization_codes (
                hash DIGEST NOT NULL PRIMARY KEY, client_id VARCHAR(64) NOT NULL, redirect TEXT NOT NULL,
                challenge VARCHAR(64) NOT NULL, scope TEXT NOT NULL, user_id VARCHAR(36) NOT NULL,
                session_id VARCHAR(36) NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, used_at BIGINT)
            """,
        ])
}
