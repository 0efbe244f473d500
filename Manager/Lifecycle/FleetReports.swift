public import ManagerModel
public import ManagerStore
public import ProtocolModel
public import ProtocolTransfer

/// What agents report, taken into the record. One value serves one report.
public struct FleetReports {
    let sql: Transaction
    let now: Timestamp

    public init(in transaction: Transaction, at now: Timestamp) {
        self.sql = transaction
        self.now = now
    }

    var commands: Commands {
        Commands(in: sql, actor: .manager, at: now, settings: LifecycleSettings())
    }

    /// Instances as one node sees them. A node speaks only for instances that are placed on it.
    public func observe(_ seen: [ObservedInstance], on node: NodeID) throws {
        for observed in seen {
            guard var instance = try sql.instances.find(observed.instance), instance.node == node else {
                try observeFormer(observed, on: node)
                continue
            }
            if instance.isHostLossPolicyUnconfirmed, observed.epoch == instance.epoch,
                observed.generation == instance.generation
            {
                // What a host tells of a wish it has kept before, and with it what the wish says.
                instance.isHostLossPolicyUnconfirmed = false
                try sql.instances.updateHostLoss(instance)
            }
            var machine = InstanceMachine(instance)
            let effects = machine.observe(observed, at: now)
            if machine.instance != instance || !effects.isEmpty {
                try commands.perform(effects, on: machine.instance, from: instance)
            }
        }
    }

    /// What a node says of an image's copy.
    public struct ObservedImage: Sendable, Equatable {
        public enum State: Sendable, Equatable {
            case fetching, held, failed, removed
        }
        public var image: ImageID
        public var state: State
        public var chunksHeld: Int
        public var chunksTotal: Int
        public var bytesReceived: Int64
        public var reason: String
        /// Bytes a second while its source had what was asked for; `nil`: not known.
        public var throughput: Int64?
        /// A source that failed in the last seconds.
        public var complaint: SourceComplaint?
        /// What the node says of its copy, where it does.
        public var copy: ImageCopy?

        public init(
            image: ImageID, state: State, chunksHeld: Int, chunksTotal: Int, bytesReceived: Int64, reason: String,
            throughput: Int64? = nil, complaint: SourceComplaint? = nil, copy: ImageCopy? = nil
        ) {
            self.image = image
            self.state = state
            self.chunksHeld = chunksHeld
            self.chunksTotal = chunksTotal
            self.bytesReceived = bytesReceived
            self.reason = reason
            self.throughput = throughput
            self.complaint = complaint
            self.copy = copy
        }
    }

    public func observe(_ seen: [ObservedImage], on node: NodeID) throws {
        var prefills: Set<OperationID> = []
        for observed in seen {
            guard var placement = try sql.images.placement(of: observed.image, on: node) else { continue }
            let before = placement.state
            switch observed.state {
            case .removed:
                if placement.state == .removing {
                    try sql.images.removePlacement(of: observed.image, on: node)
                    try tell("image.uncached", placement)
                } else {
                    try evicted(placement, reason: observed.reason)
                }
                continue
            case _ where placement.state == .removing: continue
            case .fetching: placement.state = .fetching
            case .held:
                placement.state = .held
                placement.isPaused = false
            case .failed: placement.state = .failed
            }
            placement.chunksHeld = observed.chunksHeld
            placement.chunksTotal = observed.chunksTotal
            placement.bytesReceived = max(placement.bytesReceived, observed.bytesReceived)
            placement.reason = String(observed.reason.prefix(1000))
            placement.updatedAt = now
            try sql.images.update(placement, assigned: false)
            if let copy = observed.copy, copy.node == node {
                let known = try sql.imageCopies.find(observed.image, on: node)
                // While it is on its way its size changes all the time, and an inventory tells it in the end.
                if observed.state != .fetching || copy.corruptChunks != known?.corruptChunks {
                    try note(copy, before: known)
                }
            }
            if placement.state != before, placement.state == .held { try tell("image.cached", placement) }
            if placement.state != before, placement.state == .failed { try tell("image.cache_failed", placement) }
            if let operation = placement.operation { prefills.insert(operation) }
        }
        for operation in prefills { try settlePrefill(operation) }
    }

