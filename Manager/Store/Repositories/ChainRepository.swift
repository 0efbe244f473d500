public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var chains: ChainRepository { ChainRepository(sql: self) }
}

/// Who pulls an image from whom.
public struct ChainRepository {
    let sql: Transaction

    /// Holders of an image that are looked at where one is to head a chain; there may be thousands.
    private static let holders = 256

    /// Images that are on their way to any node.
    public func activeImages() throws -> Set<ImageID> {
        Set(
            try sql.query("SELECT DISTINCT image_id FROM image_placements WHERE state = 'fetching'")
                .map { try $0.id("image_id") })
    }

    /// Everybody that receives the image, everybody that somebody receives it from, and others that hold it.
    public func copies(of image: ImageID) throws -> [ChainCopy] {
        var copies = try list("p.image_id = ? AND p.state IN ('fetching', 'failed')", [image])
        copies += try list(
            "p.image_id = ? AND p.state = 'held' AND n.liveness = 'alive'", [image],
            "ORDER BY p.requested_at, p.node_id LIMIT \(Self.holders)")
        var known = Set(copies.map(\.copy.node))
        for upstream in copies.compactMap(\.copy.upstream) where known.insert(upstream).inserted {
            copies += try list("p.image_id = ? AND p.node_id = ? AND p.state <> 'removing'", [image, upstream])
        }
        return copies
    }

    private func list(_ condition: String, _ arguments: [any SQLBindable], _ rest: String = "") throws -> [ChainCopy] {
        try sql.query(
            """
            SELECT p.*, n.name AS node_name, n.location AS node_location, n.enabled AS node_enabled,
                n.liveness AS node_liveness, t.bytes_per_second AS throughput
            FROM image_placements p JOIN nodes n ON n.id = p.node_id
            LEFT JOIN image_throughput t ON t.node_id = p.node_id
            WHERE \(condition) \(rest)
            """, arguments: arguments
        ).map { row in
            ChainCopy(
                copy: try ImagePlacement(row: row), name: try row.text("node_name"),
                location: try row.text("node_location"), isEnabled: try row.flag("node_enabled"),
                liveness: try row.choice("node_liveness"), throughput: try row.optionalInteger("throughput"))
        }
    }

    /// Whom a node pulls the image from in the plan; `nil`: the manager, or it has no copy.
    public func upstream(of node: NodeID, image: ImageID) throws -> NodeID? {
        try sql.query("SELECT upstream_id FROM image_placements WHERE image_id = ? AND node_id = ?", image, node).first?
            .optionalID("upstream_id")
    }

    /// Puts a node behind another one. Who is told is the caller's matter.
    public func link(_ image: ImageID, _ node: NodeID, to upstream: NodeID?, reason: String, at now: Timestamp) throws {
        try sql.execute(
            "UPDATE image_placements SET upstream_id = ?, reason = ?, updated_at = ? WHERE image_id = ? AND node_id = ?",
            upstream, reason, now, image, node)
    }

    /// Bytes a second of images that the node last received; `nil`: never measured.
    public func throughput(of node: NodeID) throws -> Int64? {
        try sql.query("SELECT bytes_per_second FROM image_throughput WHERE node_id = ?", node).first?
            .integer("bytes_per_second")
    }

    /// Remembers how fast a node received.
    public func remember(_ bytesPerSecond: Int64, of node: NodeID, at now: Timestamp) throws {
        guard try sql.nodes.contains(node) else { return }
        try forget(node)
        try sql.execute(
            "INSERT INTO image_throughput (node_id, bytes_per_second, measured_at) VALUES (?, ?, ?)", node,
            bytesPerSecond, now)
    }

    func forget(_ node: NodeID) throws {
        try sql.execute("DELETE FROM image_throughput WHERE node_id = ?", node)
    }
}
