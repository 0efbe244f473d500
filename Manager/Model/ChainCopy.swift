/// An image's copy on a node, with what the planning of chains asks of the node.
public struct ChainCopy: Sendable, Equatable {
    public var copy: ImagePlacement
    public var name: String
    public var location: String
    public var isEnabled: Bool
    public var liveness: Node.Liveness
    /// Bytes a second of images that the node last received; `nil`: never measured.
    public var throughput: Int64?

    public init(
        copy: ImagePlacement, name: String, location: String, isEnabled: Bool, liveness: Node.Liveness,
        throughput: Int64?
    ) {
        self.copy = copy
        self.name = name
        self.location = location
        self.isEnabled = isEnabled
        self.liveness = liveness
        self.throughput = throughput
    }
}
