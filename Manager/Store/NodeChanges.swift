public import ProtocolModel

/// Which rows about nodes have changed since somebody last took them in, for a copy of them in memory that placement decides
/// by. Belongs to a writing connection and is used by its thread alone.
///
/// What a transaction changed is marked when it does so, and marked once more if it is undone: whoever read the rows inside
/// that transaction has something that never came to be.
public final class NodeChanges {
    /// An image's copy on a node.
    public struct Copy: Hashable, Sendable {
        public var image: ImageID
        public var node: NodeID
    }

    public struct Marks: Sendable, Equatable {
        public var nodes: Set<NodeID> = []
        public var copies: Set<Copy> = []
        /// Nodes that an instance has left, or whose transaction was undone: addresses in use are to be read again.
        public var addresses: Set<NodeID> = []
        /// What is about many nodes at once: aggregates, what they say and who is in them, and names of devices.
        public var grounds = false

        public var isEmpty: Bool { nodes.isEmpty && copies.isEmpty && addresses.isEmpty && !grounds }

        mutating func add(_ other: Self) {
            nodes.formUnion(other.nodes)
            copies.formUnion(other.copies)
            addresses.formUnion(other.addresses)
            grounds = grounds || other.grounds
        }

        /// As it must be read again when it was undone.
        var undone: Self {
            Self(nodes: nodes, copies: copies, addresses: addresses.union(nodes), grounds: grounds)
        }
    }

    /// Whether others may have changed rows of nodes since `caughtUp`, without a mark here.
    public private(set) var hasMissed: Bool
    /// What is kept of the rows by those who asked for the marks; as long-lived as the connection.
    public var keeper: AnyObject?
    private var pending = Marks()
    private var current = Marks()
    private var uncommitted = Marks()

    /// - Parameter isShared: whether others write, too; then the connection says when they did (`missed`).
    init(isShared: Bool) {
        hasMissed = isShared
    }

    /// Others have written.
    func missed() { hasMissed = true }

    /// The keeper has read all rows in the transaction that is open.
    public func caughtUp() { hasMissed = false }

    /// What must be read again. Whoever takes the marks reads the rows now.
    public func take() -> Marks {
        defer { pending = Marks() }
        return pending
    }

    /// The node's row, or what the keeper holds of it, is no longer what it was.
    public func changed(_ node: NodeID) {
        current.nodes.insert(node)
        if keeper != nil { pending.nodes.insert(node) }
    }

    /// The keeper has the node's row as this transaction made it; it reads the row again only if the transaction is undone.
    public func taken(_ node: NodeID) { pending.nodes.remove(node) }

    func changed(_ image: ImageID, on node: NodeID) {
        let copy = Copy(image: image, node: node)
        current.copies.insert(copy)
        if keeper != nil { pending.copies.insert(copy) }
    }

    func groundsChanged() {
        current.grounds = true
        if keeper != nil { pending.grounds = true }
    }

    func addressFreed(on node: NodeID) {
        current.addresses.insert(node)
        if keeper != nil { pending.addresses.insert(node) }
    }

    // MARK: The life of transactions, told by the store

    /// Another write begins within the batch; what the one before did stands with it.
    func begin() {
        uncommitted.add(current)
        current = Marks()
    }

    /// The write that began last was undone.
    func undone() {
        if keeper != nil { pending.add(current.undone) }
        current = Marks()
    }

    func committed() {
        uncommitted = Marks()
        current = Marks()
    }

    /// The whole batch was undone.
    func allUndone() {
        begin()
        if keeper != nil { pending.add(uncommitted.undone) }
        uncommitted = Marks()
    }
}
