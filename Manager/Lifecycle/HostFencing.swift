public import ManagerModel
import ManagerStore
public import ProtocolModel

/// When and by what the site fences hosts that vanish.
public struct FencingRules: Sendable, Equatable {
    /// What people call the command.
    public var command: String
    /// How long a host has counted as down before.
    public var after: Duration
    /// How long the command may take.
    public var timeLimit: Duration

    public init(command: String, after: Duration, timeLimit: Duration) {
        self.command = command
        self.after = after
        self.timeLimit = timeLimit
    }
}

/// One run of the site's command against one host.
public struct FencingOrder: Sendable, Equatable {
    public var node: NodeID
    public var name: String
    /// Where its agent was last seen, without the port.
    public var address: String
    public var attempt: Int
    /// Which loss of the host it is about: when it was last heard.
    public var since: Timestamp

    public init(node: NodeID, name: String, address: String, attempt: Int, since: Timestamp) {
        self.node = node
        self.name = name
        self.address = address
        self.attempt = attempt
        self.since = since
    }
}

public enum FencingOutcome: Sendable, Equatable {
    /// The host runs nothing any more.
    case fenced
    /// Nobody knows whether it does.
    case failed(String)
}

// Fencing: the record says that a run begins before it does, and how it ended, each in a write of the leader's term, so that the
// next leader knows of one that may be under way.
extension Commands {
    /// Lost hosts that are to be fenced: those of which nothing is certain and that have an instance which waits for that. Others
    /// are left alone, for fencing ends the guests of a host that is only out of reach.
    public func fencingCandidates() throws -> [NodeID: HostLoss] {
        var candidates: [NodeID: HostLoss] = [:]
        for node in try sql.nodes.lost() {
            guard let loss = node.loss, loss.certainty == nil,
                try !sql.instances.list(on: node.id, onHostLoss: .restart).isEmpty
            else { continue }
            candidates[node.id] = loss
        }
        return candidates
    }

    /// Notes that a run begins.
    ///
    /// - Returns: `nil` where it is not wanted any more.
    public func beginFencing(_ id: NodeID) throws -> FencingOrder? {
        guard try fencingCandidates()[id] != nil, let node = try sql.nodes.find(id), var loss = node.loss else {
            return nil
        }
        let effects = loss.handle(.fencingBegan(term: try sql.leadership.lease()?.term.number ?? 0), at: now)
        guard case .beginFencing(let attempt)? = effects.first else { return nil }
        try save(loss, effects, of: node)
        return FencingOrder(
            node: id, name: node.name, address: Self.host(of: node.remoteAddress), attempt: attempt, since: loss.since)
    }

    /// Notes how a run ended. One about an earlier loss of the host, or that was overtaken, says nothing about it.
    public func endFencing(_ order: FencingOrder, _ outcome: FencingOutcome, by command: String) throws {
        guard let node = try sql.nodes.find(order.node), var loss = node.loss, loss.since == order.since else { return }
        let (isFenced, text) =
            switch outcome {
            case .fenced: (true, "fenced")
            case .failed(let reason): (false, String(reason.prefix(500)))
            }
        let effects = loss.handle(
            .fencingEnded(attempt: order.attempt, command: command, isFenced: isFenced, outcome: text), at: now)
        guard loss != node.loss else { return }
        try save(loss, effects, of: node)
    }

    /// `192.0.2.1:50312` and `[2001:db8::1]:50312` without their ports.
    static func host(of address: String) -> String {
        guard let colon = address.lastIndex(of: ":") else { return address }
        let host = address[..<colon]
        return host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : String(host)
    }
}
