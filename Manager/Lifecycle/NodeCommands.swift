public import ManagerModel
import ManagerStore
public import ProtocolModel

/// What happened, or would happen, on one node.
public struct NodeAction: Sendable, Equatable {
    public var node: String
    public var ok: Bool
    public var detail: String
    public var actions: [String]

    public init(node: String, ok: Bool, detail: String, actions: [String] = []) {
        self.node = node
        self.ok = ok
        self.detail = detail
        self.actions = actions
    }
}

extension Commands {
    /// Lets a node take instances again, and starts those that its disabling had stopped. An error on one node does not
    /// stop the others (HLT-17).
    ///
    /// A node with windows stays out of service while they are shut, unless it is to be in service until a time.
    public func enableNodes(_ references: [String], until: Timestamp? = nil) throws -> [NodeAction] {
        try check(until: until)
        return try references.map { reference in
            guard let node = try known(reference) else { return Self.unknown(reference) }
            let hold = until.map { NodeHold(enabled: true, owner: actor.name, until: $0) }
            if let host = node.hostHold { return try note(hold, on: node, with: host) }
            if hold == nil, let shut = try liftHold(of: node) { return shut }
            return try enable(node.id, hold: hold)
        }
    }

    /// Of a node whose windows are shut only the hold is lifted; `nil`: nothing keeps it out of service.
    private func liftHold(of node: Node) throws -> NodeAction? {
        guard let state = node.availability?.state(at: now) else { return nil }
        if node.enabled, let until = node.hold?.until, node.hold?.enabled == true, until > now {
            return NodeAction(
                node: node.name, ok: true,
                detail: "in service until \(until); its windows are shut and decide from then on")
        }
        if case .open = state { return nil }
        let next = nextOpening(node.availability, state)
        try changeHold(nil, of: node)
        return NodeAction(
            node: node.name, ok: true,
            detail: "its windows are shut and decide from now on; next open: \(next); use --until to enable it before")
    }

    /// When windows that are shut open again.
    func nextOpening(_ availability: Availability?, _ state: Availability.State?) -> String {
        switch state {
        case .open, nil: "now"
        case .draining(let endsAt, _): availability?.state(at: endsAt).flatMap(\.opensAt)?.description ?? "never"
        case .closed(let opensAt): opensAt?.description ?? "never"
        }
    }

    /// An operator's word that changes nothing else for now.
    func changeHold(_ hold: NodeHold?, of node: Node) throws {
        guard node.hold != hold else { return }
        var changed = node
        changed.hold = hold
        try sql.nodes.update(changed)
        try event(
            "node.updated", ResourceReference(node), owner: nil, changes: Event.differences(from: node, to: changed))
    }

    func enable(_ id: NodeID, hold: NodeHold?) throws -> NodeAction {
        guard var node = try sql.nodes.find(id) else { return Self.unknown(id.description) }
        let before = node
        node.enabled = true
        node.disabledReason = ""
        node.hold = hold
        node.drainState = .none
        node.drainReason = ""
        try sql.nodes.update(node)
        if !before.enabled { try retellTransfers(of: node.id) }
        // A drain that runs ends here, so that it does not go on with the next one.
        for drain in try sql.operations.running(.nodeDisable)
        where drain.hosts.contains(where: { $0.node == node.name }) {
            try end(node, in: drain, "the node was enabled again meanwhile")
        }
        var filter = InstanceRepository.Filter()
        filter.node = node.id
        var actions: [String] = []
        for var instance in try sql.instances.list(filter)
        where instance.stoppedByDrain && instance.desired == .stopped {
            do {
                try checkRoom(for: instance, on: node)
                try claimDevices(for: instance, on: node)
                try takeRoom(for: &instance)
            } catch let refusal as Refusal {
                // Its owner can start it when there are devices; the node is of use to others.
                actions.append("leave instance \(instance.id) (\(instance.name)) stopped: \(refusal.sentence)")
                try event(
                    "instance.left_stopped", ResourceReference(instance), owner: instance.owner,
                    detail: "its node is in service again; \(refusal.sentence)")
                continue
            }
            actions.append("start instance \(instance.id) (\(instance.name))")
            _ = try request(.instanceStart, of: instance, superseding: true) { machine throws(Refusal) in
                try machine.start(timeoutSeconds: settings.stopTimeoutSeconds, at: now)
            }
        }
        if node != before {
            try event(
                before.enabled ? "node.updated" : "node.enabled", ResourceReference(node), owner: nil,
                changes: Event.differences(from: before, to: node))
        }
        return NodeAction(
            node: node.name, ok: true, detail: before.enabled ? "was enabled already" : "enabled",
            actions: actions)
    }

