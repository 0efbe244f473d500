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

    /// The same of each of the aliases, in their order, with one query.
    public func numbers(of aliases: [String]) throws -> [DeviceNumbers] {
        // Those of one node together, though their other aliases differ.
        struct Place: Hashable {
            var alias: String
            var node: String
            var status: HostedDevice.Status
        }
        var counts: [Place: Int] = [:]
        for row in try sql.query(
            """
            SELECT aliases, node_id, standing, COUNT(*) AS n FROM (\(Self.hosted)) AS hosted WHERE aliases <> ''
            GROUP BY aliases, node_id, standing
            """)
        {
            let (node, status): (String, HostedDevice.Status) = (try row.text("node_id"), try row.choice("standing"))
            for alias in Device.names(try row.text("aliases")) {
                counts[Place(alias: alias, node: node, status: status), default: 0] += try row.int("n")
            }
        }
        var numbers = Dictionary(uniqueKeysWithValues: aliases.map { ($0, DeviceNumbers(alias: $0)) })
        for (place, count) in counts { numbers[place.alias]?.add(count, place.status) }
        return aliases.compactMap { numbers[$0] }
    }

    /// What placement needs of every device that is there, in order of node and address.
    ///
    /// - Parameters:
    ///   - node: only this node's.
    ///   - set: only those of nodes that are enabled and alive, where a rule joins devices with this alias in sets.
    public func places(on node: NodeID? = nil, inSetsOf alias: String? = nil) throws -> [DevicePlace] {
        var conditions = Conditions()
        conditions.add("present = 1")
        if let node { conditions.add("node_id = ?", node) }
        if let alias {
            conditions.add(
                """
                node_id IN (SELECT d.node_id FROM devices d JOIN nodes n ON n.id = d.node_id
                    WHERE d.partitions <> '' AND INSTR(d.aliases, ?) > 0 AND n.enabled = 1 AND n.liveness = 'alive')
                """, ",\(alias),")
        }
        return try sql.query(
            """
            SELECT node_id, address, iommu_group, numa_node, aliases, partitions, status, objection_kind
            FROM devices\(conditions.sql) ORDER BY node_id, address
            """, arguments: conditions.arguments
        ).map(DevicePlace.init(row:))
    }

    /// Every device that fits one of these. Those that cannot are passed over before their facts are decoded, of which a
    /// large site has many.
    ///
    /// - Parameter names: of the nodes.
    public func list(fitting matches: [DeviceMatch], on names: [NodeID: String]) throws -> [Device] {
        var found: [DeviceID: Device] = [:]
        for match in matches {
            var conditions = Conditions()
            for (member, number) in [("vendor", match.vendor), ("product", match.product)] {
                if let number { conditions.add("INSTR(facts, ?) > 0", "\"\(member)\":\(number)") }
            }
            for row in try sql.query("SELECT * FROM devices\(conditions.sql)", arguments: conditions.arguments) {
                let node: NodeID = try row.id("node_id")
                guard let name = names[node], match.fits(address: try row.text("address"), on: name) else { continue }
                let device = try Device(row: row)
                if match.fits(device.facts, on: name) { found[device.id] = device }
            }
        }
        return found.values.sorted { $0.id < $1.id }
    }

    /// What the site's rules say of a device now; nothing else of it has changed.
    public func updateOffer(_ device: Device) throws {
        try sql.execute(
            """
            UPDATE devices SET status = ?, aliases = ?, objection = ?, objection_kind = ?, partitions = ? WHERE id = ?
            """,
            device.status.rawValue, Self.text(device.aliases), device.objection?.sentence,
            device.objection?.kind.rawValue, Self.text(device.partitions.map(\.description)), device.id)
        sql.nodeChanges.changed(device.node)
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
            INSERT INTO devices (id, node_id, address, facts, present, status, aliases, objection, objection_kind,
                partitions, iommu_group, numa_node, quarantine_reason, quarantined_at, first_seen_at, changed_at,
                instance_id, claimed_alias, claimed_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            device.id, device.node, device.facts.address, try jsonText(device.facts), device.isPresent,
            device.status.rawValue, Self.text(device.aliases), device.objection?.sentence,
            device.objection?.kind.rawValue, Self.text(device.partitions.map(\.description)), device.facts.iommuGroup,
            device.facts.numaNode, device.quarantineReason, device.quarantinedAt, device.firstSeenAt, device.changedAt,
            device.claim?.instance, device.claim?.alias,
            device.claim?.since)
        sql.nodeChanges.changed(device.node)
    }

    public func update(_ device: Device) throws {
        try sql.execute(
            """
            UPDATE devices SET facts = ?, present = ?, status = ?, aliases = ?, objection = ?, objection_kind = ?,
                partitions = ?, iommu_group = ?, numa_node = ?, quarantine_reason = ?, quarantined_at = ?, changed_at = ?,
                instance_id = ?, claimed_alias = ?, claimed_at = ? WHERE id = ?
            """,
            try jsonText(device.facts), device.isPresent, device.status.rawValue, Self.text(device.aliases),
            device.objection?.sentence, device.objection?.kind.rawValue,
            Self.text(device.partitions.map(\.description)), device.facts.iommuGroup, device.facts.numaNode,
            device.quarantineReason, device.quarantinedAt, device.changedAt, device.claim?.instance,
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

    private static func text(_ sets: [[String]]) throws -> String? { sets.isEmpty ? nil : try jsonText(sets) }

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
            INSERT INTO device_rules (id, action, alias, match_text, sets, description, created_at, updated_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            """,
            rule.id, rule.action.rawValue, rule.alias, try jsonText(rule.match), try Self.text(rule.sets),
            rule.description, rule.createdAt,
            rule.updatedAt)
    }

    public func update(_ rule: DeviceRule) throws {
        sql.nodeChanges.groundsChanged()
        try sql.execute(
            "UPDATE device_rules SET alias = ?, match_text = ?, sets = ?, description = ?, updated_at = ? WHERE id = ?",
            rule.alias, try jsonText(rule.match), try Self.text(rule.sets), rule.description, rule.updatedAt, rule.id)
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
        aliases = Self.names(try row.text("aliases"))
        partitions = try DevicePlace.partitions(row)
        objection = try row.optionalText("objection").map {
            DeviceObjection(try row.choice("objection_kind"), $0)
        }
        quarantineReason = try row.optionalText("quarantine_reason")
        quarantinedAt = try row.optionalTimestamp("quarantined_at")
        changedAt = try row.timestamp("changed_at")
        if let instance: InstanceID = try row.optionalID("instance_id") {
            claim = DeviceClaim(
                instance: instance, alias: try row.text("claimed_alias"), since: try row.timestamp("claimed_at"))
        }
    }
}

extension Device {
    /// As stored, between commas.
    static func names(_ text: String) -> [String] { text.split(separator: ",").map(String.init) }
}

extension DevicePlace {
    init(row: SQLRow) throws {
        let status: Device.Status = try row.choice("status")
        let isNameless = try row.optionalText("objection_kind") == DeviceObjection.Kind.nameless.rawValue
        self.init(
            node: try row.id("node_id"), address: try row.text("address"),
            iommuGroup: try row.optionalInteger("iommu_group").map(Int.init),
            numaNode: try row.optionalInteger("numa_node").map(Int.init),
            aliases: Device.names(try row.text("aliases")),
            partitions: try Self.partitions(row), isGivable: status == .free || (status == .unusable && isNameless))
    }

    fileprivate static func partitions(_ row: SQLRow) throws -> [DeviceRuleID] {
        guard let text = try row.optionalText("partitions"), !text.isEmpty else { return [] }
        return Device.names(text).compactMap { DeviceRuleID($0) }
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
            match: try row.json("match_text"), sets: try row.optionalText("sets") == nil ? [] : try row.json("sets"),
            description: try row.text("description"),
            createdAt: try row.timestamp("created_at"), updatedAt: try row.timestamp("updated_at"))
    }
}
