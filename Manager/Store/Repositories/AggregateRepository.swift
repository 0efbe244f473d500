public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var aggregates: AggregateRepository { AggregateRepository(sql: self) }
}

/// Groups of nodes, and which nodes are in them.
public struct AggregateRepository {
    let sql: Transaction

    public func find(_ id: AggregateID) throws -> Aggregate? {
        try sql.query("SELECT * FROM aggregates WHERE id = ?", id).first.map(Aggregate.init(row:))
    }

    public func find(name: String) throws -> Aggregate? {
        try sql.query("SELECT * FROM aggregates WHERE name = ?", name).first.map(Aggregate.init(row:))
    }

    public func list(_ page: Page = .everything) throws -> [Aggregate] {
        var conditions = Conditions()
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM aggregates\(conditions.sql)\(page.tail)", arguments: conditions.arguments + [page.limit]
        ).map(Aggregate.init(row:))
    }

    public func insert(_ aggregate: Aggregate) throws {
        try sql.execute(
            "INSERT INTO aggregates (id, name, metadata, created_at, updated_at) VALUES (?, ?, ?, ?, ?)", aggregate.id,
            aggregate.name, try jsonText(aggregate.metadata), aggregate.createdAt, aggregate.updatedAt)
        sql.nodeChanges.groundsChanged()
    }

    public func update(_ aggregate: Aggregate) throws {
        try sql.execute(
            "UPDATE aggregates SET name = ?, metadata = ?, updated_at = ? WHERE id = ?", aggregate.name,
            try jsonText(aggregate.metadata), aggregate.updatedAt, aggregate.id)
        sql.nodeChanges.groundsChanged()
    }

    public func remove(_ id: AggregateID) throws {
        try sql.execute("DELETE FROM aggregate_nodes WHERE aggregate_id = ?", id)
        try sql.execute("DELETE FROM aggregates WHERE id = ?", id)
        sql.nodeChanges.groundsChanged()
    }

    // MARK: Nodes

    /// The names of the nodes in it, in order.
    public func nodeNames(in id: AggregateID) throws -> [String] {
        try sql.query(
            """
            SELECT n.name AS name FROM aggregate_nodes a JOIN nodes n ON n.id = a.node_id WHERE a.aggregate_id = ?
            ORDER BY n.name
            """, id
        ).map { try $0.text("name") }
    }

    public func contains(_ node: NodeID, in id: AggregateID) throws -> Bool {
        try !sql.query("SELECT 1 FROM aggregate_nodes WHERE aggregate_id = ? AND node_id = ?", id, node).isEmpty
    }

    /// The groups that a node is in, in order of their IDs.
    public func aggregates(of node: NodeID) throws -> [Aggregate] {
        try sql.query(
            """
            SELECT a.* FROM aggregate_nodes m JOIN aggregates a ON a.id = m.aggregate_id WHERE m.node_id = ? ORDER BY a.id
            """, node
        ).map(Aggregate.init(row:))
    }

    /// The groups of each node that is in one, in order of their IDs.
    public func memberships() throws -> [NodeID: [AggregateID]] {
        var memberships: [NodeID: [AggregateID]] = [:]
        for row in try sql.query("SELECT node_id, aggregate_id FROM aggregate_nodes ORDER BY aggregate_id") {
            memberships[try row.id("node_id"), default: []].append(try row.id("aggregate_id"))
        }
        return memberships
    }

    /// The node is not in it yet.
    public func add(_ node: NodeID, to id: AggregateID) throws {
        try sql.execute("INSERT INTO aggregate_nodes (aggregate_id, node_id) VALUES (?, ?)", id, node)
        sql.nodeChanges.groundsChanged()
    }

    public func remove(_ node: NodeID, from id: AggregateID) throws {
        try sql.execute("DELETE FROM aggregate_nodes WHERE aggregate_id = ? AND node_id = ?", id, node)
        sql.nodeChanges.groundsChanged()
    }
}

extension Aggregate {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"), metadata: try row.json("metadata"),
            createdAt: try row.timestamp("created_at"), updatedAt: try row.timestamp("updated_at"))
    }
}
