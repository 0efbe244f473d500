extension Migration {
    /// What placement is told of a node: whether its overcommit ratios are its own or follow its aggregates, and whether it may
    /// be taken back at any time. A ratio that was changed before is the node's own.
    static let placement = Migration(
        number: 16, name: "placement",
        statements: [
            "ALTER TABLE nodes ADD COLUMN IF NOT EXISTS own_ratios BIGINT NOT NULL DEFAULT 0",
            """
            UPDATE nodes SET own_ratios = CASE WHEN cpu_allocation_ratio <> 4 THEN 1 ELSE 0 END
                + CASE WHEN ram_allocation_ratio <> 1 THEN 2 ELSE 0 END
                + CASE WHEN disk_allocation_ratio <> 1 THEN 4 ELSE 0 END
            """,
            "ALTER TABLE nodes ADD COLUMN IF NOT EXISTS is_opportunistic BIGINT NOT NULL DEFAULT 0",
        ])
}
