import ManagerModel
import ProtocolModel

/// Something in the record that cannot be.
public struct StoreFinding: Sendable, Equatable, Codable {
    /// Such as `claim` or `orphan`; the same for the same kind of fault.
    public var kind: String
    /// The row or rows.
    public var subject: String
    /// What is wrong with it, for a person.
    public var sentence: String
}

/// Looks through a whole record for what the manager never leaves behind: the promises of the record, written apart from the
/// code that keeps them.
public struct StoreCheck {
    let sql: Transaction
    private let connection: any SQLConnection
    private var findings: [StoreFinding] = []

    /// Checks a snapshot of the record; a manager may go on meanwhile.
    ///
    /// - Throws: `StoreError` or `MaintenanceError` where the record cannot be read at all.
    public static func run(_ location: StoreLocation) throws -> [StoreFinding] {
        let connection = try StoreMaintenance.existing(location)
        _ = try StoreMaintenance.migrations(of: connection)
        return try run(on: connection)
    }

    static func run(on connection: any SQLConnection) throws -> [StoreFinding] {
        try connection.beginRead()
        defer { connection.endRead() }
        var check = StoreCheck(connection)
        try check.pages()
        try check.claims()
        try check.devices()
        try check.quotas()
        try check.addresses()
        try check.serverGroups()
        try check.places()
        try check.queue()
        try check.orphans()
        try check.operations()
        try check.events()
        try check.usage()
        check.values()
        return check.findings
    }

    private init(_ connection: any SQLConnection) {
        self.connection = connection
        sql = Transaction(connection)
    }

    mutating func find(_ kind: String, _ subject: String, _ sentence: String) {
        findings.append(StoreFinding(kind: kind, subject: subject, sentence: sentence))
    }

    /// What SQLite says of its file. MariaDB checks each page that it reads.
    private mutating func pages() throws {
        guard connection.engine == .sqlite else { return }
        for row in try connection.query("PRAGMA integrity_check(20)") where row["integrity_check"] != .text("ok") {
            find("file", "integrity_check", try row.text("integrity_check"))
        }
    }

    /// Claims add up to the instances that make them (P3).
    private mutating func claims() throws {
        let rows = try sql.query(
            """
            SELECT n.id AS id, n.name AS name, n.claimed_vcpus AS vcpus, n.claimed_ram_mib AS ram, n.claimed_disk_gib AS disk,
                n.instance_count AS count,
                COALESCE(SUM(CASE WHEN i.room = 'released' THEN 0 ELSE i.vcpus END), 0) AS sum_vcpus,
                COALESCE(SUM(CASE WHEN i.room = 'released' THEN 0 ELSE i.ram_mib END), 0) AS sum_ram,
                COALESCE(SUM(i.disk_gib), 0) AS sum_disk, COUNT(i.id) AS sum_count
            FROM nodes n LEFT JOIN instances i ON i.node_id = n.id AND i.status <> 'DELETED'
            GROUP BY n.id, n.name, n.claimed_vcpus, n.claimed_ram_mib, n.claimed_disk_gib, n.instance_count
            """)
        let units = [("vcpus", "vCPUs"), ("ram", "MiB of memory"), ("disk", "GiB of disk"), ("count", "instances")]
        for row in rows {
            for (column, unit) in units {
                let (claimed, sum) = (try row.integer(column), try row.integer("sum_" + column))
                guard claimed != sum else { continue }
                find(
                    "claim", "node \(try row.text("name"))",
                    "it counts \(claimed) \(unit) as claimed, and its instances come to \(sum)")
            }
        }
        for row in try sql.query(
            """
            SELECT i.id AS id FROM instances i JOIN nodes n ON n.id = i.node_id
            WHERE i.assignment_revision > n.assignment_revision
            """)
        {
            find("revision", "instance \(try row.text("id"))", "its revision is newer than that of its node's set")
        }
    }

    /// A processor that is a guest's alone is one guest's (P3), and a place is told the same with the instance and with its node.
    private mutating func places() throws {
        var told: [NodeID: [InstanceID: GuestPlace]] = [:]
        for row in try sql.query("SELECT * FROM instances WHERE place IS NOT NULL") {
            let instance = try Instance(row: row)
            guard let node = instance.node else {
                find("claim", "instance \(instance.id)", "it has a place and no node")
                continue
            }
            told[node, default: [:]][instance.id] = instance.place
        }
        for row in try sql.query("SELECT id FROM nodes WHERE places IS NOT NULL") {
            guard let node = try sql.nodes.find(try row.id("id")) else { continue }
            let processors = node.places.values.flatMap { $0.cells.flatMap(\.processors) }
            if Set(processors).count != processors.count {
                find("claim", "node \(node.name)", "one of its processors is given to two instances")
            }
            if told.removeValue(forKey: node.id) ?? [:] != node.places {
                find("claim", "node \(node.name)", "it and its instances say different things of where they lie")
            }
        }
        for node in told.keys.sorted() {
            find("claim", "node \(node)", "instances lie on its processors, and it does not say so")
        }
    }

