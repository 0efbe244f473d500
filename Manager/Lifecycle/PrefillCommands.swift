public import ManagerModel
import ManagerStore
import ProtocolModel
import ProtocolTransfer

extension Commands {
    /// Caches an image on nodes in one chain: the manager serves the first, each node the next. Where the image is still on
    /// its way to the manager, the prefill waits for it (IMG-02).
    ///
    /// A node that is disabled gets nothing: it is told as failed, and gets the image once it is enabled.
    public func prefill(_ reference: String, on nodes: [String]) throws -> Operation {
        let image = try image(reference)
        guard image.status == .active || image.status.isOnItsWay else { throw try notReady(image) }
        var targets: [Node] = []
        for name in nodes {
            let node = try node(name)
            if !targets.contains(where: { $0.id == node.id }) { targets.append(node) }
        }
        // Another prefill of the image may run, but a node is in one at a time.
        for running in try prefills(of: image.id) {
            for host in running.hosts where !host.isSettled {
                guard targets.contains(where: { $0.name == host.node }) else { continue }
                throw conflict(with: running, on: "image '\(image.name)' on node '\(host.node)'")
            }
        }
        var operation = Operation(
            id: .generate(at: now), kind: .imagePrefill,
            steps: [.init(name: "accepted", detail: "chain of \(targets.count) planned", at: now)],
            resource: ResourceReference(image), owner: actor.user, createdAt: now)
        operation.hosts = targets.map { .init(node: $0.name, state: "waiting") }
        try sql.operations.insert(operation)
        try event(
            "image.prefill_requested", ResourceReference(image), owner: nil,
            detail: targets.map(\.name).joined(separator: " "), operation: operation.id)
        try advancePrefill(operation)
        return try sql.operations.find(operation.id) ?? operation
    }

    /// Begins what waited for its image as soon as that is active, and ends it if the image never will be. To be called
    /// while any host of a running prefill waits.
    public func advancePrefill(_ operation: Operation) throws {
        guard operation.status == .running, !operation.isPaused, let id = ImageID(operation.resource.id) else { return }
        var changed = operation
        let image = try sql.images.find(id)
        if let image, image.status == .active {
            try beginPrefill(&changed, image)
        } else if let image, image.status.isOnItsWay {
            changed.note(
                step: "waiting",
                "the image is \(image.status.rawValue) (\(image.progress) %); it is sent once it is active",
                at: now)
        } else {
            let what = image.map { "is \($0.status.rawValue)" } ?? "is gone"
            let why = image?.statusReason ?? ""
            let sentence = "the image \(what)\(why.isEmpty ? "" : ": \(why)")"
            for index in changed.hosts.indices where changed.hosts[index].state == "waiting" {
                changed.hosts[index].state = "failed"
                changed.hosts[index].detail = sentence
            }
            changed.finish(errorCode: "image_not_ready", detail: sentence, at: now)
        }
        guard changed != operation else { return }
        try save(changed)
        try FleetReports(in: sql, at: now).settlePrefill(changed.id)
    }

    private func beginPrefill(_ operation: inout Operation, _ image: Image) throws {
        let waiting = operation.hosts.filter { $0.state == "waiting" }
        let upstreams = try planChain(of: image.id, for: waiting.compactMap { try sql.nodes.find(name: $0.node) })
        for index in operation.hosts.indices where operation.hosts[index].state == "waiting" {
            guard let node = try sql.nodes.find(name: operation.hosts[index].node) else {
                operation.hosts[index].state = "failed"
                operation.hosts[index].detail = "the node was removed"
                continue
            }
            let before = try sql.images.placement(of: image.id, on: node.id)
            let placement = try wantImage(
                image.id, on: node.id, operation: operation.id, priority: .prefill, behind: upstreams[node.id])
            // What an operator put there stays, whatever room is needed, until somebody unpins it (HLT-42).
            try sql.imageCopies.setPinned(true, image.id, on: node.id, at: now)
            if before?.state == .held {
                operation.hosts[index] = .init(
                    node: node.name, state: "held", progress: 100, bytes: 0, seconds: 0, detail: "it was there already")
            } else {
                operation.hosts[index] = try Self.hostResult(of: placement, on: node, sql: sql)
            }
        }
        if operation.steps.last?.name == "waiting" {
            operation.note(step: "sending", "the image is active", at: now)
        }
    }

