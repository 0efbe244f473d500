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

    /// Gives nodes windows, or takes them away. A node that is disabled stays so until that is lifted.
    public func setAvailability(_ reference: String, _ availability: Availability?) throws -> Node {
        var node = try node(reference)
        let before = node
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
        try sql.nodes.update(node)
        try event(
            "node.updated", ResourceReference(node), owner: nil, changes: Event.differences(from: before, to: node))
        return node
    }
}
