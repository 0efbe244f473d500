import AgentImages
import ProtocolModel
import ProtocolTransfer

/// The image cache as the rest of the daemon sees it.
protocol HostImages: Sendable {
    /// What should be held, all of it. May block for a short while.
    func apply(_ assignments: [ImageAssignmentValue])
    func remove(_ image: ImageID)
    func held() -> [HeldImageValue]
    /// The raw file of a complete image.
    func path(of image: ImageID) -> String?
}

extension ImageCache: HostImages {}

extension ImageAssignmentValue {
    /// A manager that does not know by which of its addresses its agents reach it names a port alone (`:7402`): then it
    /// is where the session goes.
    func completed(managerHost host: String) -> ImageAssignmentValue {
        var completed = self
        completed.sources = sources.map { source in
            guard source.node == nil, source.address.hasPrefix(":") else { return source }
            return ChunkSource(node: nil, address: (host.contains(":") ? "[\(host)]" : host) + source.address)
        }
        return completed
    }
}
