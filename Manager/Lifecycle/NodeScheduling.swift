public import ManagerModel
import ManagerStore
import ProtocolModel

/// What time makes of nodes: holds that run out, windows that open and close.
extension Commands {
    /// Whether anything is due. Costs no write, so that it can be asked every few seconds.
    public func isScheduleDue() throws -> Bool {
        try steps().contains { $0.step != .rest }
    }

    /// Does what is due now, each node by the same rule as if it alone were looked at.
    public func advanceSchedules() throws {
        var drains: [DrainGroup: [String]] = [:]
        for (node, step) in try steps() {
            switch step {
            case .rest: continue
            case .forgetHold: try setHold(nil, of: node)
            case .enable:
                try setHold(nil, of: node)
                _ = try enable(node.id, hold: nil)
            case .disable(let mode, let by, let hold, let reason):
                try setHold(hold, of: node)
                let seconds = by.map { Int(($0 - now).milliseconds / 1000) }
                drains[DrainGroup(mode: mode, seconds: seconds, reason: reason), default: []].append(node.name)
            }
        }
        for (group, names) in drains.sorted(by: { $0.value[0] < $1.value[0] }) {
            _ = try disableNodes(names, group.order)
        }
    }

    /// Nodes that are emptied by one operation.
    private struct DrainGroup: Hashable {
        var mode: DrainMode
        var seconds: Int?
        var reason: String

        /// Guests have what is left but for a minute, in which those that are left are forced off: its owner gets the host back
        /// in time.
        var order: DrainOrder {
            let left = seconds.map { max(Self.leastSeconds, $0 - Self.forcingSeconds) } ?? 300
            let asking = mode == .wait ? min(300, left / 2) : left
            return DrainOrder(
                mode: mode, waitSeconds: left - asking, vmTimeoutSeconds: asking, forceShutoff: true, reason: reason,
                isScheduled: true)
        }

        private static let forcingSeconds = 60
        private static let leastSeconds = 30
    }

    private func steps() throws -> [(node: Node, step: Node.ScheduleStep)] {
        var states: [Availability: Availability.State?] = [:]
        return try sql.nodes.scheduled().map { node in
            var state: Availability.State?
            if let availability = node.availability {
                let known = states[availability] ?? availability.state(at: now)
                states[availability] = known
                state = known
            }
            return (node, node.scheduleStep(windows: state, at: now))
        }
    }

    private func setHold(_ hold: NodeHold?, of node: Node) throws {
        guard node.hold != hold, var current = try sql.nodes.find(node.id) else { return }
        current.hold = hold
        try sql.nodes.update(current)
    }

    /// What giving nodes windows, or taking them away, would do now. Changes nothing (HLT-08).
    public func planAvailability(_ references: [String], _ availability: Availability?) throws -> [NodeAction] {
        try references.map { reference in
            guard let node = try known(reference) else { return Self.unknown(reference) }
            return try plan(availability, for: node)
        }
    }

    /// Gives nodes windows, or takes them away. An error on one node does not stop the others (HLT-17). What that is to empty is
    /// emptied when nodes are looked at next.
    public func setAvailability(of references: [String], _ availability: Availability?) throws -> [NodeAction] {
        try references.map { reference in
            guard let node = try known(reference) else { return Self.unknown(reference) }
            var action = try plan(availability, for: node)
            action.actions = Array(action.actions.prefix(1))
            _ = try setAvailability(node.id.description, availability)
            return action
        }
    }

    private func plan(_ availability: Availability?, for node: Node) throws -> NodeAction {
        var action = NodeAction(
            node: node.name, ok: true, detail: availability == nil ? "stays as it is" : "its windows are open",
            actions: ["\(availability == nil ? "clear" : "set") windows of node \(node.name)"])
        let state = availability?.state(at: now)
        switch giving(availability, to: node).scheduleStep(windows: state, at: now) {
        case .enable:
            action.detail = "its windows are open"
            action.actions.append("enable node \(node.name)")
        case .disable(let mode, let by, _, _):
            let guests = try toStop(on: node)
            action.detail =
                "its windows are shut now: it is disabled, and emptied" + (by.map { " by \($0)" } ?? "")
                + "; next open: \(nextOpening(availability, state))"
            let wait = mode == .wait ? "wait for, then " : ""
            action.actions.append("disable node \(node.name)")
            action.actions += guests.map { "\(wait)stop instance \($0.id) (\($0.name))" }
        case .rest, .forgetHold:
            if !node.enabled {
                action.detail = "is out of service\(node.disabledBy.map { " by \($0)" } ?? ""), and stays so"
            }
        }
        return action
    }

    /// Gives a node windows, or takes them away. A node that is disabled stays so until that is lifted.
    public func setAvailability(_ reference: String, _ availability: Availability?) throws -> Node {
        let before = try node(reference)
        let node = giving(availability, to: before)
        try sql.nodes.update(node)
        try event(
            "node.updated", ResourceReference(node), owner: nil, changes: Event.differences(from: before, to: node))
        return node
    }

    private func giving(_ availability: Availability?, to before: Node) -> Node {
        var node = before
        node.availability = availability
        // A host that was taken back is no operator's doing.
        let isHeld = !node.enabled && node.hostHold == nil
        if isHeld && before.availability == nil && node.hold == nil {
            node.hold = NodeHold(enabled: false, owner: "operator", reason: node.disabledReason)
        }
        if availability == nil && isHeld && node.hold == nil {
            // Nobody would open it any more.
            node.hold = NodeHold(enabled: false, owner: actor.name, reason: node.disabledReason)
        }
        return node
    }
}
