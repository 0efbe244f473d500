public import ProtocolModel

/// One place to pull chunks from.
public struct ChunkSource: Hashable, Sendable, CustomStringConvertible {
    /// The node that serves; `nil` for the manager.
    public let node: NodeID?
    /// `host:port`.
    public let address: String

    public init(node: NodeID?, address: String) {
        self.node = node
        self.address = address
    }

    /// Whom the source's certificate must name.
    public var identity: PeerIdentity { node.map { .node($0) } ?? .manager }

    public var description: String { (node.map { "node \($0)" } ?? "manager") + " at " + address }
}
