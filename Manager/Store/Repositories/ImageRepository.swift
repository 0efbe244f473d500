public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var images: ImageRepository { ImageRepository(sql: self) }
}

/// Images, and where in the fleet they are or should be.
public struct ImageRepository {
    let sql: Transaction

    public func find(_ id: ImageID) throws -> Image? {
        try sql.remembered("SELECT * FROM images WHERE id = ?", id).first.map(Image.init(row:))
    }

    /// Which of the images that somebody may see are meant.
    public enum Selection: Sendable {
        case all
        /// Without those that others have deactivated.
        case ownOrOffered
        case offered
    }

    /// Images in `scope`, and those that are offered to `user`: public ones, and those shared with their account. Deleted
    /// ones are gone.
    public func list(
        _ scope: Scope, offeredTo user: UserID?, only selection: Selection = .all, name: String? = nil,
        _ page: Page = .everything
    ) throws -> [Image] {
        var conditions = Conditions()
        conditions.add("status <> 'deleted'")
        if scope != .everything { conditions.add(scope, or: Self.offered, user?.description ?? "") }
        switch selection {
        case .all: break
        case .ownOrOffered: conditions.add(scope, or: "status <> ?", Image.Status.deactivated.rawValue)
        case .offered: conditions.add("status <> 'deactivated'")
        }
        if let name { conditions.add("name = ?", name) }
        conditions.add(page)
        return try sql.remembered(
            "SELECT * FROM images\(conditions.sql)\(page.tail)", arguments: conditions.arguments + [page.limit]
        ).map(Image.init(row:))
    }

    /// To everybody, or to the account of a user.
    private static let offered = """
        (visibility = 'public' OR (visibility = 'shared' AND id IN (
            SELECT s.image_id FROM image_shares s JOIN users u ON u.account = s.account WHERE u.id = ?)))
        """

    /// Whether an image is offered to the users of an account.
    public func isOffered(_ image: Image, to account: String) throws -> Bool {
        switch image.visibility {
        case .public: true
        case .private: false
        case .shared: try accounts(of: image.id).contains(account)
        }
    }

    /// Where an image's file is being fetched from, and the entity tag of what has come; `nil` where it is not.
    public func source(of id: ImageID) throws -> (address: String, entityTag: String?)? {
        guard let operation = try find(id)?.operation.flatMap({ try sql.operations.find($0) }),
            operation.status == .running, let address = operation.parameters["url"]
        else { return nil }
        return (address, operation.parameters["etag"])
    }

    /// Gives all images of a user to another.
    ///
    /// - Returns: how many there were.
    public func handOver(from user: UserID, to heir: UserID, at now: Timestamp) throws -> Int {
        try sql.execute(
            "UPDATE images SET owner_id = ?, updated_at = ? WHERE owner_id = ? AND status <> 'deleted'", heir, now, user
        )
    }

    // MARK: Shares

    /// The accounts that an image is shared with, in order of name.
    public func accounts(of image: ImageID) throws -> [String] {
        try sql.remembered("SELECT account FROM image_shares WHERE image_id = ? ORDER BY account", image).map {
            try $0.text("account")
        }
    }

    public func share(_ image: ImageID, with account: String, at now: Timestamp) throws {
        try sql.execute(
            """
            INSERT INTO image_shares (image_id, account, created_at) VALUES (?, ?, ?)
            ON CONFLICT (image_id, account) DO UPDATE SET created_at = excluded.created_at
            """, image, account, now)
    }

    public func unshare(_ image: ImageID, with account: String) throws {
        try sql.execute("DELETE FROM image_shares WHERE image_id = ? AND account = ?", image, account)
    }

    public func unshare(_ image: ImageID) throws {
        try sql.execute("DELETE FROM image_shares WHERE image_id = ?", image)
    }

    public func name(of id: ImageID) throws -> String? { try sql.name("images", id) }

    public func list(status: Image.Status) throws -> [Image] {
        try sql.query("SELECT * FROM images WHERE status = ?", status.rawValue).map(Image.init(row:))
    }

