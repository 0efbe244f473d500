public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var imageCaptures: ImageCaptureRepository { ImageCaptureRepository(sql: self) }
}

/// Images that are being made of instances' disks; part of the desired set of the node that has the disk.
public struct ImageCaptureRepository {
    let sql: Transaction

    public func find(_ image: ImageID) throws -> ImageCapture? {
        try sql.query("SELECT * FROM image_captures WHERE image_id = ?", image).first.map(ImageCapture.init(row:))
    }

    public func list(of instance: InstanceID) throws -> [ImageCapture] {
        try sql.query("SELECT * FROM image_captures WHERE instance_id = ? ORDER BY image_id", instance)
            .map(ImageCapture.init(row:))
    }

    public func list(on node: NodeID) throws -> [ImageCapture] {
        try sql.query("SELECT * FROM image_captures WHERE node_id = ? ORDER BY image_id", node)
            .map(ImageCapture.init(row:))
    }

    /// All, in the order in which they were asked for.
    public func list() throws -> [ImageCapture] {
        try sql.query("SELECT * FROM image_captures ORDER BY image_id").map(ImageCapture.init(row:))
    }

    /// Puts it into the node's desired set.
    public func insert(_ capture: ImageCapture) throws {
        try sql.execute(
            """
            INSERT INTO image_captures (image_id, instance_id, node_id, state, manifest_digest, size_bytes, requested_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            capture.image, capture.instance, capture.node, capture.state.rawValue, capture.manifestDigest,
            capture.sizeBytes, capture.requestedAt)
        _ = try sql.nodes.nextAssignmentRevision(capture.node)
    }

    /// Notes what the node says of its copy.
    public func update(_ capture: ImageCapture) throws {
        try sql.execute(
            "UPDATE image_captures SET state = ?, manifest_digest = ?, size_bytes = ? WHERE image_id = ?",
            capture.state.rawValue, capture.manifestDigest, capture.sizeBytes, capture.image)
    }

    /// Takes it out of the node's desired set; the node removes its copy when it hears of it.
    public func remove(_ capture: ImageCapture) throws {
        try sql.execute("DELETE FROM image_captures WHERE image_id = ?", capture.image)
        _ = try sql.nodes.nextAssignmentRevision(capture.node)
    }
}

extension ImageCapture {
    init(row: SQLRow) throws {
        self.init(
            image: try row.id("image_id"), instance: try row.id("instance_id"), node: try row.id("node_id"),
            state: try row.choice("state"), manifestDigest: try row.optionalDigest("manifest_digest"),
            sizeBytes: try row.optionalInteger("size_bytes"), requestedAt: try row.timestamp("requested_at"))
    }
}
