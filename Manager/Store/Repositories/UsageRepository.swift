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

    /// Whose an instance's use is, and how much of it there can be.
    public struct Attribution: Sendable, Equatable {
        public var owner: UserID
        public var account: String
        public var flavor: FlavorID
        public var node: NodeID?
        public var vcpus: Int
        public var ramMiB: Int
    }

    /// Of those among `instances` that there are or were, deleted ones included.
    public func attributions(of instances: some Collection<InstanceID>) throws -> [InstanceID: Attribution] {
        var found: [InstanceID: Attribution] = [:]
        found.reserveCapacity(instances.count)
        for part in Self.parts(Array(instances)) {
            let places = repeatElement("?", count: part.count).joined(separator: ", ")
            let rows = try sql.query(
                "SELECT id, owner_id, account, flavor_id, node_id, vcpus, ram_mib FROM instances WHERE id IN (\(places))",
                arguments: part)
            for row in rows {
                found[try row.id("id")] = Attribution(
                    owner: try row.id("owner_id"), account: try row.text("account"), flavor: try row.id("flavor_id"),
                    node: try row.node(), vcpus: try row.int("vcpus"), ramMiB: try row.int("ram_mib"))
            }
        }
        return found
    }

    /// In lists of a few lengths alone, so that few statements are prepared; the last one is filled up by repeating its end.
    private static func parts<Element>(_ elements: [Element]) -> [[Element]] {
        var parts: [[Element]] = []
        var rest = elements[...]
        while let last = rest.last {
            let length = rest.count > 8 ? 64 : rest.count > 1 ? 8 : 1
            let part = Array(rest.prefix(length))
            parts.append(part + repeatElement(last, count: length - part.count))
            rest = rest.dropFirst(length)
        }
        return parts
    }

    /// What is to be added to one instance's hour.
    public struct Addition: Sendable, Equatable {
        /// Hours since 1970.
        public var hour: Int64
        public var instance: InstanceID
        public var owner: UserID
        public var account: String
        public var flavor: FlavorID
        public var amounts: UsageAmounts

        public init(
            hour: Int64, instance: InstanceID, owner: UserID, account: String, flavor: FlavorID, amounts: UsageAmounts
        ) {
            self.hour = hour
            self.instance = instance
            self.owner = owner
            self.account = account
            self.flavor = flavor
            self.amounts = amounts
        }
    }

    /// Adds to hours; each instance's hour stands in `additions` once.
    public func add(_ additions: [Addition]) throws {
        for addition in additions {
            let amounts = addition.amounts
            try sql.execute(
                """
                INSERT INTO usage_hourly (hour, instance_id, owner_id, account, flavor_id, server_ms, vcpu_ms, ram_mib_ms,
                    cpu_ns, disk_read, disk_write, net_receive, net_transmit)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (hour, instance_id) DO UPDATE SET server_ms = server_ms + excluded.server_ms,
                    vcpu_ms = vcpu_ms + excluded.vcpu_ms, ram_mib_ms = ram_mib_ms + excluded.ram_mib_ms,
                    cpu_ns = cpu_ns + excluded.cpu_ns, disk_read = disk_read + excluded.disk_read,
                    disk_write = disk_write + excluded.disk_write, net_receive = net_receive + excluded.net_receive,
                    net_transmit = net_transmit + excluded.net_transmit
                """,
                addition.hour, addition.instance, addition.owner, addition.account, addition.flavor,
                amounts.serverMilliseconds, amounts.vcpuMilliseconds, amounts.ramMiBMilliseconds,
                amounts.cpuTimeNanoseconds, amounts.diskReadBytes, amounts.diskWriteBytes, amounts.networkReceiveBytes,
                amounts.networkTransmitBytes)
        }
    }

    /// What a report's lines stand for.
    public enum Grouping: String, Sendable, CaseIterable {
        case day, instance, user
    }

    /// Sums over whole days, both ends included. A page's filters are of the table's columns, its order of the sums'; it begins
    /// behind the `place` of the row before.
    public func report(
        _ scope: Scope, from: CivilDay, to: CivilDay, by grouping: Grouping, _ page: Page = .everything
    ) throws -> [UsageRow] {
        let conditions = Self.conditions(scope, from: from, to: to, page.filters)
        // By the day's first hour: what a division of integers gives differs between the engines.
        let (columns, group) =
            switch grouping {
            case .day: ("u.hour - u.hour % 24 AS first_hour, u.owner_id", "u.hour - u.hour % 24, u.owner_id")
            case .instance:
                ("u.instance_id, u.owner_id, MAX(u.flavor_id) AS flavor_id", "u.instance_id, u.owner_id")
            case .user: ("u.owner_id", "u.owner_id")
            }
        let order = Self.order(page, grouping)
        var behind = Conditions()
        behind.add(order, identifier: "owner_id")
        let rows = try sql.query(
            """
            SELECT * FROM (SELECT \(columns), \(Self.sums) FROM usage_hourly u\(conditions.sql) GROUP BY \(group)) report\
            \(behind.sql)\(order.tail(identifier: "owner_id"))
            """, arguments: conditions.arguments + behind.arguments + [page.limit])
        let devices = try devices(conditions, columns: columns, by: group, grouping)
        return try rows.map { row in
            var line = try self.row(row, by: grouping)
            line.devices = devices[line.place] ?? [:]
            return line
        }
    }

    /// Devices × milliseconds by alias, of each place of a report. An instance has its devices whenever it runs, and as many
    /// from its creation to its end: so they are what its use is multiplied with, and no sample is counted apart (P4).
    private func devices(
        _ conditions: Conditions, columns: String, by group: String, _ grouping: Grouping
    ) throws -> [String: [String: Int64]] {
        // `MAX(flavor_id)` and the like are no matter here.
        let columns = grouping == .instance ? "u.instance_id, u.owner_id" : columns
        var devices: [String: [String: Int64]] = [:]
        for row in try sql.query(
            """
            SELECT \(columns), d.alias AS alias, SUM(u.server_ms * d.devices) AS device_ms FROM usage_hourly u
            JOIN instance_devices d ON d.instance_id = u.instance_id\(conditions.sql) GROUP BY \(group), d.alias
            """, arguments: conditions.arguments)
        {
            let owner: UserID = try row.id("owner_id")
            let place =
                switch grouping {
                case .day: "\(try row.integer("first_hour") / 24) \(owner)"
                case .instance: "\(try row.id("instance_id") as InstanceID) \(owner)"
                case .user: "\(owner)"
                }
            devices[place, default: [:]][try row.text("alias")] = try row.integer("device_ms")
        }
        return devices
    }

    /// The page in the order of the report's rows, of which the owner's is the last column.
    private static func order(_ page: Page, _ grouping: Grouping) -> Page {
        var order = Page(limit: page.limit, after: page.after)
        order.order = page.order
        order.afterValues = page.afterValues
        let column: String
        switch grouping {
        case .day: column = "first_hour"
        case .instance: column = "instance_id"
        case .user: return order
        }
        order.order.keys.append(ListOrder.Key(column: column))
        guard let place = page.after?.split(separator: " ").map(String.init) else { return order }
        let first = place.first ?? ""
        order.afterValues.append(
            grouping == .day
                ? .number((Int64(first) ?? 0).multipliedReportingOverflow(by: 24).partialValue) : .text(first))
        order.after = place.dropFirst().first ?? ""
        return order
    }

    /// What a report adds up to, all its pages together.
    public func total(
        _ scope: Scope, from: CivilDay, to: CivilDay, _ filters: [ListFilter] = []
    ) throws -> UsageAmounts {
        let conditions = Self.conditions(scope, from: from, to: to, filters)
        let rows = try sql.query(
            "SELECT COUNT(*) AS hours, \(Self.sums) FROM usage_hourly u\(conditions.sql)",
            arguments: conditions.arguments)
        guard let row = rows.first, try row.integer("hours") > 0 else { return UsageAmounts() }
        return try UsageAmounts(row: row)
    }

    /// Devices × milliseconds that a report adds up to, by alias.
    public func totalDevices(
        _ scope: Scope, from: CivilDay, to: CivilDay, _ filters: [ListFilter] = []
    ) throws -> [String: Int64] {
        let conditions = Self.conditions(scope, from: from, to: to, filters)
        var total: [String: Int64] = [:]
        for row in try sql.query(
            """
            SELECT d.alias AS alias, SUM(u.server_ms * d.devices) AS device_ms FROM usage_hourly u
            JOIN instance_devices d ON d.instance_id = u.instance_id\(conditions.sql) GROUP BY d.alias
            """, arguments: conditions.arguments)
        {
            total[try row.text("alias")] = try row.integer("device_ms")
        }
        return total
    }

    private static let sums = """
        SUM(server_ms) AS server_ms, SUM(vcpu_ms) AS vcpu_ms, SUM(ram_mib_ms) AS ram_mib_ms, SUM(cpu_ns) AS cpu_ns,
        SUM(disk_read) AS disk_read, SUM(disk_write) AS disk_write, SUM(net_receive) AS net_receive,
        SUM(net_transmit) AS net_transmit
        """

    private static func conditions(
        _ scope: Scope, from: CivilDay, to: CivilDay, _ filters: [ListFilter]
    ) -> Conditions {
        var conditions = Conditions()
        conditions.add("u.hour >= ?", from.daysSince1970 * 24)
        conditions.add("u.hour < ?", (to.daysSince1970 + 1) * 24)
        conditions.add(scope, owner: "u.owner_id", account: "u.account")
        for filter in filters { conditions.add("u.\(filter.column) = ?", filter.value) }
        return conditions
    }

    private func row(_ row: SQLRow, by grouping: Grouping) throws -> UsageRow {
        let owner: UserID = try row.id("owner_id")
        let instance: InstanceID? = grouping == .instance ? try row.id("instance_id") : nil
        let record = try instance.flatMap { try sql.instances.find($0) }
        let retired = try record == nil ? instance.flatMap { try sql.retention.instance($0) } : nil
        return UsageRow(
            day: grouping == .day ? CivilDay(daysSince1970: try row.integer("first_hour") / 24) : nil, owner: owner,
            user: try sql.users.find(owner)?.name ?? owner.description, instance: instance,
            instanceName: record?.name ?? retired?.name,
            flavor: try record.flatMap { try sql.flavors.find($0.flavor)?.name ?? $0.flavor.description }
                ?? retired?.flavor,
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