    /// What became of an image's copy on a node: an operator's matter.
    func tell(_ kind: String, _ placement: ImagePlacement, detail: String? = nil) throws {
        guard let image = try sql.images.find(placement.image), let node = try sql.nodes.find(placement.node) else {
            return
        }
        try commands.event(
            kind, ResourceReference(image), owner: nil, detail: detail ?? placement.reason, data: ["node": node.name],
            operation: placement.operation)
    }

    /// Batches of a node's usage will never come: an operator's matter.
    public func loseUsage(of id: NodeID, batches: UInt64) throws {
        guard let node = try sql.nodes.find(id) else { return }
        try commands.event(
            "node.usage_lost", ResourceReference(node), owner: nil,
            detail: "what its guests used in \(batches) batches of samples is not known and not counted")
    }

    // MARK: Sessions

    /// An agent connected: gives the session its number.
    public func openSession(
        _ id: NodeID, bootID: String, softwareVersion: String, remoteAddress: String
    ) throws -> SessionEpoch? {
        guard var node = try sql.nodes.find(id) else { return nil }
        let before = node
        node.sessionEpoch = node.sessionEpoch.next
        node.liveness = .alive
        node.lastSeenAt = now
        node.bootID = bootID
        node.softwareVersion = softwareVersion
        node.remoteAddress = remoteAddress
        node.loss = nil
        try sql.nodes.update(node)
        if before.loss != nil { try endLoss(of: id) }
        // That a node merely connected again changes nothing that anybody could see.
        let changes = Event.differences(from: before, to: node)
        if !changes.isEmpty {
            try commands.event(
                before.liveness != .alive ? "node.alive" : "node.changed", ResourceReference(node), owner: nil,
                detail: "from \(remoteAddress)", changes: changes)
        }
        return node.sessionEpoch
    }

    public func takeInventory(_ id: NodeID, _ told: NodeInventory, location: String) throws {
        guard var node = try sql.nodes.find(id) else { return }
        var inventory = told
        // What guests have alone, or may have, is named by it: it stays so while an agent cannot say (P3).
        if inventory.topology == nil, node.dedicatedCPUs != nil || !node.places.isEmpty {
            inventory.topology = node.inventory.topology
        }
        // What every agent says when it comes back: nearly always what is known.
        guard node.inventory != inventory || !(location.isEmpty || node.location == location) else { return }
        let before = node
        let moved = node.inventory.chunkAddress != inventory.chunkAddress
        node.inventory = inventory
        if !location.isEmpty { node.location = location }
        try sql.nodes.update(node)
        let changes = Event.differences(from: before, to: node)
        if !changes.isEmpty {
            try commands.event("node.changed", ResourceReference(node), owner: nil, changes: changes)
        }
        // What its guests share is another than they were told.
        let isElsewhere = !node.places.isEmpty && before.inventory.topology != inventory.topology
        if isElsewhere || before.sharedCPUs != node.sharedCPUs { try sql.instances.retell(on: id) }
        if before.inventory.pciDevices != inventory.pciDevices { try commands.takeDevices(of: node) }
        try endCaptures(on: node)
        guard moved else { return }
        // Those who pull from it must learn its new address.
        for placement in try sql.images.placements(on: id) {
            let downstreams = try ChainNeighbours.downstreams(of: id) {
                try sql.images.downstream(of: $0, image: placement.image)
            }
            for downstream in downstreams.sorted() {
                try sql.images.touch(placement.image, on: downstream)
            }
        }
    }

    /// - Parameter session: the node's last session when this was found out; what was said of an older one than the
    ///   record knows is out of date, and changes nothing.
    public func setLiveness(
        _ id: NodeID, _ liveness: Node.Liveness, session: SessionEpoch, lastSeenAt: Timestamp?, detail: String
    ) throws {
        guard var node = try sql.nodes.find(id), node.sessionEpoch <= session, node.liveness != liveness else { return }
        let before = node
        node.liveness = liveness
        if let lastSeenAt { node.lastSeenAt = lastSeenAt }
        try sql.nodes.update(node)
        if liveness == .down { try beginLoss(of: &node) }
        // Heard again in the session that it had all the time.
        if liveness == .alive, node.loss != nil {
            node.loss = nil
            try endLoss(of: id)
        }
        try commands.event(
            "node.\(liveness.rawValue)", ResourceReference(node), owner: nil, detail: detail,
            changes: Event.differences(from: before, to: node))
        guard liveness == .down else { return }
        try noteCaptures(onDown: node)
        for placement in try sql.images.placements(on: id) {
            if let operation = placement.operation { try settlePrefill(operation) }
        }
    }
}