    /// A drain has nothing more to do with a node, whether its turn had come or not.
    func end(_ node: Node, in drain: Operation, _ reason: String) throws {
        var ended = drain
        for index in drain.hosts.indices
        where drain.hosts[index].node == node.name && Self.isUnderWay(drain.hosts[index]) {
            ended.hosts[index].state = "failed"
            ended.hosts[index].detail = reason
        }
        if ended != drain { try save(ended) }
        try advanceDrain(ended)
    }

    /// A node that no drain looks at any more says how far it came, and is not told as being emptied for ever.
    func settleAbandonedDrain(of id: NodeID, _ reason: String) throws {
        guard let node = try sql.nodes.find(id), node.drainState == .draining else { return }
        let drains = try sql.operations.running(.nodeDisable)
        guard !drains.contains(where: { $0.hosts.contains { $0.node == node.name && Self.isUnderWay($0) } }) else {
            return
        }
        if try withDomain(on: node).isEmpty {
            try settleDrain(.drained, of: node, "node.drained", operation: nil)
        } else {
            try settleDrain(.failed, of: node, "node.drain_failed", detail: reason, operation: nil)
        }
    }

    private func check(until: Timestamp?) throws(Refusal) {
        guard let until, until <= now else { return }
        throw Refusal(
            .unprocessable, "'until' is \(until), which is past; give a time to come",
            fields: [.init(pointer: "/until", detail: "must be in the future")])
    }

    private func check(_ order: DrainOrder) throws(Refusal) {
        try check(until: order.until)
        guard order.mode != .migrate else {
            throw Refusal(
                .unprocessable, "draining by migration is not built yet; use mode stop, shutdown or wait",
                fields: [.init(pointer: "/mode", detail: "must be stop, shutdown or wait")])
        }
    }

    /// What disabling would do. Changes nothing (HLT-08).
    public func planDisabling(
        _ references: [String], _ order: DrainOrder = DrainOrder()
    ) throws -> [NodeAction] {
        try check(order)
        let wait = order.mode == .wait ? "wait at most \(order.waitSeconds) s for, then " : ""
        return try references.map { reference in
            guard let node = try known(reference) else { return Self.unknown(reference) }
            let guests = try toStop(on: node)
            return NodeAction(
                node: node.name, ok: true,
                detail: node.enabled ? "would be disabled" : "is disabled already",
                actions: ["disable node \(node.name)"] + guests.map { "\(wait)stop instance \($0.id) (\($0.name))" })
        }
    }

