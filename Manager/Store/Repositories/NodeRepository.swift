public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var nodes: NodeRepository { NodeRepository(sql: self) }
}

public struct NodeRepository {
    let sql: Transaction

    public func find(_ id: NodeID) throws -> Node? {
        try sql.query("SELECT * FROM nodes WHERE id = ?", id).first.map(node)
    }

    public func find(name: String) throws -> Node? {
        try sql.query("SELECT * FROM nodes WHERE name = ?", name).first.map(node)
    }

    public func name(of id: NodeID) throws -> String? {
        if let known = sql.nodeNames[id] { return known }
        return try sql.query("SELECT name FROM nodes WHERE id = ?", id).first.map { try $0.text("name") }
    }

    /// Of all nodes.
    public func names() throws -> [NodeID: String] {
        var names: [NodeID: String] = [:]
        for row in try sql.query("SELECT id, name FROM nodes") { names[try row.id("id")] = try row.text("name") }
        return names
    }

    /// Whether the node is on record.
    public func contains(_ id: NodeID) throws -> Bool {
        try !sql.query("SELECT 1 FROM nodes WHERE id = ?", id).isEmpty
    }

    /// Whether the node is on record and enabled.
    public func isEnabled(_ id: NodeID) throws -> Bool {
        try !sql.query("SELECT 1 FROM nodes WHERE id = ? AND enabled = 1", id).isEmpty
    }

    /// Whether the node's host was taken back by its own operator.
    public func hasHostHold(_ id: NodeID) throws -> Bool {
        try !sql.query("SELECT 1 FROM nodes WHERE id = ? AND host_hold IS NOT NULL", id).isEmpty
    }

    /// Where the node differs from what the site says; `nil` where it does not, or is not on record.
    public func transferLimits(of id: NodeID) throws -> TransferLimits? {
        try sql.query("SELECT transfer_limits FROM nodes WHERE id = ?", id).first?
            .optionalText("transfer_limits").map { try decoded($0) }
    }

    /// The number of the last change of the node's desired set; `nil` where the node is not on record.
    public func assignmentRevision(of id: NodeID) throws -> Revision? {
        try sql.query("SELECT assignment_revision FROM nodes WHERE id = ?", id).first?.counter("assignment_revision")
    }

