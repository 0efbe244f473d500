public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var prefillPolicies: PrefillPolicyRepository { PrefillPolicyRepository(sql: self) }
}

/// Which images groups of nodes are to have.
public struct PrefillPolicyRepository {
    let sql: Transaction

    public func find(_ id: PrefillPolicyID) throws -> PrefillPolicy? {
        try sql.query("SELECT * FROM prefill_policies WHERE id = ?", id).first.map(PrefillPolicy.init(row:))
    }

    public func find(name: String) throws -> PrefillPolicy? {
        try sql.query("SELECT * FROM prefill_policies WHERE name = ?", name).first.map(PrefillPolicy.init(row:))
    }

    public func list(_ page: Page = .everything) throws -> [PrefillPolicy] {
        var conditions = Conditions()
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM prefill_policies\(conditions.sql)\(page.tail)",
            arguments: conditions.arguments + [page.limit]
        ).map(PrefillPolicy.init(row:))
    }

    public func list(for aggregate: AggregateID) throws -> [PrefillPolicy] {
        try sql.query("SELECT * FROM prefill_policies WHERE aggregate_id = ? ORDER BY id", aggregate)
            .map(PrefillPolicy.init(row:))
    }

    public func insert(_ policy: PrefillPolicy) throws {
        try sql.execute(
            """
            INSERT INTO prefill_policies (id, name, image, aggregate_id, enabled, owner_id, created_at, updated_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            """,
            policy.id, policy.name, policy.image, policy.aggregate, policy.isEnabled, policy.owner, policy.createdAt,
            policy.updatedAt)
    }

    public func update(_ policy: PrefillPolicy) throws {
        try sql.execute(
            """
            UPDATE prefill_policies SET name = ?, image = ?, aggregate_id = ?, enabled = ?, updated_at = ? WHERE id = ?
            """, policy.name, policy.image, policy.aggregate, policy.isEnabled, policy.updatedAt, policy.id)
    }

    public func remove(_ id: PrefillPolicyID) throws {
        try sql.execute("DELETE FROM prefill_policies WHERE id = ?", id)
    }

    // MARK: Nodes

    /// How many enabled nodes the policy is about, and how many of them hold the image.
    public func counts(_ policy: PrefillPolicy, image: ImageID) throws -> (nodes: Int, holding: Int) {
        let row = try sql.query(
            """
            SELECT COUNT(*) AS nodes, COUNT(p.node_id) AS holding
            FROM nodes n LEFT JOIN image_placements p ON p.node_id = n.id AND p.image_id = ? AND p.state = 'held'
            WHERE n.enabled = 1 AND \(Self.scope(policy))
            """, arguments: [image] + Self.arguments(policy))[0]
        return (try row.int("nodes"), try row.int("holding"))
    }

    /// Nodes of the policy that lack the image, by name.
    ///
    /// - Parameter due: only those to which it can be sent now and is not.
    public func lacking(_ policy: PrefillPolicy, image: ImageID, due: Bool, limit: Int) throws -> [PolicyTarget] {
        let condition =
            due
            ? """
            n.enabled = 1 AND n.liveness = 'alive' AND (p.node_id IS NULL
                OR p.paused = 1 AND p.operation_id IS NULL AND p.state IN ('fetching', 'failed'))
            """ : "(p.node_id IS NULL OR p.state <> 'held')"
        return try sql.query(
            """
            SELECT n.id AS target_id, n.name AS target_name, n.enabled AS target_enabled, n.liveness AS target_liveness, p.*
            FROM nodes n LEFT JOIN image_placements p ON p.node_id = n.id AND p.image_id = ?
            WHERE \(condition) AND \(Self.scope(policy)) ORDER BY n.name LIMIT ?
            """, arguments: [image] + Self.arguments(policy) + [limit]
        ).map { row in
            PolicyTarget(
                node: try row.id("target_id"), name: try row.text("target_name"),
                isEnabled: try row.flag("target_enabled"), liveness: try row.choice("target_liveness"),
                copy: try row.optionalText("node_id") == nil ? nil : ImagePlacement(row: row))
        }
    }

    private static func scope(_ policy: PrefillPolicy) -> String {
        policy.aggregate == nil ? "1 = 1" : "n.id IN (SELECT node_id FROM aggregate_nodes WHERE aggregate_id = ?)"
    }

    private static func arguments(_ policy: PrefillPolicy) -> [any SQLBindable] { policy.aggregate.map { [$0] } ?? [] }
}

extension PrefillPolicy {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"), image: try row.text("image"),
            aggregate: try row.optionalID("aggregate_id"), isEnabled: try row.flag("enabled"),
            owner: try row.id("owner_id"), createdAt: try row.timestamp("created_at"),
            updatedAt: try row.timestamp("updated_at"))
    }
}
