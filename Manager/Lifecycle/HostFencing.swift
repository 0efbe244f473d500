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
    /// Where more hosts in service are lost at once, none is fenced: that is seldom the hosts' fault.
    public var mostAtOnce: Int

    public init(command: String, after: Duration, timeLimit: Duration, mostAtOnce: Int = 3) {
        self.command = command
        self.after = after
        self.timeLimit = timeLimit
        self.mostAtOnce = mostAtOnce
    }
}

/// What there is to fence, and what speaks against it.
public struct FencingSight: Sendable, Equatable {
    /// Hosts that are to be fenced.
    public var candidates: [NodeID: HostLoss]
    /// Nodes in service that are lost, and of which nothing is certain.
    public var lost: Int
    /// Nodes in service, and those of them that are heard.
    public var inService: Int
    public var heard: Int

    public init(candidates: [NodeID: HostLoss] = [:], lost: Int = 0, inService: Int = 0, heard: Int = 0) {
        self.candidates = candidates
        self.lost = lost
        self.inService = inService
        self.heard = heard
    }

    /// Why nothing is to be fenced, although there are candidates.
    public func objection(_ rules: FencingRules) -> String? {
        guard !candidates.isEmpty else { return nil }
        if heard * 2 < inService {
            return
                "only \(heard) of \(inService) nodes in service are heard, which is rather this manager's or the network's fault"
        }
        if lost > rules.mostAtOnce {
            return
                "\(lost) nodes in service are lost, more than fencing.most_at_once (\(rules.mostAtOnce)); confirm or disable "
                + "those that are known to be off"
        }
        return nil
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
    /// Lost hosts that are to be fenced: those of which nothing is certain and that have an instance which waits for that and can
    /// leave then. Others are left alone, for fencing ends the guests of a host that is only out of reach; so are those that an
    /// operator keeps out of service, or that their own operator has taken back.
    public func fencingSight() throws -> FencingSight {
        var sight = FencingSight()
        for node in try sql.nodes.lost() {
            guard let loss = node.loss, loss.certainty == nil, !Self.isKeptAway(node) else { continue }
            if node.enabled { sight.lost += 1 }
            if try sql.instances.hasWaiting(forLossOf: node.id), try isHeeding(node.id) {
                sight.candidates[node.id] = loss
            }
        }
        guard !sight.candidates.isEmpty else { return sight }
        (sight.inService, sight.heard) = try sql.nodes.inService()
        return sight
    }

    private static func isKeptAway(_ node: Node) -> Bool { node.hostHold != nil || node.hold?.enabled == false }

    private func isHeeding(_ id: NodeID) throws -> Bool {
        try sql.nodes.find(id)?.inventory.heedsRestartsElsewhere == true
    }

    /// Nothing is fenced for now, which an operator has to know.
    public func withholdFencing(_ reason: String) throws {
        try event(
            "site.fencing_withheld", ResourceReference(kind: "site", id: "", name: "site"), owner: nil, detail: reason)
    }

    /// Notes that a run begins.
    ///
    /// - Returns: `nil` where it is not wanted any more.
    public func beginFencing(_ id: NodeID) throws -> FencingOrder? {
        guard let node = try sql.nodes.find(id), node.liveness == .down, var loss = node.loss, !Self.isKeptAway(node),
            node.inventory.heedsRestartsElsewhere == true, try sql.instances.hasWaiting(forLossOf: id)
        else { return nil }
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