    /// Takes nodes out of placement at once and begins to empty them (P6). The operation ends when each node has no
    /// domain any more, or could not be emptied in time.
    ///
    /// - Throws: `Refusal.conflict` where all of them are being emptied already; `enable` ends that.
    public func disableNodes(_ references: [String], _ order: DrainOrder) throws -> Operation {
        try check(order)
        let drains = try sql.operations.running(.nodeDisable)
        var operation = Operation(
            id: .generate(at: now), kind: .nodeDisable,
            steps: [.init(name: "disabled", detail: "no node of this operation takes instances any more", at: now)],
            resource: ResourceReference(
                kind: "node", id: "", name: references.joined(separator: ",").prefix(200).description),
            owner: actor.user, parameters: order.parameters, createdAt: now)
        var named: Set<String> = []
        var other: Operation?
        for reference in references {
            guard let node = try known(reference) else {
                guard named.insert(reference).inserted else { continue }
                operation.hosts.append(.init(node: reference, state: "failed", detail: "there is no such node"))
                continue
            }
            // Named twice, it is emptied once.
            guard named.insert(node.name).inserted else { continue }
            // A drain that its windows or its host asked for goes on beside the operator's; neither asks a guest twice.
            if !order.isScheduled,
                let running = drains.first(where: { drain in
                    drain.parameters["scheduled"] != "true" && node.drainState == .draining
                        && drain.hosts.contains { $0.node == node.name && Self.isUnderWay($0) }
                })
            {
                // One that is in the way stops none of the others (HLT-17).
                other = running
                operation.hosts.append(
                    .init(
                        node: node.name, state: "failed", detail: "is being emptied already, by operation \(running.id)"
                    ))
                continue
            }
            try disable(node, order, operation: operation.id)
            operation.hosts.append(.init(node: node.name, state: "waiting", detail: "waits for its turn"))
        }
        if let other, operation.hosts.allSatisfy({ $0.state == "failed" }) {
            throw conflict(with: other, on: "node '\(operation.hosts.last?.node ?? "")'")
        }
        try sql.operations.insert(operation)
        try advanceDrain(operation)
        return try sql.operations.find(operation.id) ?? operation
    }

    private static func isUnderWay(_ host: Operation.HostResult) -> Bool {
        host.state == "stopping" || host.state == "waiting"
    }

    private func disable(_ before: Node, _ order: DrainOrder, operation: OperationID) throws {
        var node = before
        node.enabled = false
        node.disabledReason = node.hostHold?.sentence ?? order.reason
        if !order.isScheduled {
            node.hold = NodeHold(enabled: false, owner: actor.name, reason: order.reason, until: order.until)
        }
        node.drainState = .draining
        node.drainReason = ""
        try sql.nodes.update(node)
        if before.enabled { try retellTransfers(of: node.id) }
        try event(
            "node.disabled", ResourceReference(node), owner: nil, detail: order.reason, operation: operation,
            changes: Event.differences(from: before, to: node))
    }

    /// Looks at a running drain again: whose turn it is, who is gone, who is late. To be called while any is running.
    public func advanceDrain(_ operation: Operation) throws {
        let order = DrainOrder(parameters: operation.parameters)
        let elapsed = Int((now - operation.createdAt).milliseconds / 1000)
        var changed = operation
        for (index, host) in operation.hosts.enumerated() where host.state == "stopping" {
            changed.hosts[index] = try advance(host, of: operation.id, order: order, elapsedSeconds: elapsed)
        }
        // Nodes that are empty, or gone, make room for the next at once.
        var busy = changed.hosts.count { $0.state == "stopping" }
        for (index, host) in operation.hosts.enumerated() where host.state == "waiting" {
            guard busy < order.parallel else { break }
            let begun = try begin(host, order, elapsedSeconds: elapsed)
            changed.hosts[index] = try advance(begun, of: operation.id, order: order, elapsedSeconds: elapsed)
            if changed.hosts[index].state == "stopping" { busy += 1 }
        }
        if !changed.hosts.contains(where: Self.isUnderWay) {
            let failed = changed.hosts.filter { $0.state == "failed" }
            changed.finish(
                errorCode: failed.isEmpty ? nil : "drain_incomplete",
                detail: failed.isEmpty ? nil : Self.sentence(about: failed), at: now)
        }
        changed.progress =
            changed.status == .succeeded
            ? 100 : 100 * changed.hosts.count { !Self.isUnderWay($0) } / max(1, changed.hosts.count)
        if changed != operation { try save(changed) }
    }

    /// Of thousands of hosts, the first say enough; the operation holds them all.
    private static func sentence(about failed: [Operation.HostResult]) -> String {
        let shown = failed.prefix(100).map { "\($0.node): \($0.detail)" }
        let more = failed.count > shown.count ? ["and \(failed.count - shown.count) more"] : []
        return (shown + more).joined(separator: "; ")
    }

