public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var flavors: FlavorRepository { FlavorRepository(sql: self) }
}

public struct FlavorRepository {
    let sql: Transaction

    public func find(_ id: FlavorID) throws -> Flavor? {
        try sql.remembered("SELECT * FROM flavors WHERE id = ?", id).first.map(Flavor.init(row:))
    }

    public func find(name: String) throws -> Flavor? {
        try sql.remembered("SELECT * FROM flavors WHERE name = ?", name).first.map(Flavor.init(row:))
    }

    public func name(of id: FlavorID) throws -> String? { try sql.name("flavors", id) }

    public func list(_ page: Page = .everything) throws -> [Flavor] {
        var conditions = Conditions()
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM flavors\(conditions.sql)\(page.tail)", arguments: conditions.arguments + [page.limit]
        ).map(Flavor.init(row:))
    }

    public func insert(_ flavor: Flavor) throws {
        try sql.execute(
            """
            INSERT INTO flavors (id, name, vcpus, ram_mib, disk_gib, properties, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            flavor.id, flavor.name, flavor.vcpus, flavor.ramMiB, flavor.diskGiB, try jsonText(flavor.properties),
            flavor.createdAt)
    }

    public func update(_ flavor: Flavor) throws {
        try sql.execute(
            "UPDATE flavors SET name = ?, vcpus = ?, ram_mib = ?, disk_gib = ?, properties = ? WHERE id = ?",
            flavor.name,
            flavor.vcpus, flavor.ramMiB, flavor.diskGiB, try jsonText(flavor.properties), flavor.id)
    }

    public func remove(_ id: FlavorID) throws {
        try sql.execute("DELETE FROM flavors WHERE id = ?", id)
        try sql.quotas.remove(id)
    }
}

extension Flavor {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"), vcpus: try row.int("vcpus"),
            ramMiB: try row.int("ram_mib"),
            diskGiB: try row.int("disk_gib"), properties: try row.json("properties"),
            createdAt: try row.timestamp("created_at"))
    }
}