    /// Whom nodes that lack an image are to pull it from, all planned together: by location and by how fast they were, behind
    /// the chains that run already.
    private func planChain(of image: ImageID, for nodes: [Node]) throws -> [NodeID: NodeID?] {
        let copies = try sql.chains.copies(of: image)
        let known = Set(copies.map(\.copy.node))
        let newcomers = try nodes.filter { !known.contains($0.id) }.map { node in
            ChainMember(
                node: node.id, name: node.name, location: node.location, isPaused: !node.enabled,
                isReachable: node.liveness == .alive || node.liveness == .suspect,
                throughput: try sql.chains.throughput(of: node.id))
        }
        let head = try sql.siteSettings.transfers().headBytesPerSecond
        return ChainPlanner.place(
            newcomers, among: copies.map(ChainMember.init),
            headChains: ChainPlanner.headChains(for: newcomers, headBytesPerSecond: head))
    }

    /// Puts an image into a node's assignment set, behind the best source there is: the last node of a chain under way,
    /// or the holder that serves fewest, or the manager.
    ///
    /// - Parameters:
    ///   - priority: `launch` takes a copy that is on its way over from whoever wanted it, also one that is paused.
    ///   - planned: the upstream, where it was planned together with others.
    @discardableResult
    func wantImage(
        _ image: ImageID, on node: NodeID, operation: OperationID?, priority: ImagePlacement.Priority,
        behind planned: NodeID?? = nil
    ) throws -> ImagePlacement {
        if var existing = try sql.images.placement(of: image, on: node), existing.state != .removing {
            let before = existing
            if let operation { existing.operation = operation }
            if priority == .launch || operation != nil || existing.operation == nil, existing.state != .held {
                if existing.isPaused { existing.reason = "" }
                existing.isPaused = false
                // A failed copy is asked for anew.
                if operation != nil, existing.state == .failed { existing.state = .fetching }
            }
            if priority == .launch { existing.priority = .launch }
            guard existing != before else { return existing }
            existing.updatedAt = now
            try sql.images.update(existing, assigned: true)
            return existing
        }
        let upstream =
            switch planned {
            case .some(let planned): planned
            case .none: try sql.images.bestUpstream(of: image, for: node)
            }
        try sql.images.removePlacement(of: image, on: node)
        let placement = ImagePlacement(
            image: image, node: node, upstream: upstream, operation: operation, priority: priority, requestedAt: now,
            updatedAt: now)
        try sql.images.insert(placement)
        return placement
    }

    static func hostResult(of placement: ImagePlacement, on node: Node, sql: Transaction) throws -> Operation.HostResult
    {
        let total = max(1, placement.chunksTotal)
        return Operation.HostResult(
            node: node.name, state: placement.state.rawValue,
            progress: placement.state == .held ? 100 : 100 * placement.chunksHeld / total,
            source: try placement.upstream.flatMap { try sql.nodes.find($0)?.name } ?? "manager",
            bytes: placement.bytesReceived,
            seconds: Double((placement.updatedAt - placement.requestedAt).milliseconds) / 1000, detail: placement.reason
        )
    }

    /// Prefills of an image that have not ended.
    func prefills(of image: ImageID) throws -> [Operation] {
        try sql.operations.running(.imagePrefill).filter { $0.resource.id == image.description }
    }

    /// A prefill that still waits for a node.
    func runningPrefill(of image: ImageID) throws -> Operation? { try prefills(of: image).first }

    /// Who gives images to a node, or gets them from it, has changed, as the node was enabled or disabled.
    func retellTransfers(of node: NodeID) throws {
        try sql.images.touchTransfers(of: node)
        for prefill in Set(try sql.images.placements(on: node).compactMap(\.operation)) {
            try FleetReports(in: sql, at: now).settlePrefill(prefill)
        }
    }
}

extension Image.Status {
    /// Whether it may become active by itself.
    var isOnItsWay: Bool { [.queued, .saving, .converting].contains(self) }
}

extension Operation.HostResult {
    /// Whether nothing more is expected from the host.
    var isSettled: Bool { ["held", "failed", "cancelled"].contains(state) }
}