    /// A node's turn has come.
    private func begin(
        _ host: Operation.HostResult, _ order: DrainOrder, elapsedSeconds: Int
    ) throws -> Operation.HostResult {
        var host = host
        host.state = "stopping"
        host.seconds = Double(elapsedSeconds)
        guard let node = try sql.nodes.find(name: host.node), !node.enabled else { return host }
        let guests = try toStop(on: node)
        host.remaining = guests.map(\.name)
        if order.mode == .wait {
            host.detail = "waiting for \(guests.count) guests to end"
        } else {
            try ask(guests)
            host.detail = "\(guests.count) guests asked to shut down"
        }
        return host
    }

    private func ask(_ guests: [Instance]) throws {
        for guest in guests {
            _ = try request(.instanceStop, of: guest, superseding: true) { machine throws(Refusal) in
                try machine.stop(force: false, timeoutSeconds: nil, byDrain: true, at: now)
            }
        }
    }

    private func advance(
        _ host: Operation.HostResult, of operation: OperationID, order: DrainOrder, elapsedSeconds: Int
    ) throws -> Operation.HostResult {
        var host = host
        guard let node = try sql.nodes.find(name: host.node) else {
            host.state = "failed"
            host.detail = "the node was removed"
            return host
        }
        guard !node.enabled else {
            host.state = "failed"
            host.detail = "the node was enabled again meanwhile"
            return host
        }
        let left = try withDomain(on: node)
        let names = Set(left.map(\.name))
        host.stopped += host.remaining.filter { !names.contains($0) && !host.forced.contains($0) }
        host.remaining = left.map(\.name)
        host.progress = 100 * host.stopped.count / max(1, host.stopped.count + left.count)
        let seconds = elapsedSeconds - Int(host.seconds ?? 0)
        let deadline = order.asksAfterSeconds + order.vmTimeoutSeconds
        if left.isEmpty {
            host.state = "done"
            host.progress = 100
            host.detail = "no domain is left"
            try settleDrain(.drained, of: node, "node.drained", operation: operation)
            return host
        }
        if order.mode == .wait && seconds >= order.asksAfterSeconds {
            let running = left.filter { $0.desired == .running }
            if !running.isEmpty {
                try ask(running)
                host.detail = "\(running.count) guests asked to shut down, having been waited for"
            }
        }
        if seconds >= deadline && order.forces { try force(left, &host) }
        // Forcing takes a moment; a host that does not even manage that is reported.
        let grace = order.forces ? 60 : 0
        if seconds >= deadline + grace {
            host.state = "failed"
            host.detail = "\(left.count) guests still run after \(seconds) s" + Self.why(left, on: node, order)
            try settleDrain(.failed, of: node, "node.drain_failed", detail: host.detail, operation: operation)
        }
        return host
    }

    /// What keeps guests running.
    private static func why(_ left: [Instance], on node: Node, _ order: DrainOrder) -> String {
        guard node.liveness == .alive else { return "; the node is \(node.liveness.rawValue)" }
        if let obstacle = left.lazy.compactMap({ InstanceMachine.obstacle(to: $0) }).first {
            return "; its agent says: \(obstacle)"
        }
        if node.hostHold != nil {
            return
                "; its host's own operator has taken it back, and its agent forces them off by the deadline given there"
        }
        return order.forces ? "" : "; repeat with --force-shutoff"
    }

    private func force(_ left: [Instance], _ host: inout Operation.HostResult) throws {
        // Those that were just asked stand in the record as such.
        for guest in try left.compactMap({ try sql.instances.find($0.id) })
        where !guest.force && guest.desired != .deleted {
            host.forced.append(guest.name)
            // What its owner had asked to stop already stays off when the node is enabled again.
            let isOurs = guest.stoppedByDrain || guest.desired == .running
            _ = try request(.instanceStop, of: guest, superseding: true) { machine throws(Refusal) in
                try machine.stop(force: true, timeoutSeconds: nil, byDrain: isOurs, at: now)
            }
        }
        host.detail = "\(left.count) guests are being forced off"
    }

