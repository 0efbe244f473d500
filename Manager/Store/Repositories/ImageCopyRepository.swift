public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var imageCopies: ImageCopyRepository { ImageCopyRepository(sql: self) }
}

/// What nodes say of their copies of images, and which copies are pinned. Both end with the image's placement on the node.
public struct ImageCopyRepository {
    let sql: Transaction

    public func find(_ image: ImageID, on node: NodeID) throws -> ImageCopy? {
        try sql.query("SELECT * FROM image_copies WHERE image_id = ? AND node_id = ?", image, node).first
            .map(ImageCopy.init(row:))
    }

    public func copies(of image: ImageID) throws -> [NodeID: ImageCopy] {
        let copies = try sql.query("SELECT * FROM image_copies WHERE image_id = ?", image).map(ImageCopy.init(row:))
        return Dictionary(copies.map { ($0.node, $0) }, uniquingKeysWith: { $1 })
    }

    public func copies(on node: NodeID) throws -> [ImageID: ImageCopy] {
        let copies = try sql.query("SELECT * FROM image_copies WHERE node_id = ?", node).map(ImageCopy.init(row:))
        return Dictionary(copies.map { ($0.image, $0) }, uniquingKeysWith: { $1 })
    }

    /// Takes over what a node says.
    public func save(_ copy: ImageCopy) throws {
        let changed = try sql.execute(
            """
            UPDATE image_copies SET disk_bytes = ?, held_since = ?, last_used_at = ?, verified_at = ?, corrupt_chunks = ?
            WHERE image_id = ? AND node_id = ?
            """,
            copy.diskBytes, copy.heldSince, copy.lastUsedAt, copy.verifiedAt, copy.corruptChunks, copy.image, copy.node)
        guard changed == 0, try find(copy.image, on: copy.node) == nil else { return }
        try sql.execute(
            """
            INSERT INTO image_copies (image_id, node_id, disk_bytes, held_since, last_used_at, verified_at, corrupt_chunks)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            copy.image, copy.node, copy.diskBytes, copy.heldSince, copy.lastUsedAt, copy.verifiedAt, copy.corruptChunks)
    }

    func remove(_ image: ImageID, on node: NodeID) throws {
        try sql.execute("DELETE FROM image_copies WHERE image_id = ? AND node_id = ?", image, node)
        try sql.execute("DELETE FROM image_pins WHERE image_id = ? AND node_id = ?", image, node)
    }

    func removeAll(on node: NodeID) throws {
        try sql.execute("DELETE FROM image_copies WHERE node_id = ?", node)
        try sql.execute("DELETE FROM image_pins WHERE node_id = ?", node)
    }

    // MARK: Pins

    public func isPinned(_ image: ImageID, on node: NodeID) throws -> Bool {
        try !sql.query("SELECT 1 FROM image_pins WHERE image_id = ? AND node_id = ?", image, node).isEmpty
    }

    /// The nodes on which an image is pinned.
    public func pins(of image: ImageID) throws -> Set<NodeID> {
        Set(try sql.query("SELECT node_id FROM image_pins WHERE image_id = ?", image).map { try $0.id("node_id") })
    }

    /// The images that are pinned on a node.
    public func pins(on node: NodeID) throws -> Set<ImageID> {
        Set(try sql.query("SELECT image_id FROM image_pins WHERE node_id = ?", node).map { try $0.id("image_id") })
    }

    /// Pins a copy, or takes the pin away, and makes the node hear of it where that changes anything.
    ///
    /// - Returns: whether it changed anything.
    @discardableResult
    public func setPinned(_ isPinned: Bool, _ image: ImageID, on node: NodeID, at now: Timestamp) throws -> Bool {
        guard try self.isPinned(image, on: node) != isPinned else { return false }
        if isPinned {
            try sql.execute(
                "INSERT INTO image_pins (image_id, node_id, pinned_at) VALUES (?, ?, ?)", image, node, now)
        } else {
            try sql.execute("DELETE FROM image_pins WHERE image_id = ? AND node_id = ?", image, node)
        }
        try sql.images.touch(image, on: node)
        return true
    }
}

extension ImageCopy {
    init(row: SQLRow) throws {
        self.init(
            image: try row.id("image_id"), node: try row.id("node_id"), diskBytes: try row.integer("disk_bytes"),
            heldSince: try row.optionalTimestamp("held_since"), lastUsedAt: try row.optionalTimestamp("last_used_at"),
            verifiedAt: try row.optionalTimestamp("verified_at"), corruptChunks: try row.int("corrupt_chunks"))
    }
}
