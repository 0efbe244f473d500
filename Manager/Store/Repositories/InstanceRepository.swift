public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var instances: InstanceRepository { InstanceRepository(sql: self) }
}

/// Instances, and with each row its claim: making and releasing a claim on the node and on its owner's limits is part of
/// inserting and finishing the row (P3).
public struct InstanceRepository {
    let sql: Transaction

    /// What a list may ask for.
    public struct Filter: Sendable, Equatable {
        public var scope = Scope.everything
        public var owner: UserID?
        public var name: String?
        public var status: InstanceStatus?
        public var node: NodeID?
        public var includesDeleted = false

        public init() {}
    }

    /// Instances on a node that are made from an image, but for deleted ones.
    public func list(of image: ImageID, on node: NodeID) throws -> [Instance] {
        try sql.query(
            "SELECT * FROM instances WHERE node_id = ? AND image_id = ? AND status <> 'DELETED' ORDER BY id", node,
            image
        ).map(Instance.init(row:))
    }

    public func find(_ id: InstanceID) throws -> Instance? {
        try sql.query("SELECT * FROM instances WHERE id = ?", id).first.map(Instance.init(row:))
    }

    public func list(_ filter: Filter, _ page: Page = .everything) throws -> [Instance] {
        var conditions = Conditions()
        if !filter.includesDeleted { conditions.add("status <> 'DELETED'") }
        conditions.add(filter.scope)
        if let owner = filter.owner { conditions.add("owner_id = ?", owner) }
        if let name = filter.name { conditions.add("name = ?", name) }
        if let status = filter.status { conditions.add("status = ?", status.rawValue) }
        if let node = filter.node { conditions.add("node_id = ?", node) }
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM instances\(conditions.sql)\(page.tail)",
            arguments: conditions.arguments + [page.limit]
        ).map(Instance.init(row:))
    }

    /// What the node should be told since `revision`, deleted instances included.
    public func changed(on node: NodeID, since revision: Revision) throws -> [Instance] {
        try sql.query(
            "SELECT * FROM instances WHERE node_id = ? AND assignment_revision > ? ORDER BY id", node, revision
        ).map(Instance.init(row:))
    }

    /// The highest `n` of an owner's instances `NAME-n`; 0 where there is none.
    public func highestNumber(behind name: String, of owner: UserID) throws -> Int {
        // '.' comes behind '-', and no pattern has to be kept from meaning something.
        let rows = try sql.query(
            "SELECT name FROM instances WHERE owner_id = ? AND status <> 'DELETED' AND name > ? AND name < ?", owner,
            name + "-", name + ".")
        return try rows.compactMap { Int(try $0.text("name").dropFirst(name.count + 1)) }.max() ?? 0
    }

    public func count(image: ImageID) throws -> Int {
        try sql.query("SELECT COUNT(*) AS n FROM instances WHERE image_id = ? AND status <> 'DELETED'", image)[0].int(
            "n")
    }

    public func count(flavor: FlavorID) throws -> Int {
        try sql.query("SELECT COUNT(*) AS n FROM instances WHERE flavor_id = ? AND status <> 'DELETED'", flavor)[0].int(
            "n")
    }

    /// How many instances there are in each status, deleted ones apart.
    public func countsByStatus() throws -> [InstanceStatus: Int] {
        var counts: [InstanceStatus: Int] = [:]
        for row in try sql.query(
            "SELECT status, COUNT(*) AS n FROM instances WHERE status <> 'DELETED' GROUP BY status")
        {
            counts[try row.choice("status")] = try row.int("n")
        }
        return counts
    }

    /// Addresses taken on a node.
    /// Also those of guests that the node has not said to be gone yet.
    public func addresses(on node: NodeID) throws -> Set<String> {
        Set(
            try sql.query(
                """
                SELECT ip_address FROM instances WHERE node_id = ? AND ip_address IS NOT NULL
                UNION ALL SELECT ip_address FROM former_placements WHERE node_id = ? AND ip_address IS NOT NULL
                """, node, node
            ).map { try $0.text("ip_address") })
    }

    /// Addresses taken on each of the nodes from one ID through another; `nil`: on none.
    public func addresses(from first: NodeID?, through last: NodeID?) throws -> [NodeID: [String]] {
        guard let first, let last else { return [:] }
        var addresses: [NodeID: [String]] = [:]
        for row in try sql.query(
            "SELECT node_id, ip_address FROM instances WHERE node_id BETWEEN ? AND ? AND ip_address IS NOT NULL", first,
            last)
        {
            addresses[try row.id("node_id"), default: []].append(try row.text("ip_address"))
        }
        return addresses
    }

    /// Whether an instance of the node has the address, and whether any instance has the card's address: both with one query.
    public func taken(_ address: String, on node: NodeID, card: String) throws -> (address: Bool, card: Bool) {
        let rows = try sql.query(
            """
            SELECT 0 AS is_card FROM instances WHERE node_id = ? AND ip_address = ?
            UNION ALL SELECT 0 AS is_card FROM former_placements WHERE node_id = ? AND ip_address = ?
            UNION ALL SELECT 1 AS is_card FROM instances WHERE mac_address = ?
            """, node, address, node, address, card)
        let found = try rows.map { try $0.flag("is_card") }
        return (found.contains(false), found.contains(true))
    }

    public func hasMACAddress(_ address: String) throws -> Bool {
        try !sql.query("SELECT 1 FROM instances WHERE mac_address = ?", address).isEmpty
    }

    /// Adds the instance, makes its claim and puts it into its node's assignment set.
    ///
    /// - Parameter node: its node, where the caller has read it in this transaction and not changed it since.
    public func insert(_ instance: Instance, on node: Node? = nil) throws {
        let revision = try instance.node.map {
            try sql.nodes.adjustClaim(of: instance, on: $0, by: 1, after: node?.assignmentRevision)
        }
        try sql.execute(
            """
            INSERT INTO instances (id, name, owner_id, account, flavor_id, image_id, key_name, ssh_keys, user_data, metadata,
                host_name, vcpus, ram_mib, disk_gib, gpus, node_id, epoch, mac_address, ip_address, desired, generation,
                power_cycle, forced, stop_timeout_seconds, stopped_by_drain, status, status_code, status_reason, started_at,
                ready_at, operation_id, created_at, updated_at, deleted_at, assignment_revision, devices, server_group_id,
                priority, preemption, room)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
                ?, ?, ?)
            """,
            instance.id, instance.name, instance.owner, instance.account, instance.flavor, instance.image,
            instance.keyName, try jsonText(instance.sshKeys), instance.userData, try jsonText(instance.metadata),
            instance.hostName, instance.vcpus, instance.ramMiB, instance.diskGiB, instance.gpus,
            Self.text(instance.node), instance.epoch,
            instance.macAddress, instance.ipAddress, instance.desired.rawValue, instance.generation,
            instance.powerCycle, instance.force, instance.stopTimeoutSeconds, instance.stoppedByDrain,
            instance.status.rawValue, instance.statusCode, instance.statusReason, instance.startedAt, instance.readyAt,
            instance.operation, instance.createdAt, instance.updatedAt, instance.deletedAt,
            revision ?? Revision(0), Self.text(instance.devices), instance.serverGroup, instance.priority,
            instance.preemption?.rawValue, instance.room.rawValue)
        // Hardly any guest has some.
        if !instance.hardware.isEmpty {
            try sql.execute(
                "UPDATE instances SET hardware = ? WHERE id = ?", try jsonText(instance.hardware), instance.id)
        }
        for wish in instance.devices {
            try sql.execute(
                """
                INSERT INTO instance_devices (instance_id, alias, devices) VALUES (?, ?, ?)
                ON CONFLICT (instance_id, alias) DO UPDATE SET devices = devices + excluded.devices
                """, instance.id, wish.alias, wish.count)
        }
        try sql.quotas.count(instance, by: 1)
        // What hardly any instance has costs the others nothing.
        if instance.onHostLoss != .keep || instance.placementLimits != .none { try updateHostLoss(instance) }
    }

    /// Writes what becomes of it when its host vanishes, which `update` leaves alone.
    public func updateHostLoss(_ instance: Instance) throws {
        let limits = instance.placementLimits == .none ? nil : try jsonText(instance.placementLimits)
        let policy = instance.onHostLoss == .keep ? nil : instance.onHostLoss.rawValue
        try sql.execute(
            "UPDATE instances SET on_host_loss = ?, host_loss_unconfirmed = ?, placement_limits = ? WHERE id = ?",
            policy,
            instance.isHostLossPolicyUnconfirmed ? Int?(1) : nil, limits, instance.id)
    }

    /// Instances that are to run, or would if nobody had emptied their node, and that are to be started elsewhere when it is lost.
    private static let restarting = """
        node_id = ? AND on_host_loss = 'restart' AND room = 'held'
            AND (desired = 'running' OR (desired = 'stopped' AND stopped_by_drain = 1))
        """

    public func listToRestart(on node: NodeID) throws -> [Instance] {
        try sql.query("SELECT * FROM instances WHERE \(Self.restarting) ORDER BY id", node).map(Instance.init(row:))
    }

    /// Whether there is any, whether or not its host knows of the policy.
    public func hasToRestart(on node: NodeID) throws -> Bool {
        try !sql.query("SELECT 1 FROM instances WHERE \(Self.restarting) LIMIT 1", node).isEmpty
    }

    /// Whether one that runs waits for its host to be certainly off, which its host has kept.
    public func hasWaiting(forLossOf node: NodeID) throws -> Bool {
        try !sql.query(
            """
            SELECT 1 FROM instances WHERE \(Self.restarting) AND desired = 'running' AND host_loss_unconfirmed IS NULL LIMIT 1
            """, node
        ).isEmpty
    }

    /// How many instances of each of these nodes are to run, by what becomes of them when their hosts vanish; one whose host
    /// may not know of its policy stays.
    public func countsByHostLoss(on nodes: [NodeID]) throws -> [NodeID: [HostLossPolicy: Int]] {
        var counts: [NodeID: [HostLossPolicy: Int]] = [:]
        for node in nodes {
            for row in try sql.query(
                """
                SELECT CASE WHEN on_host_loss = 'restart' AND host_loss_unconfirmed IS NULL THEN 1 ELSE 0 END AS leaves,
                    COUNT(*) AS n FROM instances WHERE node_id = ? AND status <> 'DELETED' AND desired = 'running'
                GROUP BY leaves
                """, node)
            {
                counts[node, default: [:]][try row.flag("leaves") ? .restart : .keep] = try row.int("n")
            }
        }
        return counts
    }

    /// Says of the guests of a node that cannot be heard why nothing is known of them.
    public func noteSilence(of node: NodeID, _ reasons: [HostLossPolicy: String]) throws {
        for (policy, reason) in reasons.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            try sql.execute(
                """
                UPDATE instances SET status_code = 'host_silent', status_reason = ? WHERE node_id = ? AND status = 'ACTIVE'
                    AND desired = 'running'
                    AND CASE WHEN on_host_loss = 'restart' AND host_loss_unconfirmed IS NULL THEN 'restart' ELSE 'keep' END = ?
                """, reason, node, policy.rawValue)
        }
    }

    /// The node is heard again; what has become of its guests it says soon.
    public func endSilence(of node: NodeID) throws {
        try sql.execute(
            """
            UPDATE instances SET status_code = 'ready', status_reason = 'the guest answered when its host was last heard'
            WHERE node_id = ? AND status = 'ACTIVE' AND status_code = 'host_silent'
            """, node)
    }

    /// Places an instance on another node: its claim goes with it, and its former node is to remove what it has of it.
    ///
    /// - Parameter before: as it was on its former node.
    public func move(_ instance: Instance, from before: Instance, at now: Timestamp) throws {
        guard let source = before.node, let destination = instance.node else {
            throw StoreError.corrupt("instance \(instance.id) moves between nodes and has none")
        }
        try releasePlace(of: before)
        let left = try sql.nodes.adjustClaim(of: before, on: source, by: -1)
        let former = FormerPlacement(
            instance: before.id, node: source, epoch: before.epoch, generation: instance.generation,
            image: before.image, address: before.ipAddress, movedAt: now)
        try sql.formerPlacements.insert(former, revision: left)
        try sql.formerPlacements.remove(instance.id, from: destination)
        let revision = try sql.nodes.adjustClaim(of: instance, on: destination, by: 1)
        // At once: the address is another host's, and may be another instance's here.
        try sql.execute(
            "UPDATE instances SET node_id = ?, ip_address = ? WHERE id = ?", destination, instance.ipAddress,
            instance.id)
        try update(instance, revision: revision)
        try updateHostLoss(instance)
    }

    /// As a flavor's property has it; `nil`: none, as with nearly all.
    private static func text(_ devices: [FlavorRequirements.Devices]) -> String? {
        devices.isEmpty ? nil : devices.map { "\($0.alias):\($0.count)" }.joined(separator: ",")
    }

    /// The column is never NULL.
    private static func text(_ node: NodeID?) -> String { node?.description ?? "" }

    /// One that waited got a host, and addresses there: makes its claim and puts it into the node's assignment set.
    ///
    /// - Parameter node: as the caller has read it in this transaction and not changed it since.
    public func place(_ instance: Instance, on node: Node) throws {
        let revision = try sql.nodes.adjustClaim(of: instance, on: node.id, by: 1, after: node.assignmentRevision)
        try sql.execute("UPDATE instances SET node_id = ? WHERE id = ?", node.id, instance.id)
        try update(instance, revision: revision)
    }

    /// Gives the instance's share of its node back, or takes it again; the caller stores the row, which says which.
    public func adjustRoom(of instance: Instance, by sign: Int) throws {
        guard let node = instance.node else { return }
        try sql.nodes.adjustRoom(of: instance, on: node, by: sign)
    }

    /// Those that would yield to others, and have their room.
    public func preemptible() throws -> [Instance] {
        try sql.query(
            """
            SELECT * FROM instances WHERE preemption IS NOT NULL AND room = 'held' AND node_id <> ''
                AND status <> 'DELETED' AND desired <> 'deleted' ORDER BY id
            """
        ).map(Instance.init(row:))
    }

    /// Nodes on which room is on its way to others.
    public func nodesBeingLeft() throws -> Set<NodeID> {
        Set(
            try sql.query(
                """
                SELECT DISTINCT node_id FROM instances WHERE preemption IS NOT NULL AND room IN ('yielding', 'leaving')
                    AND status NOT IN ('ERROR', 'DELETED')
                """
            ).map { try $0.id("node_id") })
    }

    /// Writes what changed. `assigned`: the node must be told.
    public func update(_ instance: Instance, assigned: Bool) throws {
        try update(
            instance,
            revision: assigned ? try instance.node.map { try sql.nodes.nextAssignmentRevision($0) } : nil)
    }

    /// Gives all instances of a user to another; their nodes are told.
    ///
    /// - Returns: how many there were.
    public func handOver(from user: UserID, to heir: UserID, at now: Timestamp) throws -> Int {
        var filter = Filter()
        filter.owner = user
        let instances = try list(filter)
        try sql.execute("UPDATE instances SET owner_id = ? WHERE owner_id = ? AND status <> 'DELETED'", heir, user)
        for var instance in instances {
            instance.owner = heir
            instance.updatedAt = now
            try update(instance, assigned: true)
        }
        return instances.count
    }

    /// Writes what agents' reports change. The columns that stand in an index are left alone, for writing one costs as much
    /// as all others, even where it stays as it is.
    public func updateState(_ instance: Instance) throws {
        try sql.execute(
            """
            UPDATE instances SET epoch = ?, desired = ?, generation = ?, power_cycle = ?, forced = ?,
                stop_timeout_seconds = ?, stopped_by_drain = ?, status = ?, status_code = ?, status_reason = ?,
                started_at = ?, ready_at = ?, operation_id = ?, updated_at = ?, deleted_at = ?
            WHERE id = ?
            """,
            instance.epoch, instance.desired.rawValue, instance.generation, instance.powerCycle, instance.force,
            instance.stopTimeoutSeconds, instance.stoppedByDrain, instance.status.rawValue, instance.statusCode,
            instance.statusReason, instance.startedAt, instance.readyAt, instance.operation, instance.updatedAt,
            instance.deletedAt, instance.id)
    }

    private func update(_ instance: Instance, revision: Revision?) throws {
        try sql.execute(
            """
            UPDATE instances SET name = ?, metadata = ?, epoch = ?, mac_address = ?, ip_address = ?, desired = ?,
                generation = ?, power_cycle = ?, forced = ?, stop_timeout_seconds = ?, stopped_by_drain = ?, status = ?,
                status_code = ?, status_reason = ?, started_at = ?, ready_at = ?, operation_id = ?, updated_at = ?,
                deleted_at = ?, room = ?, assignment_revision = COALESCE(?, assignment_revision)
            WHERE id = ?
            """,
            instance.name, try jsonText(instance.metadata), instance.epoch, instance.macAddress, instance.ipAddress,
            instance.desired.rawValue, instance.generation, instance.powerCycle, instance.force,
            instance.stopTimeoutSeconds, instance.stoppedByDrain, instance.status.rawValue, instance.statusCode,
            instance.statusReason, instance.startedAt, instance.readyAt, instance.operation, instance.updatedAt,
            instance.deletedAt, instance.room.rawValue, revision, instance.id)
    }

    /// Records where a new instance lies on its node, which the node's row says once more.
    ///
    /// - Parameter node: as it is in the record now.
    public func setPlace(_ place: GuestPlace, of id: InstanceID, on node: Node) throws {
        try sql.execute("UPDATE instances SET place = ? WHERE id = ?", try jsonText(place), id)
        var places = node.places
        places[id] = place
        try sql.nodes.setPlaces(places, of: node.id)
    }

    private func releasePlace(of instance: Instance) throws {
        guard instance.place != nil, let node = try instance.node.flatMap({ try sql.nodes.find($0) }) else { return }
        try sql.execute("UPDATE instances SET place = NULL WHERE id = ?", instance.id)
        var places = node.places
        places[instance.id] = nil
        try sql.nodes.setPlaces(places, of: node.id)
    }

    /// All instances of a node are told to it anew.
    public func retell(on node: NodeID) throws {
        let revision = try sql.nodes.nextAssignmentRevision(node)
        try sql.execute(
            "UPDATE instances SET assignment_revision = ? WHERE node_id = ? AND status <> 'DELETED'", revision, node)
    }

    /// The host has nothing left of the instance: releases its claim, addresses and place in the assignment set.
    public func finishDeletion(_ instance: Instance) throws {
        var instance = instance
        instance.macAddress = nil
        instance.ipAddress = nil
        instance.status = .deleted
        // Groups count their members by the rows that name them.
        if instance.serverGroup != nil {
            try sql.execute("UPDATE instances SET server_group_id = NULL WHERE id = ?", instance.id)
        }
        try releasePlace(of: instance)
        try update(
            instance, revision: try instance.node.map { try sql.nodes.adjustClaim(of: instance, on: $0, by: -1) })
        try sql.quotas.count(instance, by: -1)
        if let node = instance.node { sql.nodeChanges.addressFreed(on: node) }
    }
}

