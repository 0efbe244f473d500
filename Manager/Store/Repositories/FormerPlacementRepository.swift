public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var formerPlacements: FormerPlacementRepository { FormerPlacementRepository(sql: self) }
}

/// Where instances were before their hosts were lost. Each is part of its node's desired set until the node has said that
/// nothing is left there, and is kept afterwards for what the node still tells of the guest's use.
public struct FormerPlacementRepository {
    let sql: Transaction

    public func find(_ instance: InstanceID, on node: NodeID) throws -> FormerPlacement? {
        try sql.query("SELECT * FROM former_placements WHERE node_id = ? AND instance_id = ?", node, instance).first
            .map(FormerPlacement.init(row:))
    }

    /// Everywhere where the instance was.
    public func list(of instance: InstanceID) throws -> [FormerPlacement] {
        try sql.query("SELECT * FROM former_placements WHERE instance_id = ? ORDER BY node_id", instance)
            .map(FormerPlacement.init(row:))
    }

    /// Whether the node may have something of an instance that is elsewhere now.
    public func areOpen(on node: NodeID) throws -> Bool {
        try !sql.query("SELECT 1 FROM former_placements WHERE node_id = ? AND gone = 0 LIMIT 1", node).isEmpty
    }

    /// What the node should be told since `revision`.
    public func changed(on node: NodeID, since revision: Revision) throws -> [FormerPlacement] {
        try sql.query(
            "SELECT * FROM former_placements WHERE node_id = ? AND assignment_revision > ? ORDER BY instance_id", node,
            revision
        ).map(FormerPlacement.init(row:))
    }

    /// Until when the node may tell of the use of each of these instances, which are elsewhere now.
    public func ends(of instances: some Sequence<InstanceID>, on node: NodeID) throws -> [InstanceID: Timestamp] {
        var ends: [InstanceID: Timestamp] = [:]
        for instance in instances { ends[instance] = try find(instance, on: node)?.movedAt }
        return ends
    }

    /// - Parameter revision: of the node's desired set, with this change.
    public func insert(_ former: FormerPlacement, revision: Revision) throws {
        try remove(former.instance, from: former.node)
        try sql.execute(
            """
            INSERT INTO former_placements (node_id, instance_id, epoch, generation, image_id, ip_address, moved_at, gone,
                assignment_revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            former.node, former.instance, former.epoch, former.generation, former.image, former.address, former.movedAt,
            former.isGone, revision)
    }

    /// The node has nothing left of it.
    public func settle(_ former: FormerPlacement) throws {
        let revision = try sql.nodes.nextAssignmentRevision(former.node)
        try sql.execute(
            """
            UPDATE former_placements SET gone = 1, ip_address = NULL, assignment_revision = ?
            WHERE node_id = ? AND instance_id = ?
            """, revision, former.node, former.instance)
        sql.nodeChanges.addressFreed(on: former.node)
    }

    /// The instance is placed there again, or nobody will ask any more.
    public func remove(_ instance: InstanceID, from node: NodeID) throws {
        try sql.execute("DELETE FROM former_placements WHERE node_id = ? AND instance_id = ?", node, instance)
    }
}

extension FormerPlacement {
    init(row: SQLRow) throws {
        self.init(
            instance: try row.id("instance_id"), node: try row.id("node_id"), epoch: try row.counter("epoch"),
            generation: try row.counter("generation"), image: try row.id("image_id"),
            address: try row.optionalText("ip_address"), movedAt: try row.timestamp("moved_at"),
            isGone: try row.flag("gone"))
    }
}
