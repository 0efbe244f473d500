public import Foundation

/// A host that runs instances; for operators.
public struct Node: Resource, Equatable {
    /// Under `/v1/`.
    public static let collection = "nodes"

    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String
    /// Whether it takes instances.
    public var isEnabled: Bool
    /// `never`, `alive`, `suspect` or `down`.
    public var liveness: String
    /// When its agent was heard last.
    public var lastSeenAt: Date?
    /// Why it is disabled.
    public var reason: String
    /// From where.
    public var address: String
    /// Of its agent.
    public var softwareVersion: String
    /// How many it has.
    public var instances: Int
    /// Of its processors.
    public var cpuModel: String
    /// Such as `x86_64`.
    public var architecture: String
    /// Virtual CPUs.
    public var vcpus: Int
    /// Claimed.
    public var vcpusUsed: Int
    /// Memory.
    public var ramMiB: Int
    /// Claimed.
    public var ramUsedMiB: Int
    /// Of the root disk.
    public var diskGiB: Int
    /// Claimed.
    public var diskUsedGiB: Int
    /// `kvm` or `tcg`.
    public var accelerator: String
    /// Where it stands, as the operator says.
    public var location: String
    /// When it joined the site.
    public var joinedAt: Date

    enum CodingKeys: String, CodingKey {
        case id, name, isEnabled = "enabled", liveness = "alive", lastSeenAt = "last_seen_at", reason, address,
            softwareVersion = "software_version", instances, cpuModel = "cpu_model", architecture, vcpus,
            vcpusUsed = "vcpus_used", ramMiB = "ram_mib", ramUsedMiB = "ram_used_mib", diskGiB = "disk_gib",
            diskUsedGiB = "disk_used_gib", accelerator, location, joinedAt = "joined_at"
    }
}
