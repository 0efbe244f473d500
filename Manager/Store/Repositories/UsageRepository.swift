public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var usage: UsageRepository { UsageRepository(sql: self) }
}

/// How far each agent's spool was counted, and the hourly roll-up that the counting feeds.
public struct UsageRepository {
    let sql: Transaction

    /// The last batch number committed of a spool; 0 if none.
    public func lastNumber(node: NodeID, spool: SpoolID) throws -> UInt64 {
        try sql.query("SELECT last_number FROM usage_spools WHERE node_id = ? AND spool_id = ?", node, spool).first
            .map { UInt64(bitPattern: try $0.integer("last_number")) } ?? 0
    }

    public func setLastNumber(_ number: UInt64, node: NodeID, spool: SpoolID, at now: Timestamp) throws {
        let changed = try sql.execute(
            "UPDATE usage_spools SET last_number = ?, updated_at = ? WHERE node_id = ? AND spool_id = ?", number, now,
            node,
            spool)
        if changed == 0 {
            try sql.execute(
                "INSERT INTO usage_spools (node_id, spool_id, last_number, updated_at) VALUES (?, ?, ?, ?)", node,
                spool,
                number, now)
        }
    }

    /// Whose an instance is, deleted ones included; `nil` if it never was.
    public func attribution(of instance: InstanceID) throws -> (owner: UserID, account: String, flavor: FlavorID)? {
        try sql.query("SELECT owner_id, account, flavor_id FROM instances WHERE id = ?", instance).first.map {
            (try $0.id("owner_id"), try $0.text("account"), try $0.id("flavor_id"))
        }
    }

    /// Adds to one instance's hour. `hour` counts from 1970.
    public func add(
        _ amounts: UsageAmounts, hour: Int64, instance: InstanceID, owner: UserID, account: String, flavor: FlavorID
    ) throws {
        let changed = try sql.execute(
            """
            UPDATE usage_hourly SET server_ms = server_ms + ?, vcpu_ms = vcpu_ms + ?, ram_mib_ms = ram_mib_ms + ?,
                cpu_ns = cpu_ns + ?, disk_read = disk_read + ?, disk_write = disk_write + ?, net_receive = net_receive + ?,
                net_transmit = net_transmit + ?
            WHERE hour = ? AND instance_id = ?
            """,
            amounts.serverMilliseconds, amounts.vcpuMilliseconds, amounts.ramMiBMilliseconds,
            amounts.cpuTimeNanoseconds,
            amounts.diskReadBytes, amounts.diskWriteBytes, amounts.networkReceiveBytes, amounts.networkTransmitBytes,
            hour,
            instance)
        guard changed == 0 else { return }
        try sql.execute(
            """
            INSERT INTO usage_hourly (hour, instance_id, owner_id, account, flavor_id, server_ms, vcpu_ms, ram_mib_ms, cpu_ns,
                disk_read, disk_write, net_receive, net_transmit)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            hour, instance, owner, account, flavor, amounts.serverMilliseconds, amounts.vcpuMilliseconds,
            amounts.ramMiBMilliseconds, amounts.cpuTimeNanoseconds, amounts.diskReadBytes, amounts.diskWriteBytes,
            amounts.networkReceiveBytes, amounts.networkTransmitBytes)
    }

    /// What a report's lines stand for.
    public enum Grouping: String, Sendable, CaseIterable {
        case day, instance, user
    }

    /// Sums over whole days, both ends included; a page begins behind the `place` of the row before.
    public func report(
        user: UserID?, from: CivilDay, to: CivilDay, by grouping: Grouping, _ page: Page = .everything
    ) throws -> [UsageRow] {
        var conditions = Self.conditions(user: user, from: from, to: to)
        let place = page.after.map { after in
            let parts = after.split(separator: " ").map(String.init)
            return (first: parts.first ?? "", second: parts.dropFirst().first ?? "")
        }
        let columns: String
        let group: String
        switch grouping {
        case .day:
            (columns, group) = ("u.hour / 24 AS day, u.owner_id", "u.hour / 24, u.owner_id")
            if let place { conditions.add("(u.hour / 24, u.owner_id) > (?, ?)", Int64(place.first) ?? 0, place.second) }
        case .instance:
            group = "u.instance_id, u.owner_id"
            columns = group + ", MAX(u.flavor_id) AS flavor_id"
            if let place { conditions.add("(u.instance_id, u.owner_id) > (?, ?)", place.first, place.second) }
        case .user:
            (columns, group) = ("u.owner_id", "u.owner_id")
            if let place { conditions.add("u.owner_id > ?", place.first) }
        }
        let rows = try sql.query(
            "SELECT \(columns), \(Self.sums) FROM usage_hourly u\(conditions.sql) GROUP BY \(group) ORDER BY \(group) LIMIT ?",
            arguments: conditions.arguments + [page.limit])
        return try rows.map { try self.row($0, by: grouping) }
    }

    /// What a report adds up to, all its pages together.
    public func total(user: UserID?, from: CivilDay, to: CivilDay) throws -> UsageAmounts {
        let conditions = Self.conditions(user: user, from: from, to: to)
        let rows = try sql.query(
            "SELECT COUNT(*) AS hours, \(Self.sums) FROM usage_hourly u\(conditions.sql)",
            arguments: conditions.arguments)
        guard let row = rows.first, try row.integer("hours") > 0 else { return UsageAmounts() }
        return try UsageAmounts(row: row)
    }

    private static let sums = """
        SUM(server_ms) AS server_ms, SUM(vcpu_ms) AS vcpu_ms, SUM(ram_mib_ms) AS ram_mib_ms, SUM(cpu_ns) AS cpu_ns,
        SUM(disk_read) AS disk_read, SUM(disk_write) AS disk_write, SUM(net_receive) AS net_receive,
        SUM(net_transmit) AS net_transmit
        """

    private static func conditions(user: UserID?, from: CivilDay, to: CivilDay) -> Conditions {
        var conditions = Conditions()
        conditions.add("u.hour >= ?", from.daysSince1970 * 24)
        conditions.add("u.hour < ?", (to.daysSince1970 + 1) * 24)
        if let user { conditions.add("u.owner_id = ?", user) }
        return conditions
    }

    private func row(_ row: SQLRow, by grouping: Grouping) throws -> UsageRow {
        let owner: UserID = try row.id("owner_id")
        let instance: InstanceID? = grouping == .instance ? try row.id("instance_id") : nil
        let record = try instance.flatMap { try sql.instances.find($0) }
        return UsageRow(
            day: grouping == .day ? CivilDay(daysSince1970: try row.integer("day")) : nil, owner: owner,
            user: try sql.users.find(owner)?.name ?? owner.description, instance: instance,
            instanceName: record?.name,
            flavor: try record.flatMap { try sql.flavors.find($0.flavor)?.name ?? $0.flavor.description },
            amounts: try UsageAmounts(row: row))
    }
}

extension UsageAmounts {
    init(row: SQLRow) throws {
        self.init()
        serverMilliseconds = try row.integer("server_ms")
        vcpuMilliseconds = try row.integer("vcpu_ms")
        ramMiBMilliseconds = try row.integer("ram_mib_ms")
        cpuTimeNanoseconds = try row.integer("cpu_ns")
        diskReadBytes = try row.integer("disk_read")
        diskWriteBytes = try row.integer("disk_write")
        networkReceiveBytes = try row.integer("net_receive")
        networkTransmitBytes = try row.integer("net_transmit")
    }
}
