public import ProtocolModel

/// An image that is being made of an instance's disk. The row ends when the manager has all of it, or it cannot be made.
public struct ImageCapture: Sendable, Equatable {
    public enum State: String, Sendable, CaseIterable {
        /// The node makes its copy, or is still to be told.
        case copying
        /// The copy lies on the node, and the manager pulls it.
        case ready
    }

    public var image: ImageID
    public var instance: InstanceID
    /// Where the disk is.
    public var node: NodeID
    public var state: State
    /// Of the copy, once it is ready.
    public var manifestDigest: ContentDigest?
    /// Of the raw image, once the copy is ready.
    public var sizeBytes: Int64?
    public var requestedAt: Timestamp

    public init(
        image: ImageID, instance: InstanceID, node: NodeID, state: State = .copying,
        manifestDigest: ContentDigest? = nil, sizeBytes: Int64? = nil, requestedAt: Timestamp
    ) {
        self.image = image
        self.instance = instance
        self.node = node
        self.state = state
        self.manifestDigest = manifestDigest
        self.sizeBytes = sizeBytes
        self.requestedAt = requestedAt
    }
}