    public func insert(_ image: Image) throws {
        try sql.execute(
            """
            INSERT INTO images (id, name, owner_id, visibility, status, status_reason, progress, format, size_bytes,
                upload_bytes, checksum, manifest_digest, min_disk_gib, min_ram_mib, properties, operation_id, created_at,
                updated_at, is_protected, expected_bytes, expected_checksum)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            image.id, image.name, image.owner, image.visibility.rawValue, image.status.rawValue, image.statusReason,
            image.progress, image.format, image.sizeBytes, image.uploadBytes, image.checksum, image.manifestDigest,
            image.minDiskGiB, image.minRAMMiB, try jsonText(image.properties), image.operation, image.createdAt,
            image.updatedAt, image.isProtected, image.expectedBytes, image.expectedChecksum)
        try sql.quotas.count(image, by: 1)
    }

    /// Nobody can use the image any more, and it counts for nobody.
    public func finishDeletion(_ image: Image) throws {
        var image = image
        image.status = .deleted
        try update(image)
        try sql.quotas.count(image, by: -1)
    }

    public func update(_ image: Image) throws {
        try sql.execute(
            """
            UPDATE images SET name = ?, visibility = ?, status = ?, status_reason = ?, progress = ?, format = ?,
                size_bytes = ?, upload_bytes = ?, checksum = ?, manifest_digest = ?, min_disk_gib = ?, min_ram_mib = ?,
                properties = ?, operation_id = ?, updated_at = ?, is_protected = ?, expected_bytes = ?,
                expected_checksum = ?
            WHERE id = ?
            """,
            image.name, image.visibility.rawValue, image.status.rawValue, image.statusReason, image.progress,
            image.format,
            image.sizeBytes, image.uploadBytes, image.checksum, image.manifestDigest, image.minDiskGiB, image.minRAMMiB,
            try jsonText(image.properties), image.operation, image.updatedAt, image.isProtected, image.expectedBytes,
            image.expectedChecksum, image.id)
    }

    // MARK: Placements

    public func placement(of image: ImageID, on node: NodeID) throws -> ImagePlacement? {
        try sql.query("SELECT * FROM image_placements WHERE image_id = ? AND node_id = ?", image, node).first
            .map(ImagePlacement.init(row:))
    }

    public func placements(of image: ImageID) throws -> [ImagePlacement] {
        try sql.query("SELECT * FROM image_placements WHERE image_id = ? ORDER BY requested_at, node_id", image)
            .map(ImagePlacement.init(row:))
    }

    /// The nodes that have the whole image.
    public func holders(of image: ImageID) throws -> [NodeID] {
        try sql.query("SELECT node_id FROM image_placements WHERE image_id = ? AND state = 'held'", image)
            .map { try $0.id("node_id") }
    }

    public func placements(on node: NodeID) throws -> [ImagePlacement] {
        try sql.query("SELECT * FROM image_placements WHERE node_id = ? ORDER BY image_id", node)
            .map(ImagePlacement.init(row:))
    }

    public func changedPlacements(on node: NodeID, since revision: Revision) throws -> [ImagePlacement] {
        try sql.query(
            "SELECT * FROM image_placements WHERE node_id = ? AND assignment_revision > ? ORDER BY image_id", node,
            revision
        ).map(ImagePlacement.init(row:))
    }

    /// The nodes that pull this image from `node`.
    public func downstream(of node: NodeID, image: ImageID) throws -> [NodeID] {
        try sql.query(
            "SELECT node_id FROM image_placements WHERE upstream_id = ? AND image_id = ? AND state <> 'removing'", node,
            image
        ).map { try $0.id("node_id") }
    }

    /// Whom `node` should pull the image from, among nodes that are alive and have it or fetch it: the one asked last of those
    /// that serve nobody, which is the end of a chain under way; else the one that serves fewest. `nil`: the manager.
    public func bestUpstream(of image: ImageID, for node: NodeID) throws -> NodeID? {
        let usable = """
            p.image_id = ? AND p.node_id <> ? AND n.liveness = 'alive'
            AND (p.state = 'held' OR p.state = 'fetching' AND p.paused = 0 AND n.enabled = 1)
            """
        let served =
            "d.upstream_id = p.node_id AND d.image_id = p.image_id AND d.node_id <> ? AND d.state IN ('held', 'fetching')"
        // Backwards by the time of asking, so that of a chain of thousands only its end is read.
        let end = try sql.query(
            """
            SELECT p.node_id FROM image_placements p JOIN nodes n ON n.id = p.node_id WHERE \(usable)
                AND NOT EXISTS (SELECT 1 FROM image_placements d WHERE \(served))
            ORDER BY p.requested_at DESC, p.node_id DESC LIMIT 1
            """, image, node, node)
        if let end = end.first { return try end.id("node_id") }
        return try sql.query(
            """
            SELECT p.node_id, (SELECT COUNT(*) FROM image_placements d WHERE \(served)) AS pulls
            FROM image_placements p JOIN nodes n ON n.id = p.node_id WHERE \(usable)
            ORDER BY pulls, p.requested_at, p.node_id LIMIT 1
            """, node, image, node
        ).first.map { try $0.id("node_id") }
    }

    /// Puts the image into the node's assignment set, and tells its upstream whom to serve.
    public func insert(_ placement: ImagePlacement) throws {
        let revision = try sql.nodes.nextAssignmentRevision(placement.node)
        try sql.execute(
            """
            INSERT INTO image_placements (image_id, node_id, state, upstream_id, chunks_held, chunks_total, bytes_received,
                reason, operation_id, priority, paused, assignment_revision, requested_at, updated_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            placement.image, placement.node, placement.state.rawValue, placement.upstream, placement.chunksHeld,
            placement.chunksTotal, placement.bytesReceived, placement.reason, placement.operation,
            placement.priority.rawValue, placement.isPaused, revision, placement.requestedAt, placement.updatedAt)
        sql.nodeChanges.changed(placement.image, on: placement.node)
        if let upstream = placement.upstream {
            try touch(placement.image, on: upstream)
            // It stands in for the upstream.
            if let above = try sql.chains.upstream(of: upstream, image: placement.image) {
                try touch(placement.image, on: above)
            }
        }
    }

    /// `assigned`: the node and its upstream must be told.
    public func update(_ placement: ImagePlacement, assigned: Bool) throws {
        try sql.execute(
            """
            UPDATE image_placements SET state = ?, upstream_id = ?, chunks_held = ?, chunks_total = ?, bytes_received = ?,
                reason = ?, operation_id = ?, priority = ?, paused = ?, updated_at = ?
            WHERE image_id = ? AND node_id = ?
            """,
            placement.state.rawValue, placement.upstream, placement.chunksHeld, placement.chunksTotal,
            placement.bytesReceived, placement.reason, placement.operation, placement.priority.rawValue,
            placement.isPaused, placement.updatedAt, placement.image, placement.node)
        sql.nodeChanges.changed(placement.image, on: placement.node)
        guard assigned else { return }
        try touch(placement.image, on: placement.node)
        if let upstream = placement.upstream { try touch(placement.image, on: upstream) }
    }

    public func removePlacement(of image: ImageID, on node: NodeID) throws {
        try sql.execute("DELETE FROM image_placements WHERE image_id = ? AND node_id = ?", image, node)
        try sql.imageCopies.remove(image, on: node)
        sql.nodeChanges.changed(image, on: node)
    }

    /// The node, those who give it images and those who get images from it hear of them again: who may pull from whom has
    /// changed.
    public func touchTransfers(of node: NodeID) throws {
        for placement in try placements(on: node) {
            let image = placement.image
            var concerned: Set<NodeID> = []
            if placement.state != .held {
                concerned.insert(node)
                if let upstream = placement.upstream {
                    concerned.insert(upstream)
                    // Which stands in for it.
                    if let above = try sql.chains.upstream(of: upstream, image: image) { concerned.insert(above) }
                }
            }
            for behind in try downstream(of: node, image: image) {
                concerned.insert(behind)
                concerned.formUnion(try downstream(of: behind, image: image))
            }
            for other in concerned.sorted() { try touch(image, on: other) }
        }
    }

    /// Makes the node hear of this image again, with whom to serve.
    public func touch(_ image: ImageID, on node: NodeID) throws {
        let revision = try sql.nodes.nextAssignmentRevision(node)
        try sql.execute(
            "UPDATE image_placements SET assignment_revision = ? WHERE image_id = ? AND node_id = ?", revision, image,
            node)
    }
}

extension Image {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"), owner: try row.id("owner_id"),
            visibility: try row.choice("visibility"), status: try row.choice("status"),
            statusReason: try row.text("status_reason"), progress: try row.int("progress"),
            format: try row.optionalText("format"), sizeBytes: try row.optionalInteger("size_bytes"),
            uploadBytes: try row.optionalInteger("upload_bytes"), checksum: try row.optionalDigest("checksum"),
            manifestDigest: try row.optionalDigest("manifest_digest"), minDiskGiB: try row.int("min_disk_gib"),
            minRAMMiB: try row.int("min_ram_mib"), properties: try row.json("properties"),
            isProtected: try row.flag("is_protected"), expectedBytes: try row.optionalInteger("expected_bytes"),
            expectedChecksum: try row.optionalDigest("expected_checksum"),
            operation: try row.optionalID("operation_id"), createdAt: try row.timestamp("created_at"),
            updatedAt: try row.timestamp("updated_at"))
    }
}

extension ImagePlacement {
    init(row: SQLRow) throws {
        self.init(
            image: try row.id("image_id"), node: try row.id("node_id"), state: try row.choice("state"),
            upstream: try row.optionalID("upstream_id"), chunksHeld: try row.int("chunks_held"),
            chunksTotal: try row.int("chunks_total"), bytesReceived: try row.integer("bytes_received"),
            reason: try row.text("reason"), operation: try row.optionalID("operation_id"),
            priority: try row.choice("priority"), isPaused: try row.flag("paused"),
            requestedAt: try row.timestamp("requested_at"), updatedAt: try row.timestamp("updated_at"))
    }
}
