extension Migration {
    /// Sets of devices that go together, limits by alias, and what an instance is given in rows of its own: what limits and
    /// hours are counted from. What placement and rules read of every device gets columns.
    static let deviceSets = Migration(
        number: 24, name: "device sets",
        statements: [
            "ALTER TABLE device_rules ADD COLUMN IF NOT EXISTS sets TEXT",
            "ALTER TABLE devices ADD COLUMN IF NOT EXISTS partitions TEXT",
            "ALTER TABLE devices ADD COLUMN IF NOT EXISTS iommu_group BIGINT",
            "ALTER TABLE devices ADD COLUMN IF NOT EXISTS numa_node BIGINT",
            "ALTER TABLE devices ADD COLUMN IF NOT EXISTS objection_kind VARCHAR(16)",
            """
            UPDATE devices SET iommu_group = CAST(JSON_EXTRACT(facts, '$.iommuGroup') AS INTEGER),
                numa_node = CAST(JSON_EXTRACT(facts, '$.numaNode') AS INTEGER)
            """,
            """
            UPDATE devices SET objection_kind = CASE WHEN objection IS NULL THEN NULL
                WHEN objection LIKE 'no rule gives it an alias;%' THEN 'nameless'
                WHEN objection LIKE 'a rule denies it (%' THEN 'denied'
                WHEN objection LIKE 'there are rules that allow devices,%' THEN 'unlisted' ELSE 'host' END
            """,
            // Kept when the instance is pruned: its use stays in reports.
            """
            CREATE TABLE IF NOT EXISTS instance_devices (
                instance_id VARCHAR(36) NOT NULL, alias VARCHAR(64) NOT NULL, devices BIGINT NOT NULL,
                PRIMARY KEY (instance_id, alias))
            """,
            "DELETE FROM instance_devices",
            """
            INSERT INTO instance_devices (instance_id, alias, devices)
            WITH RECURSIVE parts (id, part, rest) AS (
                SELECT id, CASE INSTR(devices, ',') WHEN 0 THEN devices ELSE SUBSTR(devices, 1, INSTR(devices, ',') - 1) END,
                    CASE INSTR(devices, ',') WHEN 0 THEN '' ELSE SUBSTR(devices, INSTR(devices, ',') + 1) END
                FROM instances WHERE devices IS NOT NULL
                UNION ALL
                SELECT id, CASE INSTR(rest, ',') WHEN 0 THEN rest ELSE SUBSTR(rest, 1, INSTR(rest, ',') - 1) END,
                    CASE INSTR(rest, ',') WHEN 0 THEN '' ELSE SUBSTR(rest, INSTR(rest, ',') + 1) END
                FROM parts WHERE rest <> '')
            SELECT id, SUBSTR(part, 1, INSTR(part, ':') - 1), SUM(CAST(SUBSTR(part, INSTR(part, ':') + 1) AS INTEGER))
            FROM parts WHERE INSTR(part, ':') > 1 GROUP BY id, SUBSTR(part, 1, INSTR(part, ':') - 1)
            """,
            """
            CREATE TABLE IF NOT EXISTS device_quotas (
                subject_kind VARCHAR(16) NOT NULL, subject VARCHAR(64) NOT NULL, alias VARCHAR(64) NOT NULL,
                maximum BIGINT NOT NULL, PRIMARY KEY (subject_kind, subject, alias))
            """,
            """
            CREATE TABLE IF NOT EXISTS device_quota_use (
                subject_kind VARCHAR(16) NOT NULL, subject VARCHAR(64) NOT NULL, alias VARCHAR(64) NOT NULL,
                devices BIGINT NOT NULL, PRIMARY KEY (subject_kind, subject, alias))
            """,
            "DELETE FROM device_quota_use",
        ] + DeviceQuotaCount.filling)
}
