public import ProtocolModel

/// What a node says of its copy of an image, beside how far it is (`ImagePlacement`): for people, and for those who decide
/// what may go.
public struct ImageCopy: Sendable, Equatable {
    public var image: ImageID
    public var node: NodeID
    /// That the copy takes on the node's disk; holes take none.
    public var diskBytes: Int64
    /// `nil`: it is not complete.
    public var heldSince: Timestamp?
    /// A disk was made from it, or a peer served.
    public var lastUsedAt: Timestamp?
    /// When all of it was last read and compared with the manifest.
    public var verifiedAt: Timestamp?
    /// Found on the disk since the copy began; each was fetched anew.
    public var corruptChunks: Int

    public init(
        image: ImageID, node: NodeID, diskBytes: Int64 = 0, heldSince: Timestamp? = nil, lastUsedAt: Timestamp? = nil,
        verifiedAt: Timestamp? = nil, corruptChunks: Int = 0
    ) {
        self.image = image
        self.node = node
        self.diskBytes = diskBytes
        self.heldSince = heldSince
        self.lastUsedAt = lastUsedAt
        self.verifiedAt = verifiedAt
        self.corruptChunks = corruptChunks
    }
}