    private func settleDrain(
        _ state: Node.DrainState, of before: Node, _ kind: String, detail: String = "", operation: OperationID?
    ) throws {
        var node = before
        node.drainState = state
        node.drainReason = detail
        try sql.nodes.update(node)
        try event(
            kind, ResourceReference(node), owner: nil, detail: detail, operation: operation,
            changes: Event.differences(from: before, to: node))
    }

    /// Forgets a node that holds no instance; its certificate is refused from now on.
    public func removeNode(_ reference: String) throws -> Node {
        let node = try node(reference)
        guard node.instanceCount == 0 else {
            throw Refusal(
                .inUse,
                "node '\(node.name)' has \(node.instanceCount) instance\(node.instanceCount == 1 ? "" : "s"), whose disks are there; delete them first"
            )
        }
        guard try node.loss?.certainty != nil || !sql.formerPlacements.areOpen(on: node.id) else {
            throw Refusal(
                .inUse,
                "node '\(node.name)' may have disks of instances that were started elsewhere while it was lost, and removes them "
                    + "once it is back; where it is gone for good, confirm that it is down first")
        }
        let prefills = Set(try sql.images.placements(on: node.id).compactMap(\.operation))
        try sql.images.touchTransfers(of: node.id)
        for capture in try sql.imageCaptures.list(on: node.id) {
            try failCapture(
                capture.image, code: "node_removed", sentence: "node '\(node.name)', which held the copy, was removed")
        }
        try sql.nodes.remove(node, at: now)
        try event(
            "node.removed", ResourceReference(node), owner: nil, changes: Event.differences(from: node, to: nil))
        // Nobody will report for it any more.
        for prefill in prefills { try FleetReports(in: sql, at: now).settlePrefill(prefill) }
        return node
    }

    public func updateNode(
        _ reference: String, _ change: (inout Node) -> Void
    ) throws -> Node {
        var node = try node(reference)
        let before = node
        change(&node)
        guard node != before else { return node }
        try sql.nodes.update(node)
        if node.transferLimits != before.transferLimits { _ = try sql.nodes.nextAssignmentRevision(node.id) }
        try event(
            "node.updated", ResourceReference(node), owner: nil, changes: Event.differences(from: before, to: node))
        return node
    }

    /// Records a join token by the hash of its secret; the secret itself is never stored (SEC-14).
    public func createJoinToken(secretHash: ContentDigest, nodeName: String?, lifetimeSeconds: Int) throws -> JoinToken
    {
        let token = JoinToken(
            id: .generate(at: now), secretHash: secretHash, nodeName: nodeName, createdBy: actor.name, createdAt: now,
            expiresAt: now + .seconds(lifetimeSeconds))
        try sql.nodes.insert(token)
        try event(
            "node.token_created", ResourceReference(kind: "node", id: "", name: nodeName ?? ""), owner: nil,
            data: ["token_id": "\(token.id)", "expires_at": "\(token.expiresAt)"])
        return token
    }

    func known(_ reference: String) throws -> Node? {
        do { return try node(reference) } catch let refusal as Refusal where refusal.code == .notFound { return nil }
    }

    static func unknown(_ reference: String) -> NodeAction {
        NodeAction(node: reference, ok: false, detail: "there is no such node")
    }

    func toStop(on node: Node) throws -> [Instance] {
        var filter = InstanceRepository.Filter()
        filter.node = node.id
        // What is started elsewhere does so, whatever becomes of its node.
        return try sql.instances.list(filter).filter { $0.desired == .running && !isLeaving($0, node) }
    }

    /// Instances that may have a domain on the node: all that have not been reported stopped.
    private func withDomain(on node: Node) throws -> [Instance] {
        var filter = InstanceRepository.Filter()
        filter.node = node.id
        return try sql.instances.list(filter).filter { !$0.isWithoutDomain && !isLeaving($0, node) }
    }
}
