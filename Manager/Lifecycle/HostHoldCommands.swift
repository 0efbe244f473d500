public import ManagerModel
import ManagerStore
public import ProtocolModel

/// What a host's own operator does, who has no account here: takes the host back, and gives it back.
extension Commands {
    /// Takes in what an agent says of its host. Said again, it changes nothing.
    public func hear(_ word: HostWord, from id: NodeID) throws {
        // What nearly every agent says when it comes: then nothing more is read.
        if word == .isOurs, try !sql.nodes.hasHostHold(id) { return }
        guard let node = try sql.nodes.find(id) else { return }
        switch word {
        case .left(let hold): try takeBack(node, hold)
        case .isOurs: try giveBack(node)
        }
    }

    /// Nothing is placed there from now on. The agent stops the guests by itself; here their owners are told, and the record
    /// follows what the agent reports.
    private func takeBack(_ before: Node, _ hold: HostHold) throws {
        guard before.hostHold != hold else { return }
        var node = before
        node.hostHold = hold
        // That somebody disabled it is to be known when the host is given back.
        if before.hostHold == nil && !node.enabled && node.hold == nil && node.availability == nil {
            node.hold = NodeHold(enabled: false, owner: "operator", reason: node.disabledReason)
        }
        if before.hostHold != nil { node.disabledReason = hold.sentence }
        try sql.nodes.update(node)
        try event(
            "node.left", ResourceReference(node), owner: nil, detail: hold.sentence,
            changes: Event.differences(from: before, to: node))
        guard before.hostHold == nil else { return }
        // It is the agent that forces guests off, by its owner's deadline, which may be a day away: the drain says after its usual
        // time who is left, and their records follow what the agent reports.
        _ = try disableNodes([node.name], DrainOrder(mode: .stop, reason: hold.sentence, isScheduled: true))
    }

    /// What kept the node out of service beside its host does so still.
    private func giveBack(_ before: Node) throws {
        guard let hold = before.hostHold else { return }
        var node = before
        node.hostHold = nil
        let objection = objection(to: node)
        if let objection { node.disabledReason = objection }
        try sql.nodes.update(node)
        try event(
            "node.returned", ResourceReference(node), owner: nil,
            detail: objection.map { "stays disabled: \($0)" } ?? "",
            changes: Event.differences(from: before, to: node))
        if objection == nil {
            _ = try enable(node.id, hold: node.hold)
        } else {
            try endDrains(for: hold, of: node)
        }
    }

    /// What was asked for the host alone is waited for no longer; another's drain goes on.
    private func endDrains(for hold: HostHold, of node: Node) throws {
        for drain in try sql.operations.running(.nodeDisable)
        where drain.parameters["scheduled"] == "true" && drain.parameters["reason"] == hold.sentence {
            try end(node, in: drain, "its host was given back meanwhile")
        }
        try settleAbandonedDrain(of: node.id, "its host was given back meanwhile")
    }

    /// Why a node that its host no longer keeps out of service stays out of it; `nil`: nothing does.
    private func objection(to node: Node) -> String? {
        if let hold = node.hold, hold.until.map({ $0 > now }) ?? true { return hold.enabled ? nil : hold.reason }
        guard let availability = node.availability, let state = availability.state(at: now) else { return nil }
        if case .open = state { return nil }
        return availability.reason.isEmpty ? "outside of its windows" : availability.reason
    }

    /// An operator's word on a node whose host is not ours now: it counts once the host is given back.
    func note(_ hold: NodeHold?, on node: Node, with host: HostHold) throws -> NodeAction {
        try changeHold(hold, of: node)
        return NodeAction(
            node: node.name, ok: true,
            detail: "its host's own operator has taken it back (\(host.sentence)); it is enabled once "
                + "'roost-agent return' is run there")
    }
}