    /// A device is held by an instance of its node that runs or is to run, which has all that it is to have (P3).
    private mutating func devices() throws {
        for row in try sql.query(
            """
            SELECT d.id AS id, d.instance_id AS instance_id FROM devices d LEFT JOIN instances i ON i.id = d.instance_id
            WHERE d.instance_id IS NOT NULL
                AND (i.id IS NULL OR i.status IN ('STOPPED', 'DELETED') OR i.node_id <> d.node_id)
            """)
        {
            find(
                "claim", "device \(try row.text("id"))",
                "instance \(try row.text("instance_id")) has it, which is not there, does not run, or is on another node"
            )
        }
        for row in try sql.query(
            """
            SELECT * FROM instances WHERE devices IS NOT NULL AND status NOT IN ('STOPPED', 'DELETED')
                AND id NOT IN (SELECT instance_id FROM placement_queue)
            """)
        {
            let instance = try Instance(row: row)
            let held = Dictionary(grouping: try sql.devices.list(of: instance.id).compactMap(\.claim), by: \.alias)
            for wanted in instance.devices where held[wanted.alias, default: []].count != wanted.count {
                find(
                    "claim", "instance \(instance.id)",
                    "it has \(held[wanted.alias, default: []].count) devices '\(wanted.alias)' of \(wanted.count)")
            }
        }
    }

    /// An address has one owner, and nobody keeps one beyond their end (P3).
    private mutating func addresses() throws {
        for row in try sql.query(
            """
            SELECT mac_address AS address, COUNT(*) AS n FROM instances WHERE mac_address IS NOT NULL
            GROUP BY mac_address HAVING COUNT(*) > 1
            """)
        {
            find("address", "MAC \(try row.text("address"))", "\(try row.int("n")) instances have it")
        }
        for row in try sql.query(
            """
            SELECT ip_address AS address, node_id AS node, COUNT(*) AS n FROM instances WHERE ip_address IS NOT NULL
            GROUP BY node_id, ip_address HAVING COUNT(*) > 1
            """)
        {
            find(
                "address", "address \(try row.text("address")) on node \(try row.text("node"))",
                "\(try row.int("n")) instances have it")
        }
        for row in try sql.query(
            """
            SELECT id FROM instances WHERE status = 'DELETED' AND (mac_address IS NOT NULL OR ip_address IS NOT NULL)
            """)
        {
            find("address", "instance \(try row.text("id"))", "it is deleted and still has an address")
        }
    }

    /// Rows that name a row that is not there.
    private mutating func orphans() throws {
        let references: [(table: String, key: String, column: String, parent: String, condition: String)] = [
            ("instances", "id", "node_id", "nodes", "c.status <> 'DELETED' AND c.node_id <> ''"),
            ("placement_queue", "instance_id", "instance_id", "instances", "1 = 1"),
            ("instances", "id", "owner_id", "users", "c.status <> 'DELETED'"),
            ("instances", "id", "flavor_id", "flavors", "c.status <> 'DELETED'"),
            ("instances", "id", "image_id", "images", "c.status <> 'DELETED'"),
            (
                "instances", "id", "server_group_id", "server_groups",
                "c.status <> 'DELETED' AND c.server_group_id IS NOT NULL"
            ),
            ("server_groups", "id", "owner_id", "users", "1 = 1"),
            ("keypairs", "id", "owner_id", "users", "1 = 1"),
            ("refresh_tokens", "family", "user_id", "users", "1 = 1"),
            ("image_shares", "image_id", "image_id", "images", "1 = 1"),
            ("image_placements", "image_id", "image_id", "images", "1 = 1"),
            ("image_placements", "image_id", "node_id", "nodes", "1 = 1"),
            ("image_placements", "image_id", "upstream_id", "nodes", "c.upstream_id IS NOT NULL"),
            ("image_copies", "image_id", "node_id", "nodes", "1 = 1"),
            ("image_pins", "image_id", "node_id", "nodes", "1 = 1"),
            ("image_captures", "image_id", "image_id", "images", "1 = 1"),
            ("image_captures", "image_id", "node_id", "nodes", "1 = 1"),
            ("aggregate_nodes", "aggregate_id", "aggregate_id", "aggregates", "1 = 1"),
            ("aggregate_nodes", "aggregate_id", "node_id", "nodes", "1 = 1"),
            ("devices", "id", "node_id", "nodes", "1 = 1"),
            ("prefill_policies", "id", "aggregate_id", "aggregates", "c.aggregate_id IS NOT NULL"),
            ("usage_spools", "spool_id", "node_id", "nodes", "1 = 1"),
            ("former_placements", "instance_id", "node_id", "nodes", "1 = 1"),
            (
                "usage_hourly", "instance_id", "instance_id", "instances",
                "c.instance_id NOT IN (SELECT id FROM retired_instances)"
            ),
        ]
        for reference in references {
            let rows = try sql.query(
                """
                SELECT c.\(reference.key) AS id, c.\(reference.column) AS parent FROM \(reference.table) c
                LEFT JOIN \(reference.parent) p ON p.id = c.\(reference.column)
                WHERE p.id IS NULL AND \(reference.condition) LIMIT 100
                """)
            for row in rows {
                find(
                    "orphan", "\(reference.table) \(try row.text("id"))",
                    "its \(reference.column) \(try row.text("parent")) is not among the \(reference.parent)")
            }
        }
    }

