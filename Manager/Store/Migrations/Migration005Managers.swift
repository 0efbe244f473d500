extension Migration {
    /// Several managers on one record: who they are, who leads, what each tells the others.
    static let managers = Migration(
        number: 5, name: "managers",
        statements: [
            """
            CREATE TABLE IF NOT EXISTS managers (
                id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(253) NOT NULL, api_address VARCHAR(300) NOT NULL,
                agent_address VARCHAR(300) NOT NULL, chunk_address VARCHAR(300) NOT NULL, version VARCHAR(32) NOT NULL,
                started_at BIGINT NOT NULL, renewals BIGINT NOT NULL)
            """,
            """
            CREATE TABLE IF NOT EXISTS leadership (
                id BIGINT NOT NULL PRIMARY KEY, holder VARCHAR(36), term BIGINT NOT NULL, renewals BIGINT NOT NULL,
                resign_term BIGINT)
            """,
            """
            CREATE TABLE IF NOT EXISTS change_feed (
                sequence BIGINT NOT NULL PRIMARY KEY, writer VARCHAR(36) NOT NULL, changes TEXT NOT NULL)
            """,
            """
            CREATE TABLE IF NOT EXISTS image_files (
                image_id VARCHAR(36) NOT NULL PRIMARY KEY, manager_id VARCHAR(36) NOT NULL)
            """,
        ])
}
