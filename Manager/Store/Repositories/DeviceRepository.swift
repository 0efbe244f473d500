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

    /// Every one that is on record.
    public func list() throws -> [Device] {
        try sql.query("SELECT * FROM devices ORDER BY id").map(Device.init(row:))
    }

    /// Nodes that make devices ready for the next guest.
    public func nodesMakingReady() throws -> Set<NodeID> {
        Set(
            try sql.query("SELECT DISTINCT node_id FROM devices WHERE status = 'in_use' AND instance_id IS NULL")
                .map { try $0.id("node_id") })
    }

    /// One, with how its node is.
    public func hosted(_ id: DeviceID) throws -> HostedDevice? {
        try sql.query("SELECT * FROM (\(Self.hosted)) AS hosted WHERE id = ?", id).first.map(HostedDevice.init(row:))
    }

    /// With how their nodes are. Beside a device's own columns a page may name `node_name`, `standing` (the status with that
    /// of the node), `is_free` and `is_quarantined`.
    public func hosted(alias: String? = nil, _ page: Page = .everything) throws -> [HostedDevice] {
        var conditions = Conditions()
        // Not LIKE, for which case counts in one engine and not in the other.
        if let alias { conditions.add("INSTR(aliases, ?) > 0", ",\(alias),") }
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM (\(Self.hosted)) AS hosted\(conditions.sql)\(page.tail)",
            arguments: conditions.arguments + [page.limit]
        ).map(HostedDevice.init(row:))
    }

    /// How many of the site's devices, or of a node's, have an alias and are how.
    public func numbers(of alias: String, on node: NodeID? = nil) throws -> DeviceNumbers {
        var conditions = Conditions()
        conditions.add("INSTR(aliases, ?) > 0", ",\(alias),")
        if let node { conditions.add("node_id = ?", node) }
        var numbers = DeviceNumbers(alias: alias)
        for row in try sql.query(
            "SELECT node_id, standing, COUNT(*) AS n FROM (\(Self.hosted)) AS hosted\(conditions.sql) GROUP BY node_id, standing",
            arguments: conditions.arguments)
        {
            numbers.add(try row.int("n"), try row.choice("standing"))
        }
        return numbers
    }

    /// `HostedDevice.status`, in the record's words, so that a list can be sorted and filtered by it.
    private static let standing = """
        CASE WHEN d.status <> 'free' THEN d.status WHEN n.liveness <> 'alive' THEN 'offline' WHEN n.enabled = 0 THEN 'disabled' \
        ELSE 'free' END
        """

    private static let hosted = """
        SELECT d.*, n.name AS node_name, n.enabled AS node_enabled, n.liveness AS node_liveness, \(standing) AS standing, \
        CASE WHEN \(standing) = 'free' THEN 1 ELSE 0 END AS is_free, \
        CASE WHEN d.quarantine_reason IS NULL THEN 0 ELSE 1 END AS is_quarantined, \
        i.name AS instance_name, u.name AS owner_name \
        FROM devices d JOIN nodes n ON n.id = d.node_id LEFT JOIN instances i ON i.id = d.instance_id \
        LEFT JOIN users u ON u.id = i.owner_id
        """

    /// In order of address.
    public func list(on node: NodeID) throws -> [Device] {
        try sql.query("SELECT * FROM devices WHERE node_id = ? ORDER BY address", node).map(Device.init(row:))
    }

    public func insert(_ device: Device) throws {
        try sql.execute(
            """
            INSERT INTO devices (id, node_id, address, facts, present, status, aliases, objection, quarantine_reason,
                quarantined_at, first_seen_at, changed_at, instance_id, claimed_alias, claimed_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            device.id, device.node, device.facts.address, try jsonText(device.facts), device.isPresent,
            device.status.rawValue, Self.text(device.aliases), device.objection, device.quarantineReason,
            device.quarantinedAt, device.firstSeenAt, device.changedAt, device.claim?.instance, device.claim?.alias,
            device.claim?.since)
        sql.nodeChanges.changed(device.node)
    }

    public func update(_ device: Device) throws {
        try sql.execute(
            """
            UPDATE devices SET facts = ?, present = ?, status = ?, aliases = ?, objection = ?, quarantine_reason = ?,
                quarantined_at = ?, changed_at = ?, instance_id = ?, claimed_alias = ?, claimed_at = ? WHERE id = ?
            """,
            try jsonText(device.facts), device.isPresent, device.status.rawValue, Self.text(device.aliases),
            device.objection, device.quarantineReason, device.quarantinedAt, device.changedAt, device.claim?.instance,
            device.claim?.alias, device.claim?.since, device.id)
        sql.nodeChanges.changed(device.node)
    }

    /// Those that an instance has, in order of address.
    public func list(of instance: InstanceID) throws -> [Device] {
        try sql.query("SELECT * FROM devices WHERE instance_id = ? ORDER BY address", instance).map(Device.init(row:))
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
        sql.nodeChanges.groundsChanged()
        try sql.execute(
            """
            INSERT INTO device_rules (id, action, alias, match_text, description, created_at, updated_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            rule.id, rule.action.rawValue, rule.alias, try jsonText(rule.match), rule.description, rule.createdAt,
            rule.updatedAt)
    }

    public func update(_ rule: DeviceRule) throws {
        sql.nodeChanges.groundsChanged()
        try sql.execute(
            "UPDATE device_rules SET alias = ?, match_text = ?, description = ?, updated_at = ? WHERE id = ?",
            rule.alias, try jsonText(rule.match), rule.description, rule.updatedAt, rule.id)
    }

    public func remove(_ id: DeviceRuleID) throws {
        try sql.execute("DELETE FROM device_rules WHERE id = ?", id)
        sql.nodeChanges.groundsChanged()
    }
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
        if let instance: InstanceID = try row.optionalID("instance_id") {
            claim = DeviceClaim(
                instance: instance, alias: try row.text("claimed_alias"), since: try row.timestamp("claimed_at"))
        }
    }
}

extension HostedDevice {
    init(row: SQLRow) throws {
        let liveness: Node.Liveness = try row.choice("node_liveness")
        self.init(
            try Device(row: row), on: try row.text("node_name"), isNodeEnabled: try row.flag("node_enabled"),
            isNodeAlive: liveness == .alive)
        instanceName = try row.optionalText("instance_name")
        owner = try row.optionalText("owner_name")
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
