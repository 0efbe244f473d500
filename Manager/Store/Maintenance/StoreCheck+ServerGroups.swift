extension StoreCheck {
    /// Instances are where the policy of their group wants them; what is only wished for may be otherwise.
    mutating func serverGroups() throws {
        for row in try sql.query(
            """
            SELECT g.name AS name, g.id AS id, i.node_id AS node, COUNT(*) AS n FROM server_groups g
            JOIN instances i ON i.server_group_id = g.id AND i.status <> 'DELETED' AND i.node_id <> ''
            WHERE g.policy = 'anti-affinity' GROUP BY g.name, g.id, g.max_per_host, i.node_id
            HAVING COUNT(*) > COALESCE(g.max_per_host, 1)
            """)
        {
            find(
                "server_group", "server group \(try row.text("id"))",
                "\(try row.int("n")) instances of '\(try row.text("name"))' are on node \(try row.text("node")), "
                    + "which is more than its policy lets")
        }
        for row in try sql.query(
            """
            SELECT g.name AS name, g.id AS id, COUNT(DISTINCT i.node_id) AS n FROM server_groups g
            JOIN instances i ON i.server_group_id = g.id AND i.status <> 'DELETED' AND i.node_id <> ''
            WHERE g.policy = 'affinity' GROUP BY g.name, g.id HAVING COUNT(DISTINCT i.node_id) > 1
            """)
        {
            find(
                "server_group", "server group \(try row.text("id"))",
                "the instances of '\(try row.text("name"))' are on \(try row.int("n")) nodes, and its policy wants one")
        }
        for row in try sql.query(
            """
            SELECT i.id AS id FROM instances i JOIN server_groups g ON g.id = i.server_group_id
            WHERE i.status <> 'DELETED' AND i.owner_id <> g.owner_id LIMIT 100
            """)
        {
            find("server_group", "instance \(try row.text("id"))", "its server group is another user's")
        }
    }
}
