extension Migration {
    /// The first schema. Identifiers are 36-character text, times milliseconds since 1970, JSON where nothing is searched.
    static let initial = Migration(
        number: 1, name: "initial",
        statements: [
            """
            CREATE TABLE IF NOT EXISTS counters (name VARCHAR(40) NOT NULL PRIMARY KEY, value BIGINT NOT NULL)
            """,
            """
            CREATE TABLE IF NOT EXISTS settings (name VARCHAR(100) NOT NULL PRIMARY KEY, value TEXT NOT NULL)
            """,
            """
            CREATE TABLE IF NOT EXISTS users (
                id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL UNIQUE, role VARCHAR(32) NOT NULL,
                account VARCHAR(64) NOT NULL, email VARCHAR(254), enabled BIGINT NOT NULL, password_hash TEXT NOT NULL,
                tokens_valid_after BIGINT NOT NULL, created_at BIGINT NOT NULL)
            """,
            """
            CREATE TABLE IF NOT EXISTS refresh_tokens (
                hash DIGEST NOT NULL PRIMARY KEY, family VARCHAR(36) NOT NULL, user_id VARCHAR(36) NOT NULL,
                created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, replaced_at BIGINT)
            """,
            "CREATE INDEX IF NOT EXISTS refresh_tokens_family ON refresh_tokens (family)",
            "CREATE INDEX IF NOT EXISTS refresh_tokens_user ON refresh_tokens (user_id)",
            """
            CREATE TABLE IF NOT EXISTS keypairs (
                id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL, owner_id VARCHAR(36) NOT NULL,
                type VARCHAR(64) NOT NULL, fingerprint VARCHAR(100) NOT NULL, public_key TEXT NOT NULL,
                created_at BIGINT NOT NULL, UNIQUE (owner_id, name))
            """,
            """
            CREATE TABLE IF NOT EXISTS flavors (
                id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL UNIQUE, vcpus BIGINT NOT NULL,
                ram_mib BIGINT NOT NULL, disk_gib BIGINT NOT NULL, properties TEXT NOT NULL, created_at BIGINT NOT NULL)
            """,
            """
            CREATE TABLE IF NOT EXISTS images (
                id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(128) NOT NULL, owner_id VARCHAR(36) NOT NULL,
                visibility VARCHAR(16) NOT NULL, status VARCHAR(16) NOT NULL, status_reason TEXT NOT NULL,
                progress BIGINT NOT NULL, format VARCHAR(16), size_bytes BIGINT, upload_bytes BIGINT, checksum DIGEST,
                manifest_digest DIGEST, min_disk_gib BIGINT NOT NULL, min_ram_mib BIGINT NOT NULL, properties TEXT NOT NULL,
                operation_id VARCHAR(36), created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL)
            """,
            "CREATE INDEX IF NOT EXISTS images_name ON images (name)",
            """
            CREATE TABLE IF NOT EXISTS image_placements (
                image_id VARCHAR(36) NOT NULL, node_id VARCHAR(36) NOT NULL, state VARCHAR(16) NOT NULL,
                upstream_id VARCHAR(36), chunks_held BIGINT NOT NULL, chunks_total BIGINT NOT NULL,
                bytes_received BIGINT NOT NULL, reason TEXT NOT NULL, operation_id VARCHAR(36),
                assignment_revision BIGINT NOT NULL, requested_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
                PRIMARY KEY (image_id, node_id))
            """,
            "CREATE INDEX IF NOT EXISTS image_placements_node ON image_placements (node_id, assignment_revision)",
            "CREATE INDEX IF NOT EXISTS image_placements_upstream ON image_placements (upstream_id)",
            """
            CREATE TABLE IF NOT EXISTS nodes (
                id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(253) NOT NULL UNIQUE, enabled BIGINT NOT NULL,
                disabled_reason TEXT NOT NULL, liveness VARCHAR(16) NOT NULL, last_seen_at BIGINT,
                remote_address VARCHAR(64) NOT NULL, software_version VARCHAR(32) NOT NULL, boot_id VARCHAR(36) NOT NULL,
                location VARCHAR(128) NOT NULL, certificate_serial VARCHAR(64) NOT NULL, session_epoch BIGINT NOT NULL,
                assignment_revision BIGINT NOT NULL, drain_state VARCHAR(16) NOT NULL, drain_reason TEXT NOT NULL,
                joined_at BIGINT NOT NULL, inventory TEXT NOT NULL, cpu_allocation_ratio DOUBLE NOT NULL,
                ram_allocation_ratio DOUBLE NOT NULL, disk_allocation_ratio DOUBLE NOT NULL, claimed_vcpus BIGINT NOT NULL,
                claimed_ram_mib BIGINT NOT NULL, claimed_disk_gib BIGINT NOT NULL, instance_count BIGINT NOT NULL)
            """,
            """
            CREATE TABLE IF NOT EXISTS revoked_certificates (
                serial VARCHAR(64) NOT NULL PRIMARY KEY, node_id VARCHAR(36) NOT NULL, revoked_at BIGINT NOT NULL)
            """,
            """
            CREATE TABLE IF NOT EXISTS join_tokens (
                id VARCHAR(36) NOT NULL PRIMARY KEY, secret_hash DIGEST NOT NULL UNIQUE, node_name VARCHAR(253),
                created_by VARCHAR(64) NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, used_at BIGINT)
            """,
            """
            CREATE TABLE IF NOT EXISTS instances (
                id VARCHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(128) NOT NULL, owner_id VARCHAR(36) NOT NULL,
                account VARCHAR(64) NOT NULL, flavor_id VARCHAR(36) NOT NULL, image_id VARCHAR(36) NOT NULL,
                key_name VARCHAR(64), ssh_keys TEXT NOT NULL, user_data BLOB NOT NULL, metadata TEXT NOT NULL,
                host_name VARCHAR(64) NOT NULL, vcpus BIGINT NOT NULL, ram_mib BIGINT NOT NULL, disk_gib BIGINT NOT NULL,
                node_id VARCHAR(36) NOT NULL, epoch BIGINT NOT NULL, mac_address VARCHAR(17) UNIQUE,
                ip_address VARCHAR(45), desired VARCHAR(16) NOT NULL, generation BIGINT NOT NULL,
                power_cycle BIGINT NOT NULL, forced BIGINT NOT NULL, stop_timeout_seconds BIGINT,
                stopped_by_drain BIGINT NOT NULL, status VARCHAR(16) NOT NULL, status_code VARCHAR(64) NOT NULL,
                status_reason TEXT NOT NULL, started_at BIGINT, ready_at BIGINT, operation_id VARCHAR(36),
                created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
                assignment_revision BIGINT NOT NULL, UNIQUE (node_id, ip_address))
            """,
            "CREATE INDEX IF NOT EXISTS instances_owner ON instances (owner_id, id)",
            "CREATE INDEX IF NOT EXISTS instances_name ON instances (name)",
            "CREATE INDEX IF NOT EXISTS instances_node ON instances (node_id, assignment_revision)",
            "CREATE INDEX IF NOT EXISTS instances_image ON instances (image_id)",
            "CREATE INDEX IF NOT EXISTS instances_flavor ON instances (flavor_id)",
            """
            CREATE TABLE IF NOT EXISTS operations (
                id VARCHAR(36) NOT NULL PRIMARY KEY, kind VARCHAR(32) NOT NULL, status VARCHAR(16) NOT NULL,
                progress BIGINT NOT NULL, steps TEXT NOT NULL, resource_kind VARCHAR(16) NOT NULL,
                resource_id VARCHAR(36) NOT NULL, resource_name VARCHAR(253) NOT NULL, owner_id VARCHAR(36),
                parameters TEXT NOT NULL, hosts TEXT NOT NULL, error_code VARCHAR(64), error_detail TEXT,
                created_at BIGINT NOT NULL, finished_at BIGINT)
            """,
            "CREATE INDEX IF NOT EXISTS operations_status ON operations (status, kind)",
            "CREATE INDEX IF NOT EXISTS operations_owner ON operations (owner_id, id)",
            """
            CREATE TABLE IF NOT EXISTS events (
                sequence BIGINT NOT NULL PRIMARY KEY, at BIGINT NOT NULL, kind VARCHAR(64) NOT NULL,
                actor VARCHAR(64) NOT NULL, owner_id VARCHAR(36), resource_kind VARCHAR(16) NOT NULL,
                resource_id VARCHAR(36) NOT NULL, resource_name VARCHAR(253) NOT NULL, detail TEXT NOT NULL,
                data TEXT NOT NULL)
            """,
            "CREATE INDEX IF NOT EXISTS events_owner ON events (owner_id, sequence)",
            """
            CREATE TABLE IF NOT EXISTS idempotency_keys (
                user_id VARCHAR(36) NOT NULL, idempotency_key VARCHAR(255) NOT NULL, request_digest DIGEST NOT NULL,
                status BIGINT NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL, created_at BIGINT NOT NULL,
                PRIMARY KEY (user_id, idempotency_key))
            """,
            "CREATE INDEX IF NOT EXISTS idempotency_keys_age ON idempotency_keys (created_at)",
            """
            CREATE TABLE IF NOT EXISTS usage_spools (
                node_id VARCHAR(36) NOT NULL, spool_id VARCHAR(36) NOT NULL, last_number BIGINT NOT NULL,
                updated_at BIGINT NOT NULL, PRIMARY KEY (node_id, spool_id))
            """,
            """
            CREATE TABLE IF NOT EXISTS usage_hourly (
                hour BIGINT NOT NULL, instance_id VARCHAR(36) NOT NULL, owner_id VARCHAR(36) NOT NULL,
                account VARCHAR(64) NOT NULL, flavor_id VARCHAR(36) NOT NULL, server_ms BIGINT NOT NULL,
                vcpu_ms BIGINT NOT NULL, ram_mib_ms BIGINT NOT NULL, cpu_ns BIGINT NOT NULL, disk_read BIGINT NOT NULL,
                disk_write BIGINT NOT NULL, net_receive BIGINT NOT NULL, net_transmit BIGINT NOT NULL,
                PRIMARY KEY (hour, instance_id))
            """,
            "CREATE INDEX IF NOT EXISTS usage_hourly_owner ON usage_hourly (owner_id, hour)",
        ])
}
