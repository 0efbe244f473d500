public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var retention: RetentionRepository { RetentionRepository(sql: self) }
}

/// Removes what the policy keeps no longer, a bounded batch at a time: a long backlog holds up nobody's request.
public struct RetentionRepository {
    let sql: Transaction

    /// What is removed, each by its own rule.
    public enum Subject: String, Sendable, CaseIterable {
        case idempotencyKeys, refreshTokens, tokenRevocations, authorizationCodes, deviceGrants, mailedLinks,
            joinTokens,
            operations, events, instances, images
    }

    /// Removes at most `limit` of what is due.
    ///
    /// - Returns: how many were removed; `limit`: there may be more.
    public func prune(_ subject: Subject, _ policy: RetentionPolicy, at now: Timestamp, limit: Int) throws -> Int {
        func days(_ count: Int) -> Timestamp { now - .seconds(86_400) * count }
        switch subject {
        case .idempotencyKeys: return try sql.idempotency.remove(before: days(1), limit: limit)
        case .refreshTokens: return try sql.credentials.removeExpired("refresh_tokens", "hash", at: now, limit: limit)
        case .tokenRevocations:
            return try sql.credentials.removeExpired("token_revocations", "id", at: now, limit: limit)
        // Kept for an hour longer, so that a code that comes twice still ends what it opened.
        case .authorizationCodes:
            return try sql.credentials.removeExpired(
                "authorization_codes", "hash", at: now - .seconds(3600), limit: limit)
        case .deviceGrants:
            return try sql.credentials.removeExpired("device_grants", "hash", at: now - .seconds(3600), limit: limit)
        case .mailedLinks: return try sql.registrations.removeLinks(expiredBefore: days(1), limit: limit)
        // Kept for a day, so that whoever comes too late is told so, and not that the token is unknown.
        case .joinTokens: return try sql.nodes.removeJoinTokens(expiredBefore: days(1), limit: limit)
        case .operations: return try operations(endedBefore: days(policy.operationDays), limit: limit)
        case .events: return try events(before: days(policy.eventDays), keeping: policy.eventCount, limit: limit)
        case .instances: return try instances(deletedBefore: days(policy.deletedDays), limit: limit)
        case .images: return try images(deletedBefore: days(policy.deletedDays), limit: limit)
        }
    }

    private func events(before moment: Timestamp, keeping count: Int, limit: Int) throws -> Int {
        let newest = try sql.events.lastSequence()
        let oldest = try sql.query("SELECT sequence, at FROM event_log ORDER BY sequence LIMIT ?", limit)
        let due = try oldest.prefix { row in
            let sequence = try row.integer("sequence")
            return try sequence < newest && (row.timestamp("at") < moment || sequence <= newest - Int64(count))
        }
        guard let last = try due.last?.integer("sequence") else { return 0 }
        return try sql.execute("DELETE FROM event_log WHERE sequence <= ?", last)
    }

    /// Identifiers sort by the time at which they were made, and nothing ends before it is made: those made later need not
    /// be looked at.
    private func operations(endedBefore moment: Timestamp, limit: Int) throws -> Int {
        let ids = try sql.query(
            "SELECT id FROM operations WHERE id < ? AND status <> 'running' AND finished_at < ? ORDER BY id LIMIT ?",
            OperationID.first(at: moment), moment, limit
        ).map { try $0.text("id") }
        for id in ids { try sql.execute("DELETE FROM operations WHERE id = ?", id) }
        return ids.count
    }

    private func instances(deletedBefore moment: Timestamp, limit: Int) throws -> Int {
        let rows = try sql.query(
            """
            SELECT id, name, flavor_id, deleted_at FROM instances
            WHERE id < ? AND status = 'DELETED' AND deleted_at < ? ORDER BY id LIMIT ?
            """, InstanceID.first(at: moment), moment, limit)
        for row in rows {
            let (id, flavor): (InstanceID, FlavorID) = (try row.id("id"), try row.id("flavor_id"))
            try sql.execute(
                "INSERT INTO retired_instances (id, name, flavor, deleted_at) VALUES (?, ?, ?, ?)", id,
                try row.text("name"), try sql.flavors.find(flavor)?.name ?? flavor.description,
                try row.timestamp("deleted_at"))
            try sql.execute("DELETE FROM instances WHERE id = ?", id)
            // A host that has not come back is to remove it still.
            try sql.execute("DELETE FROM former_placements WHERE instance_id = ? AND gone = 1", id)
        }
        return rows.count
    }

    /// An image stays for as long as a row of an instance names it, or a node has not yet said that its copy is gone.
    private func images(deletedBefore moment: Timestamp, limit: Int) throws -> Int {
        let ids = try sql.query(
            """
            SELECT id FROM images WHERE status = 'deleted' AND updated_at < ?
                AND NOT EXISTS (SELECT 1 FROM instances WHERE instances.image_id = images.id)
                AND NOT EXISTS (SELECT 1 FROM image_placements WHERE image_placements.image_id = images.id)
            ORDER BY id LIMIT ?
            """, moment, limit
        ).map { try $0.text("id") }
        for id in ids {
            try sql.execute("DELETE FROM image_shares WHERE image_id = ?", id)
            try sql.execute("DELETE FROM images WHERE id = ?", id)
        }
        return ids.count
    }

    /// What a pruned instance was called, for reports of what it used.
    public func instance(_ id: InstanceID) throws -> (name: String, flavor: String)? {
        try sql.query("SELECT name, flavor FROM retired_instances WHERE id = ?", id).first.map {
            (try $0.text("name"), try $0.text("flavor"))
        }
    }
}
