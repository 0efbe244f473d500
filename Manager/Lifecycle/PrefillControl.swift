public import ManagerModel
import ManagerStore
import ProtocolModel

/// Pause, resume, cancel. What is wished is recorded with the copies themselves, so that it holds whoever is restarted.
extension Commands {
    /// Lets a prefill stand still. What instances wait for goes on.
    ///
    /// - Throws: `Refusal.conflict` where it has ended, or is of a kind that cannot stand still.
    public func pauseOperation(_ reference: String) throws -> Operation {
        try control(reference, "paused") { operation in
            guard !operation.isPaused else { return false }
            operation.isPaused = true
            operation.note(step: "paused", "by \(actor.name)", at: now)
            try setPaused(true, copiesOf: operation)
            return true
        }
    }

    /// Lets a paused prefill go on from what each node has.
    public func resumeOperation(_ reference: String) throws -> Operation {
        try control(reference, "resumed") { operation in
            guard operation.isPaused else { return false }
            operation.isPaused = false
            operation.note(step: "resumed", "by \(actor.name)", at: now)
            try setPaused(false, copiesOf: operation)
            return true
        }
    }

    /// Ends a prefill. Nodes that hold the image keep it, and those where an instance waits for it go on.
    ///
    /// - Parameter drop: whether what came so far is removed; otherwise it is kept for the next who wants the image there.
    public func cancelOperation(_ reference: String, drop: Bool) throws -> Operation {
        try control(reference, "cancelled") { operation in
            let end = drop ? "what came was removed" : "what came is kept for a later prefill"
            for var copy in try copies(of: operation) where copy.priority == .prefill {
                copy.operation = nil
                copy.updatedAt = now
                if drop {
                    copy.state = .removing
                } else {
                    copy.isPaused = true
                    copy.reason = "its prefill was cancelled"
                }
                try sql.images.update(copy, assigned: true)
                // What is not whole must not keep the room of what is.
                try sql.imageCopies.setPinned(false, copy.image, on: copy.node, at: now)
                try bypass(copy)
            }
            for (index, host) in operation.hosts.enumerated() where !host.isSettled {
                operation.hosts[index].state = "cancelled"
                operation.hosts[index].detail = host.state == "waiting" ? "nothing was sent" : end
            }
            operation.cancel(detail: "cancelled by \(actor.name); \(end)", at: now)
            return true
        }
    }

    /// - Parameter change: whether anything changed.
    private func control(
        _ reference: String, _ done: String, _ change: (inout Operation) throws -> Bool
    ) throws -> Operation {
        var operation = try operation(reference)
        guard operation.kind == .imagePrefill else {
            throw Refusal(.conflict, "an operation of kind \(operation.kind.rawValue) cannot be \(done)")
        }
        guard operation.status == .running else {
            throw Refusal(
                .conflict, "operation \(operation.id) has \(operation.status.rawValue) and cannot be \(done) any more")
        }
        guard try change(&operation) else { return operation }
        try save(operation)
        if operation.status == .running {
            try event(
                "image.prefill_\(done)", operation.resource, owner: operation.owner, operation: operation.id)
            try FleetReports(in: sql, at: now).settlePrefill(operation.id)
            if let current = try sql.operations.find(operation.id) { try advancePrefill(current) }
        }
        return try sql.operations.find(operation.id) ?? operation
    }

    /// The copies that a prefill has begun and that are not whole.
    private func copies(of operation: Operation) throws -> [ImagePlacement] {
        guard let image = ImageID(operation.resource.id) else { return [] }
        return try sql.images.placements(of: image).filter {
            $0.operation == operation.id && [.fetching, .failed].contains($0.state)
        }
    }

    private func setPaused(_ isPaused: Bool, copiesOf operation: Operation) throws {
        for var copy in try copies(of: operation) where copy.priority == .prefill && copy.isPaused != isPaused {
            copy.isPaused = isPaused
            copy.updatedAt = now
            try sql.images.update(copy, assigned: true)
            if isPaused { try bypass(copy) }
        }
    }

    /// Nodes behind a copy that stands still pull from whoever is before it instead.
    private func bypass(_ copy: ImagePlacement) throws {
        for node in try sql.images.downstream(of: copy.node, image: copy.image) {
            guard var behind = try sql.images.placement(of: copy.image, on: node), behind.state != .held,
                !behind.isPaused, behind.operation != copy.operation || copy.operation == nil
            else { continue }
            behind.upstream = try firstMoving(above: copy)
            try sql.images.update(behind, assigned: true)
            try sql.images.touch(copy.image, on: copy.node)
        }
    }

    /// The nearest node up the chain that fetches or holds the image; `nil`: the manager.
    private func firstMoving(above copy: ImagePlacement) throws -> NodeID? {
        var seen: Set<NodeID> = [copy.node]
        var next = copy.upstream
        while let node = next, seen.insert(node).inserted {
            guard let above = try sql.images.placement(of: copy.image, on: node) else { return nil }
            if above.state == .held || above.state == .fetching && !above.isPaused { return node }
            next = above.upstream
        }
        return nil
    }
}
