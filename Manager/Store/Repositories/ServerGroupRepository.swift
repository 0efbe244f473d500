public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var serverGroups: ServerGroupRepository { ServerGroupRepository(sql: self) }
}

/// Server groups. Which instances are in one is said by their rows alone: an instance is in it, wherever it is and whether it
/// runs or not, until its host has nothing left of it.
public struct ServerGroupRepository {
    let sql: Transaction

    public func find(_ id: ServerGroupID) throws -> ServerGroup? {
        try sql.query("SELECT * FROM server_groups WHERE id = ?", id).first.map(ServerGroup.init(row:))
    }

    public func list(_ scope: Scope, name: String? = nil, _ page: Page = .everything) throws -> [ServerGroup] {
        var conditions = Conditions()
        conditions.add(scope)
        if let name { conditions.add("name = ?", name) }
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM server_groups\(conditions.sql)\(page.tail)", arguments: conditions.arguments + [page.limit]
        ).map(ServerGroup.init(row:))
    }

    public func insert(_ group: ServerGroup) throws {
        try sql.execute(
            "INSERT INTO server_groups (id, name, owner_id, policy, max_per_host, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            group.id, group.name, group.owner, group.policy.rawValue, group.maximumPerHost, group.createdAt)
    }

    /// No instance is in it any more.
    public func remove(_ id: ServerGroupID) throws {
        try sql.execute("DELETE FROM server_groups WHERE id = ?", id)
    }

    /// Gives all groups of a user to another, with the instances in them. One whose name the heir has already gets the former
    /// owner's behind its own.
    ///
    /// - Returns: how many there were.
    public func handOver(from user: User, to heir: UserID) throws -> Int {
        let groups = try list(.user(user.id))
        for group in groups {
            var name = group.name
            var number = 1
            while try !list(.user(heir), name: name, Page(limit: 1)).isEmpty {
                name = "\(group.name.prefix(36))-\(user.name.prefix(20))" + (number > 1 ? "-\(number)" : "")
                number += 1
            }
            try sql.execute("UPDATE server_groups SET owner_id = ?, name = ? WHERE id = ?", heir, name, group.id)
        }
        return groups.count
    }

    // MARK: Instances

    /// How many of its instances each host has; those that wait for one are nowhere yet.
    public func instancesByNode(in id: ServerGroupID) throws -> [NodeID: Int] {
        var counts: [NodeID: Int] = [:]
        for row in try sql.query(
            """
            SELECT node_id, COUNT(*) AS n FROM instances
            WHERE server_group_id = ? AND status <> 'DELETED' AND node_id <> '' GROUP BY node_id
            """, id)
        {
            counts[try row.id("node_id")] = try row.int("n")
        }
        return counts
    }

    /// The first of them, in order of their names.
    public func instances(in id: ServerGroupID, limit: Int) throws -> [Instance] {
        try sql.query(
            "SELECT * FROM instances WHERE server_group_id = ? AND status <> 'DELETED' ORDER BY name, id LIMIT ?", id,
            limit
        ).map(Instance.init(row:))
    }

    public func instanceCount(in id: ServerGroupID) throws -> Int {
        try sql.query(
            "SELECT COUNT(*) AS n FROM instances WHERE server_group_id = ? AND status <> 'DELETED'", id)[0].int("n")
    }
}

extension ServerGroup {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"), owner: try row.id("owner_id"),
            policy: try row.choice("policy"),
            maximumPerHost: try row.optionalInteger("max_per_host").map(Int.init),
            createdAt: try row.timestamp("created_at"))
    }
}
