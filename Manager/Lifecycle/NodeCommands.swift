public import ManagerModel
import ManagerStore
public import ProtocolModel

/// How a node is to be emptied.
public struct DrainOrder: Sendable, Equatable {
    /// How long guests may take to shut down.
    public var vmTimeoutSeconds: Int
    /// Force off what still runs then; otherwise the node ends as failed and its guests run on.
    public var forceShutoff: Bool
    public var reason: String

    public init(vmTimeoutSeconds: Int = 300, forceShutoff: Bool = false, reason: String = "") {
        self.vmTimeoutSeconds = vmTimeoutSeconds
        self.forceShutoff = forceShutoff
        self.reason = reason
    }

    var parameters: [String: String] {
        [
            "vm_timeout_seconds": "\(vmTimeoutSeconds)", "force_shutoff": forceShutoff ? "true" : "false",
            "reason": reason,
        ]
    }

    init(parameters: [String: String]) {
        self.init(
            vmTimeoutSeconds: parameters["vm_timeout_seconds"].flatMap { Int($0) } ?? 300,
            forceShutoff: parameters["force_shutoff"] == "true", reason: parameters["reason"] ?? "")
    }
}

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
    public func enableNodes(_ references: [String]) throws -> [NodeAction] {
        try references.map { reference in
            guard var node = try known(reference) else { return Self.unknown(reference) }
            let before = node
            node.enabled = true
            node.disabledReason = ""
            node.drainState = .none
            node.drainReason = ""
            try sql.nodes.update(node)
            if !before.enabled { try retellTransfers(of: node.id) }
            // A drain that runs ends here, so that it does not go on with the next one.
            for drain in try sql.operations.running(.nodeDisable)
            where drain.hosts.contains(where: { $0.node == node.name }) {
                try advanceDrain(drain)
            }
            var filter = InstanceRepository.Filter()
            filter.node = node.id
            let stopped = try sql.instances.list(filter).filter { $0.stoppedByDrain && $0.desired == .stopped }
            for instance in stopped {
                _ = try request(.instanceStart, of: instance, superseding: true) { machine throws(Refusal) in
                    try machine.start(timeoutSeconds: settings.stopTimeoutSeconds, at: now)
                }
            }
            if !before.enabled {
                try event(
                    "node.enabled", ResourceReference(node), owner: nil,
                    changes: Event.differences(from: before, to: node))
            }
            return NodeAction(
                node: node.name, ok: true, detail: before.enabled ? "was enabled already" : "enabled",
                actions: stopped.map { "start instance \($0.id) (\($0.name))" })
        }
    }

    /// What disabling would do. Changes nothing (HLT-08).
    public func planDisabling(_ references: [String]) throws -> [NodeAction] {
        try references.map { reference in
            guard let node = try known(reference) else { return Self.unknown(reference) }
            let guests = try toStop(on: node)
            return NodeAction(
                node: node.name, ok: true,
                detail: node.enabled ? "would be disabled" : "is disabled already",
                actions: ["disable node \(node.name)"] + guests.map { "stop instance \($0.id) (\($0.name))" })
        }
    }

    /// Takes nodes out of placement at once and begins to empty them (P6). The operation ends when each node has no
    /// domain any more, or could not be emptied in time.
    ///
    /// - Throws: `Refusal.conflict` where a node is being emptied already; `enable` ends that.
    public func disableNodes(_ references: [String], _ order: DrainOrder) throws -> Operation {
        let drains = try sql.operations.running(.nodeDisable)
        var operation = Operation(
            id: .generate(at: now), kind: .nodeDisable,
            steps: [.init(name: "disabled", detail: "no node of this operation takes instances any more", at: now)],
            resource: ResourceReference(
                kind: "node", id: "", name: references.joined(separator: ",").prefix(200).description),
            owner: actor.user, parameters: order.parameters, createdAt: now)
        var named: Set<String> = []
        for reference in references {
            guard var node = try known(reference) else {
                guard named.insert(reference).inserted else { continue }
                operation.hosts.append(.init(node: reference, state: "failed", detail: "there is no such node"))
                continue
            }
            // Named twice, it is emptied once.
            guard named.insert(node.name).inserted else { continue }
            let name = node.name
            if let running = drains.first(where: { drain in
                node.drainState == .draining && drain.hosts.contains { $0.node == name && $0.state == "stopping" }
            }) {
                throw conflict(with: running, on: "node '\(name)'")
            }
            let before = node
            node.enabled = false
            node.disabledReason = order.reason
            node.drainState = .draining
            node.drainReason = ""
            try sql.nodes.update(node)
            if before.enabled { try retellTransfers(of: node.id) }
            try event(
                "node.disabled", ResourceReference(node), owner: nil, detail: order.reason, operation: operation.id,
                changes: Event.differences(from: before, to: node))
            let guests = try toStop(on: node)
            for guest in guests {
                _ = try request(.instanceStop, of: guest, superseding: true) { machine throws(Refusal) in
                    try machine.stop(force: false, timeoutSeconds: nil, byDrain: true, at: now)
                }
            }
            operation.hosts.append(
                .init(
                    node: node.name, state: "stopping", detail: "\(guests.count) guests asked to shut down",
                    remaining: guests.map(\.name)))
        }
        try sql.operations.insert(operation)
        try advanceDrain(operation)
        return try sql.operations.find(operation.id) ?? operation
    }

    /// Looks at a running drain again: who is gone, who is late. To be called while any is running.
    public func advanceDrain(_ operation: Operation) throws {
        let order = DrainOrder(parameters: operation.parameters)
        let elapsed = (now - operation.createdAt).milliseconds / 1000
        var changed = operation
        for (index, host) in operation.hosts.enumerated() where host.state == "stopping" {
            changed.hosts[index] = try advance(host, of: operation.id, order: order, elapsedSeconds: Int(elapsed))
        }
        if !changed.hosts.contains(where: { $0.state == "stopping" }) {
            let failed = changed.hosts.filter { $0.state == "failed" }
            changed.finish(
                errorCode: failed.isEmpty ? nil : "drain_incomplete",
                detail: failed.isEmpty ? nil : Self.sentence(about: failed), at: now)
        }
        changed.progress =
            changed.status == .succeeded
            ? 100 : 100 * changed.hosts.count { $0.state != "stopping" } / max(1, changed.hosts.count)
        if changed != operation { try save(changed) }
    }

    /// Of thousands of hosts, the first say enough; the operation holds them all.
    private static func sentence(about failed: [Operation.HostResult]) -> String {
        let shown = failed.prefix(100).map { "\($0.node): \($0.detail)" }
        let more = failed.count > shown.count ? ["and \(failed.count - shown.count) more"] : []
        return (shown + more).joined(separator: "; ")
    }

    private func advance(
        _ host: Operation.HostResult, of operation: OperationID, order: DrainOrder, elapsedSeconds: Int
    ) throws -> Operation.HostResult {
        var host = host
        guard var node = try sql.nodes.find(name: host.node) else {
            host.state = "failed"
            host.detail = "the node was removed"
            return host
        }
        guard !node.enabled else {
            host.state = "failed"
            host.detail = "the node was enabled again meanwhile"
            return host
        }
        let before = node
        let left = try withDomain(on: node)
        let names = Set(left.map(\.name))
        host.stopped += host.remaining.filter { !names.contains($0) && !host.forced.contains($0) }
        host.remaining = left.map(\.name)
        host.progress = 100 * host.stopped.count / max(1, host.stopped.count + left.count)
        if left.isEmpty {
            host.state = "done"
            host.progress = 100
            host.detail = "no domain is left"
            node.drainState = .drained
            node.drainReason = ""
            try sql.nodes.update(node)
            try event(
                "node.drained", ResourceReference(node), owner: nil, operation: operation,
                changes: Event.differences(from: before, to: node))
        } else if elapsedSeconds >= order.vmTimeoutSeconds && order.forceShutoff {
            for guest in left where !guest.force && guest.desired != .deleted {
                host.forced.append(guest.name)
                // What its owner had asked to stop already stays off when the node is enabled again.
                let isOurs = guest.stoppedByDrain || guest.desired == .running
                _ = try request(.instanceStop, of: guest, superseding: true) { machine throws(Refusal) in
                    try machine.stop(force: true, timeoutSeconds: nil, byDrain: isOurs, at: now)
                }
            }
            host.detail = "\(left.count) guests are being forced off"
        }
        // Forcing takes a moment; a host that does not even manage that is reported.
        let grace = order.forceShutoff ? 60 : 0
        if host.state == "stopping" && elapsedSeconds >= order.vmTimeoutSeconds + grace {
            host.state = "failed"
            host.detail =
                "\(left.count) guests still run after \(elapsedSeconds) s"
                + (node.liveness == .alive
                    ? order.forceShutoff ? "" : "; repeat with --force-shutoff"
                    : "; the node is \(node.liveness.rawValue)")
            node.drainState = .failed
            node.drainReason = host.detail
            try sql.nodes.update(node)
            try event(
                "node.drain_failed", ResourceReference(node), owner: nil, detail: host.detail, operation: operation,
                changes: Event.differences(from: before, to: node))
        }
        return host
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

    private func known(_ reference: String) throws -> Node? {
        do { return try node(reference) } catch let refusal as Refusal where refusal.code == .notFound { return nil }
    }

    private static func unknown(_ reference: String) -> NodeAction {
        NodeAction(node: reference, ok: false, detail: "there is no such node")
    }

    private func toStop(on node: Node) throws -> [Instance] {
        var filter = InstanceRepository.Filter()
        filter.node = node.id
        return try sql.instances.list(filter).filter { $0.desired == .running }
    }

    /// Instances that may have a domain on the node: all that have not been reported stopped.
    private func withDomain(on node: Node) throws -> [Instance] {
        var filter = InstanceRepository.Filter()
        filter.node = node.id
        return try sql.instances.list(filter).filter { !($0.desired == .stopped && $0.status == .stopped) }
    }
}
