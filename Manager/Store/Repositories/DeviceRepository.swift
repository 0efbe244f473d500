public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var devices: DeviceRepository { DeviceRepository(sql: self) }
}

/// Devices of the nodes, and the site's rules about them.
public struct DeviceRepository {
    let sql: Transaction

    // MARK: Devices

    public func find(_ id: DeviceID) throws -> Device? {
        try sql.query("SELECT * FROM devices WHERE id = ?", id).first.map(Device.init(row:))
    }

    public func list(alias: String? = nil, _ page: Page = .everything) throws -> [Device] {
        var conditions = Conditions()
        // Names hold neither commas nor what LIKE has a meaning for, but for '_'.
        if let alias {
            conditions.add(
                "aliases LIKE ? ESCAPE '!'", "%,\(alias.replacing("!", with: "!!").replacing("_", with: "!_")),%")
        }
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM devices\(conditions.sql)\(page.tail)", arguments: conditions.arguments + [page.limit]
        ).map(Device.init(row:))
    }

    /// In order of address.
    public func list(on node: NodeID) throws -> [Device] {
        try sql.query("SELECT * FROM devices WHERE node_id = ? ORDER BY address", node).map(Device.init(row:))
    }

    public func insert(_ device: Device) throws {
        try sql.execute(
            """
            INSERT INTO devices (id, node_id, address, facts, present, status, aliases, objection, quarantine_reason,
                quarantined_at, first_seen_at, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            device.id, device.node, device.facts.address, try jsonText(device.facts), device.isPresent,
            device.status.rawValue, Self.text(device.aliases), device.objection, device.quarantineReason,
            device.quarantinedAt, device.firstSeenAt, device.changedAt)
    }

    public func update(_ device: Device) throws {
        try sql.execute(
            """
            UPDATE devices SET facts = ?, present = ?, status = ?, aliases = ?, objection = ?, quarantine_reason = ?,
                quarantined_at = ?, changed_at = ? WHERE id = ?
            """,
            try jsonText(device.facts), device.isPresent, device.status.rawValue, Self.text(device.aliases),
            device.objection, device.quarantineReason, device.quarantinedAt, device.changedAt, device.id)
    }

    public func remove(_ id: DeviceID) throws { try sql.execute("DELETE FROM devices WHERE id = ?", id) }

    func removeAll(on node: NodeID) throws { try sql.execute("DELETE FROM devices WHERE node_id = ?", node) }

    /// Between commas, so that each can be looked for.
    private static func text(_ aliases: [String]) -> String {
        aliases.isEmpty ? "" : ",\(aliases.joined(separator: ",")),"
    }

    // MARK: Rules

    public func rule(_ id: DeviceRuleID) throws -> DeviceRule? {
        try sql.query("SELECT * FROM device_rules WHERE id = ?", id).first.map(DeviceRule.init(row:))
    }

    public func rules(_ page: Page = .everything) throws -> [DeviceRule] {
        var conditions = Conditions()
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM device_rules\(conditions.sql)\(page.tail)", arguments: conditions.arguments + [page.limit]
        ).map(DeviceRule.init(row:))
    }

    public func insert(_ rule: DeviceRule) throws {
        try sql.execute(
            """
            INSERT INTO device_rules (id, action, alias, match_text, description, created_at, updated_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            rule.id, rule.action.rawValue, rule.alias, try jsonText(rule.match), rule.description, rule.createdAt,
            rule.updatedAt)
    }

    public func update(_ rule: DeviceRule) throws {
        try sql.execute(
            "UPDATE device_rules SET alias = ?, match_text = ?, description = ?, updated_at = ? WHERE id = ?",
            rule.alias, try jsonText(rule.match), rule.description, rule.updatedAt, rule.id)
    }

    public func remove(_ id: DeviceRuleID) throws { try sql.execute("DELETE FROM device_rules WHERE id = ?", id) }
}

extension Device {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), node: try row.id("node_id"), facts: try row.json("facts"),
            at: try row.timestamp("first_seen_at"))
        isPresent = try row.flag("present")
        aliases = try row.text("aliases").split(separator: ",").map(String.init)
        objection = try row.optionalText("objection")
        quarantineReason = try row.optionalText("quarantine_reason")
        quarantinedAt = try row.optionalTimestamp("quarantined_at")
        changedAt = try row.timestamp("changed_at")
    }
}

extension DeviceRule {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), action: try row.choice("action"), alias: try row.text("alias"),
            match: try row.json("match_text"), description: try row.text("description"),
            createdAt: try row.timestamp("created_at"), updatedAt: try row.timestamp("updated_at"))
    }
}
