public import ProtocolModel

/// A size of instance (CTL-15).
public struct Flavor: Sendable, Equatable {
    public var id: FlavorID
    public var name: String
    public var vcpus: Int
    public var ramMiB: Int
    public var diskGiB: Int
    /// What it asks for besides its size (`FlavorProperties`).
    public var properties: [String: String]
    public var createdAt: Timestamp

    public init(
        id: FlavorID, name: String, vcpus: Int, ramMiB: Int, diskGiB: Int, properties: [String: String] = [:],
        createdAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.vcpus = vcpus
        self.ramMiB = ramMiB
        self.diskGiB = diskGiB
        self.properties = properties
        self.createdAt = createdAt
    }
}
