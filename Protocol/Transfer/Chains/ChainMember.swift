public import ProtocolModel

/// A node that receives an image or holds it, as a chain sees it.
public struct ChainMember: Hashable, Sendable {
    public enum State: Hashable, Sendable { case fetching, held, failed }

    /// Who waits for the image.
    public enum Priority: Int, Hashable, Sendable, Comparable {
        /// Nobody yet: it is put there beforehand.
        case prefill
        /// An instance that is to start.
        case launch

        public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    public var node: NodeID
    public var name: String
    /// Where it stands (`dc1/row2/rack7`); nodes of one location are neighbours in a chain.
    public var location: String
    public var state: State
    /// Whom it pulls from; `nil`: the manager.
    public var upstream: NodeID?
    public var chunksHeld: Int
    public var chunksTotal: Int
    public var priority: Priority
    /// It keeps what it has, asks for no more, and is nobody's upstream until it goes on.
    public var isPaused: Bool
    /// It can be talked to. One that has not been heard since the manager began counts as such until it is missed.
    public var isReachable: Bool
    /// Bytes a second that it was seen to receive, as images travel; `nil`: never measured.
    public var throughput: Int64?

    public init(
        node: NodeID, name: String, location: String = "", state: State = .fetching, upstream: NodeID? = nil,
        chunksHeld: Int = 0, chunksTotal: Int = 0, priority: Priority = .prefill, isPaused: Bool = false,
        isReachable: Bool = true, throughput: Int64? = nil
    ) {
        self.node = node
        self.name = name
        self.location = location
        self.state = state
        self.upstream = upstream
        self.chunksHeld = chunksHeld
        self.chunksTotal = chunksTotal
        self.priority = priority
        self.isPaused = isPaused
        self.isReachable = isReachable
        self.throughput = throughput
    }
}

/// Who stands near whom in a chain, whatever keeps the links.
public enum ChainNeighbours {
    /// A node's sources beside its upstream: one dead host must not send its successor to the manager.
    public static let depth = 2

    /// The upstream, and the upstream's upstream. The manager, which is behind the last, is not among them.
    ///
    /// - Parameter upstream: of a node; `nil`: the manager.
    public static func upstreams<Failure>(
        of node: NodeID, upstream: (NodeID) throws(Failure) -> NodeID?
    ) throws(Failure) -> [NodeID] {
        var found: [NodeID] = []
        var from = node
        while found.count < depth, let next = try upstream(from), next != node, !found.contains(next) {
            found.append(next)
            from = next
        }
        return found
    }

    /// Those who may pull from a node: exactly the nodes that have it among their `upstreams`.
    public static func downstreams<Failure>(
        of node: NodeID, children: (NodeID) throws(Failure) -> [NodeID]
    ) throws(Failure) -> Set<NodeID> {
        var found: Set<NodeID> = []
        var level = [node]
        for _ in 0..<depth {
            var next: [NodeID] = []
            for parent in level {
                for child in try children(parent) where child != node && found.insert(child).inserted {
                    next.append(child)
                }
            }
            level = next
        }
        return found
    }
}
