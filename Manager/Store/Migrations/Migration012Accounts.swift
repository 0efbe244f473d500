extension Migration {
    /// Accounts, groups, the site's own roles; what a user is beside a name and a role; by what and from where an event came.
    static let accounts = Migration(
        number: 12, name: "accounts",
        statements: [
            """
            CREATE TABLE IF NOT EXISTS accounts (
                id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL UNIQUE, description TEXT NOT NULL,
                owner_id VARCHAR(36), enabled BIGINT NOT NULL, created_at BIGINT NOT NULL)
            """,
            """
            INSERT INTO accounts (id, name, description, enabled, created_at)
            SELECT '00000000-0000-7000-8000-000000000001', 'default', 'whoever is in no other account', 1, applied_at
            FROM schema_migrations
            WHERE number = 1 AND NOT EXISTS (SELECT 1 FROM accounts WHERE name = 'default')
            """,
            """
            CREATE TABLE IF NOT EXISTS user_groups (
                id VARCHAR(36) NOT NULL PRIMARY KEY, account VARCHAR(64) NOT NULL, name VARCHAR(64) NOT NULL,
                description TEXT NOT NULL, created_at BIGINT NOT NULL, UNIQUE (account, name))
            """,
            """
            CREATE TABLE IF NOT EXISTS group_members (
                group_id VARCHAR(36) NOT NULL, user_id VARCHAR(36) NOT NULL, PRIMARY KEY (group_id, user_id))
            """,
            "CREATE INDEX IF NOT EXISTS group_members_user ON group_members (user_id)",
            """
            CREATE TABLE IF NOT EXISTS roles (
                name VARCHAR(32) NOT NULL PRIMARY KEY, description TEXT NOT NULL, permissions TEXT NOT NULL,
                created_at BIGINT NOT NULL)
            """,
            "ALTER TABLE users ADD COLUMN IF NOT EXISTS extra_roles TEXT",
            "ALTER TABLE users ADD COLUMN IF NOT EXISTS full_name VARCHAR(128) NOT NULL DEFAULT ''",
            "ALTER TABLE users ADD COLUMN IF NOT EXISTS unix_name VARCHAR(64)",
            "ALTER TABLE users ADD COLUMN IF NOT EXISTS source VARCHAR(16) NOT NULL DEFAULT 'local'",
            "ALTER TABLE users ADD COLUMN IF NOT EXISTS must_change_password BIGINT NOT NULL DEFAULT 0",
            "ALTER TABLE users ADD COLUMN IF NOT EXISTS last_sign_in_at BIGINT",
            "CREATE INDEX IF NOT EXISTS users_account ON users (account, id)",
            "ALTER TABLE event_log ADD COLUMN IF NOT EXISTS address VARCHAR(64)",
            "ALTER TABLE event_log ADD COLUMN IF NOT EXISTS credential VARCHAR(64)",
            "ALTER TABLE event_log ADD COLUMN IF NOT EXISTS impersonator_id VARCHAR(36)",
            "ALTER TABLE event_log ADD COLUMN IF NOT EXISTS impersonator VARCHAR(64)",
            "ALTER TABLE event_log ADD COLUMN IF NOT EXISTS outcome VARCHAR(16) NOT NULL DEFAULT 'done'",
        ])
}
