extension Migration {
    /// Limits, and what they are compared with: counters that change in the transaction of each claim.
    ///
    /// An instance made before has no GPU: no version until now gave any.
    static let quotas = Migration(
        number: 14, name: "quotas",
        statements: [
            """
            CREATE TABLE IF NOT EXISTS quotas (
                subject_kind VARCHAR(16) NOT NULL, subject VARCHAR(64) NOT NULL, resource VARCHAR(16) NOT NULL,
                flavor_id VARCHAR(36) NOT NULL, maximum BIGINT NOT NULL,
                PRIMARY KEY (subject_kind, subject, resource, flavor_id))
            """,
            """
            CREATE TABLE IF NOT EXISTS quota_use (
                subject_kind VARCHAR(16) NOT NULL, subject VARCHAR(64) NOT NULL, flavor_id VARCHAR(36) NOT NULL,
                instances BIGINT NOT NULL DEFAULT 0, vcpus BIGINT NOT NULL DEFAULT 0, ram_mib BIGINT NOT NULL DEFAULT 0,
                disk_gib BIGINT NOT NULL DEFAULT 0, gpus BIGINT NOT NULL DEFAULT 0, images BIGINT NOT NULL DEFAULT 0,
                PRIMARY KEY (subject_kind, subject, flavor_id))
            """,
            "ALTER TABLE instances ADD COLUMN IF NOT EXISTS gpus BIGINT NOT NULL DEFAULT 0",
            "DELETE FROM quota_use",
        ] + QuotaCount.filling)
}
