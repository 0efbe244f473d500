extension Migration {
    /// The event log with its causes and with what changed; what `events` held is taken over. It is dropped by a migration of
    /// its own, so that each statement here may run again.
    static let eventLog = Migration(
        number: 2, name: "event log",
        statements: [
            """
            CREATE TABLE IF NOT EXISTS event_log (
                sequence BIGINT NOT NULL PRIMARY KEY, at BIGINT NOT NULL, kind VARCHAR(64) NOT NULL,
                actor VARCHAR(64) NOT NULL, actor_id VARCHAR(36), owner_id VARCHAR(36), resource_kind VARCHAR(16) NOT NULL,
                resource_id VARCHAR(36) NOT NULL, resource_name VARCHAR(253) NOT NULL, detail TEXT NOT NULL,
                data TEXT NOT NULL, request_id VARCHAR(64), operation_id VARCHAR(36), changes TEXT NOT NULL)
            """,
            """
            INSERT INTO event_log (sequence, at, kind, actor, owner_id, resource_kind, resource_id, resource_name, detail,
                data, changes)
            SELECT sequence, at, kind, actor, owner_id, resource_kind, resource_id, resource_name, detail, data, '{}'
            FROM events WHERE sequence NOT IN (SELECT sequence FROM event_log)
            """,
            "CREATE INDEX IF NOT EXISTS event_log_owner ON event_log (owner_id, sequence)",
            "CREATE INDEX IF NOT EXISTS event_log_resource ON event_log (resource_id, sequence)",
            """
            CREATE TABLE IF NOT EXISTS retired_instances (
                id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(128) NOT NULL, flavor VARCHAR(64) NOT NULL,
                deleted_at BIGINT NOT NULL)
            """,
        ])

    static let oldEvents = Migration(number: 4, name: "old events", statements: ["DROP TABLE IF EXISTS events"])
}