    public func list(name: String? = nil, _ page: Page = .everything) throws -> [Node] {
        var conditions = Conditions()
        if let name { conditions.add("name = ?", name) }
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM nodes\(conditions.sql)\(page.tail)", arguments: conditions.arguments + [page.limit]
        ).map(node)
    }

    /// All nodes with empty inventories, which are most of what reading a node costs.
    public func listWithoutInventories() throws -> [Node] {
        try sql.query("SELECT \(Self.columnsButInventory) FROM nodes ORDER BY id").map {
            try Node(row: $0, inventory: NodeInventory())
        }
    }

    /// Nodes of which time makes something by itself.
    public func scheduled() throws -> [Node] {
        try sql.query(
            "SELECT \(Self.columnsButInventory) FROM nodes WHERE hold IS NOT NULL OR availability IS NOT NULL ORDER BY id"
        ).map { try Node(row: $0, inventory: NodeInventory()) }
    }

    /// Nodes that are not heard of any more.
    public func lost() throws -> [Node] {
        try sql.query(
            "SELECT \(Self.columnsButInventory) FROM nodes WHERE liveness = 'down' AND loss IS NOT NULL ORDER BY id"
        ).map { try Node(row: $0, inventory: NodeInventory()) }
    }

    /// How many nodes are in service, and how many of those are heard.
    public func inService() throws -> (all: Int, heard: Int) {
        let row = try sql.query(
            """
            SELECT COUNT(*) AS n, COALESCE(SUM(CASE WHEN liveness IN ('alive', 'suspect') THEN 1 ELSE 0 END), 0) AS heard
            FROM nodes WHERE enabled = 1 AND liveness <> 'never'
            """)[0]
        return (try row.int("n"), try row.int("heard"))
    }

    /// Writes what is known of a node's loss, which `update` leaves alone.
    public func setLoss(_ loss: HostLoss?, of id: NodeID) throws {
        try sql.execute("UPDATE nodes SET loss = ? WHERE id = ?", try loss.map { try jsonText($0) }, id)
        sql.nodeChanges.changed(id)
    }

    private static let columnsButInventory = """
        id, name, enabled, disabled_reason, liveness, last_seen_at, remote_address, software_version, boot_id, location,
        certificate_serial, session_epoch, assignment_revision, drain_state, drain_reason, joined_at, cpu_allocation_ratio,
        ram_allocation_ratio, disk_allocation_ratio, transfer_limits, claimed_vcpus, claimed_ram_mib, claimed_disk_gib,
        instance_count, own_ratios, is_opportunistic, hold, availability, host_hold, dedicated_cpus, places, loss
        """

    private func node(_ row: SQLRow) throws -> Node {
        let node = try Node(row: row, inventory: sql.inventories.value(of: row.text("inventory"), in: row.text("id")))
        sql.nodeNames[node.id] = node.name
        return node
    }

    /// All nodes by ID alone, which costs little.
    public func ids() throws -> Set<NodeID> {
        Set(try sql.query("SELECT id FROM nodes").map { try $0.id("id") })
    }

    public func insert(_ node: Node) throws {
        try sql.execute(
            """
            INSERT INTO nodes (id, name, enabled, disabled_reason, liveness, last_seen_at, remote_address, software_version,
                boot_id, location, certificate_serial, session_epoch, assignment_revision, drain_state, drain_reason,
                joined_at, inventory, cpu_allocation_ratio, ram_allocation_ratio, disk_allocation_ratio, transfer_limits,
                claimed_vcpus, claimed_ram_mib, claimed_disk_gib, instance_count, own_ratios, is_opportunistic, hold,
                availability, host_hold)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, ?, ?, ?, ?, ?)
            """,
            node.id, node.name, node.enabled, node.disabledReason, node.liveness.rawValue, node.lastSeenAt,
            node.remoteAddress, node.softwareVersion, node.bootID, node.location, node.certificateSerial,
            node.sessionEpoch, node.assignmentRevision, node.drainState.rawValue, node.drainReason, node.joinedAt,
            try jsonText(node.inventory), node.ratios.cpu, node.ratios.ram, node.ratios.disk,
            try Self.text(node.transferLimits), node.ownRatios, node.isOpportunistic,
            try node.hold.map { try jsonText($0) },
            try node.availability.map { try jsonText($0) }, try node.hostHold.map { try jsonText($0) })
        if let dedicated = node.dedicatedCPUs { try setDedicatedCPUs(dedicated, of: node.id) }
        sql.nodeChanges.changed(node.id)
    }

    private func setDedicatedCPUs(_ processors: ProcessorSet?, of node: NodeID) throws {
        try sql.execute("UPDATE nodes SET dedicated_cpus = ? WHERE id = ?", processors?.description, node)
    }

    /// Where the guests of a node lie that are not anywhere: a claim, as `adjustClaim` is.
    func setPlaces(_ places: [InstanceID: GuestPlace], of node: NodeID) throws {
        let named = Dictionary(places.map { ("\($0.key)", $0.value) }) { first, _ in first }
        let text: String? = try places.isEmpty ? nil : jsonText(named)
        try sql.execute("UPDATE nodes SET places = ? WHERE id = ?", text, node)
        sql.nodeChanges.changed(node)
    }

    /// Writes everything but claims and the assignment revision, which have their own transitions.
    public func update(_ node: Node) throws {
        try sql.execute(
            """
            UPDATE nodes SET name = ?, enabled = ?, disabled_reason = ?, liveness = ?, last_seen_at = ?, remote_address = ?,
                software_version = ?, boot_id = ?, location = ?, certificate_serial = ?, session_epoch = ?, drain_state = ?,
                drain_reason = ?, inventory = ?, cpu_allocation_ratio = ?, ram_allocation_ratio = ?,
                disk_allocation_ratio = ?, transfer_limits = ?, own_ratios = ?, is_opportunistic = ?, hold = ?,
                availability = ?, host_hold = ?, dedicated_cpus = ?
            WHERE id = ?
            """,
            node.name, node.enabled, node.disabledReason, node.liveness.rawValue, node.lastSeenAt, node.remoteAddress,
            node.softwareVersion, node.bootID, node.location, node.certificateSerial, node.sessionEpoch,
            node.drainState.rawValue, node.drainReason,
            try sql.inventories.text(of: node.inventory, in: node.id.description) ?? jsonText(node.inventory),
            node.ratios.cpu, node.ratios.ram, node.ratios.disk, try Self.text(node.transferLimits), node.ownRatios,
            node.isOpportunistic, try node.hold.map { try jsonText($0) },
            try node.availability.map { try jsonText($0) },
            try node.hostHold.map { try jsonText($0) }, node.dedicatedCPUs?.description, node.id)
        sql.nodeNames[node.id] = node.name
        sql.nodeChanges.changed(node.id)
    }

    /// Hardly any node has limits of its own.
    private static func text(_ limits: TransferLimits) throws -> String? {
        limits == TransferLimits() ? nil : try jsonText(limits)
    }

    /// Removes the node and refuses its certificate from now on.
    public func remove(_ node: Node, at now: Timestamp) throws {
        try revoke(serial: node.certificateSerial, of: node.id, at: now)
        for copy in try sql.images.placements(on: node.id) { sql.nodeChanges.changed(copy.image, on: node.id) }
        try sql.execute("DELETE FROM image_placements WHERE node_id = ?", node.id)
        try sql.imageCopies.removeAll(on: node.id)
        try sql.execute("DELETE FROM usage_spools WHERE node_id = ?", node.id)
        try sql.execute("DELETE FROM former_placements WHERE node_id = ?", node.id)
        try sql.execute("DELETE FROM aggregate_nodes WHERE node_id = ?", node.id)
        try sql.devices.removeAll(on: node.id)
        try sql.chains.forget(node.id)
        try sql.execute("DELETE FROM nodes WHERE id = ?", node.id)
        sql.nodeNames[node.id] = nil
        sql.nodeChanges.changed(node.id)
        sql.note(.identity)
    }

    /// A serial is refused from now on, for instance because its node was removed or renewed its certificate.
    public func revoke(serial: String, of node: NodeID, at now: Timestamp) throws {
        guard !serial.isEmpty, try !isRevoked(serial: serial) else { return }
        try sql.execute(
            "INSERT INTO revoked_certificates (serial, node_id, revoked_at) VALUES (?, ?, ?)", serial, node, now)
    }

    public func isRevoked(serial: String) throws -> Bool {
        try !sql.query("SELECT 1 FROM revoked_certificates WHERE serial = ?", serial).isEmpty
    }

    /// The node's desired set changed: gives the change its number.
    public func nextAssignmentRevision(_ node: NodeID) throws -> Revision {
        try sql.execute("UPDATE nodes SET assignment_revision = assignment_revision + 1 WHERE id = ?", node)
        return try noted(node)
    }

    private func noted(_ node: NodeID) throws -> Revision {
        sql.note(.assignments(node))
        return try assignmentRevision(of: node) ?? Revision(0)
    }

    /// Makes an instance's claim, which is a change of the desired set, or releases it, which is another; gives the change its
    /// number.
    ///
    /// - Parameter known: the revision before, where the caller has read it in this transaction.
    func adjustClaim(
        of instance: Instance, on node: NodeID, by sign: Int, after known: Revision? = nil
    ) throws -> Revision {
        // Of one that has given its room back, the disk and the place are left.
        let share = instance.room == .released ? 0 : sign
        try sql.execute(
            """
            UPDATE nodes SET assignment_revision = assignment_revision + 1, claimed_vcpus = claimed_vcpus + ?,
                claimed_ram_mib = claimed_ram_mib + ?, claimed_disk_gib = claimed_disk_gib + ?,
                instance_count = instance_count + ? WHERE id = ?
            """,
            share * instance.vcpus, share * instance.ramMiB, sign * instance.diskGiB, sign, node)
        sql.nodeChanges.changed(node)
        guard let known else { return try noted(node) }
        sql.note(.assignments(node))
        return Revision(known.value + 1)
    }

    /// Takes the vCPUs and the RAM of an instance, or gives them back; its disk and its place stay as they are.
    func adjustRoom(of instance: Instance, on node: NodeID, by sign: Int) throws {
        try sql.execute(
            "UPDATE nodes SET claimed_vcpus = claimed_vcpus + ?, claimed_ram_mib = claimed_ram_mib + ? WHERE id = ?",
            sign * instance.vcpus, sign * instance.ramMiB, node)
        sql.nodeChanges.changed(node)
    }

    // MARK: Join tokens

    public func insert(_ token: JoinToken) throws {
        try sql.execute(
            """
            INSERT INTO join_tokens (id, secret_hash, node_name, created_by, created_at, expires_at, used_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            token.id, token.secretHash, token.nodeName, token.createdBy, token.createdAt, token.expiresAt, token.usedAt)
    }

    public func joinToken(hash: ContentDigest) throws -> JoinToken? {
        try sql.query("SELECT * FROM join_tokens WHERE secret_hash = ?", hash).first.map { row in
            guard let hash = try row.optionalDigest("secret_hash") else { throw StoreError.corrupt("join token hash") }
            return JoinToken(
                id: try row.id("id"), secretHash: hash, nodeName: try row.optionalText("node_name"),
                createdBy: try row.text("created_by"), createdAt: try row.timestamp("created_at"),
                expiresAt: try row.timestamp("expires_at"), usedAt: try row.optionalTimestamp("used_at"))
        }
    }

    public func markUsed(_ token: JoinToken, at now: Timestamp) throws {
        try sql.execute("UPDATE join_tokens SET used_at = ? WHERE id = ?", now, token.id)
    }

    func removeJoinTokens(expiredBefore moment: Timestamp, limit: Int) throws -> Int {
        let ids = try sql.query("SELECT id FROM join_tokens WHERE expires_at < ? LIMIT ?", moment, limit)
            .map { try $0.text("id") }
        for id in ids { try sql.execute("DELETE FROM join_tokens WHERE id = ?", id) }
        return ids.count
    }
}

extension Node {
    /// What stands in the columns, which are never empty: `ownRatios` says which of it counts.
    fileprivate var ratios: AllocationRatios { AllocationRatios(of: self, in: []) }

    fileprivate var ownRatios: Int {
        (cpuAllocationRatio == nil ? 0 : 1) + (ramAllocationRatio == nil ? 0 : 2) + (diskAllocationRatio == nil ? 0 : 4)
    }

    init(row: SQLRow, inventory: NodeInventory) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"), certificateSerial: try row.text("certificate_serial"),
            joinedAt: try row.timestamp("joined_at"))
        enabled = try row.flag("enabled")
        disabledReason = try row.text("disabled_reason")
        if let text = try row.optionalText("hold") { hold = try decoded(text) }
        if let text = try row.optionalText("host_hold") { hostHold = try decoded(text) }
        if let text = try row.optionalText("availability") { availability = try decoded(text) }
        liveness = try row.choice("liveness")
        lastSeenAt = try row.optionalTimestamp("last_seen_at")
        if let text = try row.optionalText("loss") { loss = try decoded(text) }
        remoteAddress = try row.text("remote_address")
        softwareVersion = try row.text("software_version")
        bootID = try row.text("boot_id")
        location = try row.text("location")
        sessionEpoch = try row.counter("session_epoch")
        assignmentRevision = try row.counter("assignment_revision")
        drainState = try row.choice("drain_state")
        drainReason = try row.text("drain_reason")
        self.inventory = inventory
        let own = try row.int("own_ratios")
        if own & 1 != 0 { cpuAllocationRatio = try row.real("cpu_allocation_ratio") }
        if own & 2 != 0 { ramAllocationRatio = try row.real("ram_allocation_ratio") }
        if own & 4 != 0 { diskAllocationRatio = try row.real("disk_allocation_ratio") }
        isOpportunistic = try row.flag("is_opportunistic")
        dedicatedCPUs = try row.optionalText("dedicated_cpus").flatMap { ProcessorSet($0) }
        if let text = try row.optionalText("places") {
            let named: [String: GuestPlace] = try decoded(text)
            for (id, place) in named { if let id = InstanceID(id) { places[id] = place } }
        }
        if let limits = try row.optionalText("transfer_limits") { transferLimits = try decoded(limits) }
        claimedVCPUs = try row.int("claimed_vcpus")
        claimedRAMMiB = try row.int("claimed_ram_mib")
        claimedDiskGiB = try row.int("claimed_disk_gib")
        instanceCount = try row.int("instance_count")
    }
}