    /// Operations and instances agree.
    private mutating func operations() throws {
        for row in try sql.query(
            """
            SELECT o.id AS id, o.kind AS kind, o.resource_id AS instance, i.status AS status, i.operation_id AS current
            FROM operations o LEFT JOIN instances i ON i.id = o.resource_id
            WHERE o.status = 'running' AND o.resource_kind = 'instance'
                AND (i.id IS NULL OR i.status = 'DELETED' OR i.operation_id IS NULL OR i.operation_id <> o.id)
            """)
        {
            let state = try row.optionalText("status").map { "is \($0) and is at operation " } ?? "is not there"
            let current = try row.optionalText("current") ?? (row["status"] == .null ? "" : "none")
            find(
                "operation", "operation \(try row.text("id"))",
                "\(try row.text("kind")) runs, while instance \(try row.text("instance")) \(state)\(current)")
        }
        for row in try sql.query(
            """
            SELECT id, status FROM operations
            WHERE (status = 'running' AND finished_at IS NOT NULL) OR (status <> 'running' AND finished_at IS NULL)
            """)
        {
            find(
                "operation", "operation \(try row.text("id"))",
                "it is \(try row.text("status")), which its time of finishing contradicts")
        }
    }

    /// The log is numbered without gaps, from where its old end was pruned.
    private mutating func events() throws {
        let rows = try sql.query("SELECT COUNT(*) AS n, MIN(sequence) AS first, MAX(sequence) AS last FROM event_log")
        guard let row = rows.first, let first = try row.optionalInteger("first") else { return }
        let (count, last) = (try row.integer("n"), try row.integer("last"))
        if last - first + 1 != count {
            find("events", "events \(first) to \(last)", "\(last - first + 1 - count) numbers between them are missing")
        }
    }

    /// No hour of an instance holds more than an hour (P4).
    private mutating func usage() throws {
        for row in try sql.query(
            "SELECT hour, instance_id, server_ms FROM usage_hourly WHERE server_ms < 0 OR server_ms > 3600000 LIMIT 100"
        ) {
            find(
                "usage", "instance \(try row.text("instance_id")), hour \(try row.integer("hour"))",
                "\(try row.integer("server_ms")) ms were counted in one hour")
        }
    }

    /// Every row can be read as what it stands for.
    private mutating func values() {
        let all = 500
        read("users", \.id.description) { try $0.users.list(.everything, Page(limit: all, after: $1)) }
        read("keypairs", \.id.description) { try $0.keyPairs.list(.everything, Page(limit: all, after: $1)) }
        read("server_groups", \.id.description) {
            try $0.serverGroups.list(.everything, Page(limit: all, after: $1))
        }
        read("flavors", \.id.description) { try $0.flavors.list(Page(limit: all, after: $1)) }
        read("images", \.id.description) {
            try $0.images.list(.everything, offeredTo: nil, Page(limit: all, after: $1))
        }
        read("nodes", \.id.description) { try $0.nodes.list(Page(limit: all, after: $1)) }
        var filter = InstanceRepository.Filter()
        filter.includesDeleted = true
        read("instances", \.id.description) { try $0.instances.list(filter, Page(limit: all, after: $1)) }
        read("operations", \.id.description) { try $0.operations.list(.everything, Page(limit: all, after: $1)) }
        read("events", { String($0.sequence) }) {
            try $0.events.list(after: $1.flatMap { Int64($0) } ?? 0, .everything, limit: all)
        }
    }

    private mutating func read<Row>(
        _ table: String, _ place: (Row) -> String, _ page: (Transaction, String?) throws -> [Row]
    ) {
        var after: String?
        do {
            while let last = try page(sql, after).last { after = place(last) }
        } catch {
            find("value", "\(table), behind \(after ?? "the beginning")", "\(error)")
        }
    }
}