extension SQLRow {
    /// An instance's, which has none while it waits for one.
    func node() throws -> NodeID? { try text("node_id").isEmpty ? nil : try id("node_id") }
}

extension Instance {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"), owner: try row.id("owner_id"),
            account: try row.text("account"), flavor: try row.id("flavor_id"), image: try row.id("image_id"),
            keyName: try row.optionalText("key_name"), sshKeys: try row.json("ssh_keys"),
            userData: try row.blob("user_data"), metadata: try row.json("metadata"),
            hostName: try row.text("host_name"),
            vcpus: try row.int("vcpus"), ramMiB: try row.int("ram_mib"), diskGiB: try row.int("disk_gib"),
            gpus: try row.int("gpus"), devices: try row.optionalText("devices").flatMap(FlavorProperties.devices) ?? [],
            serverGroup: try row.optionalID("server_group_id"), node: try row.node(),
            epoch: try row.counter("epoch"),
            macAddress: try row.optionalText("mac_address"),
            ipAddress: try row.optionalText("ip_address"), desired: try row.choice("desired"),
            generation: try row.counter("generation"), powerCycle: try row.counter("power_cycle"),
            force: try row.flag("forced"),
            stopTimeoutSeconds: try row.optionalInteger("stop_timeout_seconds").map(Int.init),
            stoppedByDrain: try row.flag("stopped_by_drain"), priority: try row.int("priority"),
            preemption: try row.optionalChoice("preemption"), room: try row.choice("room"),
            status: try row.choice("status"),
            statusCode: try row.text("status_code"), statusReason: try row.text("status_reason"),
            startedAt: try row.optionalTimestamp("started_at"), readyAt: try row.optionalTimestamp("ready_at"),
            operation: try row.optionalID("operation_id"), createdAt: try row.timestamp("created_at"),
            updatedAt: try row.timestamp("updated_at"), deletedAt: try row.optionalTimestamp("deleted_at"))
        if let text = try row.optionalText("hardware") { hardware = try decoded(text) }
        if let text = try row.optionalText("place") { place = try decoded(text) }
        if let policy = try row.optionalText("on_host_loss") { onHostLoss = HostLossPolicy(rawValue: policy) ?? .keep }
        isHostLossPolicyUnconfirmed = try row.optionalInteger("host_loss_unconfirmed") == 1
        if let limits = try row.optionalText("placement_limits") { placementLimits = try decoded(limits) }
    }
}
