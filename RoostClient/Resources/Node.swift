public import Foundation

/// A host that runs instances; for operators.
public struct Node: Resource, Equatable {
    public static let collection = "nodes"

    public var id: String
    public var name: String
    /// Whether it takes instances.
    public var isEnabled: Bool
    /// `never`, `alive`, `suspect` or `down`.
    public var liveness: String
    public var lastSeenAt: Date?
    /// Why it is disabled.
    public var reason: String
    public var address: String
    public var softwareVersion: String
    /// How many it has.
    public var instances: Int
    public var cpuModel: String
    public var architecture: String
    public var vcpus: Int
    /// Claimed.
    public var vcpusUsed: Int
    public var ramMiB: Int
    public var ramUsedMiB: Int
    public var diskGiB: Int
    public var diskUsedGiB: Int
    /// `kvm` or `tcg`.
    public var accelerator: String
    public var location: String
    public var joinedAt: Date

    enum CodingKeys: String, CodingKey {
        case id, name, isEnabled = "enabled", liveness = "alive", lastSeenAt = "last_seen_at", reason, address,
            softwareVersion = "software_version", instances, cpuModel = "cpu_model", architecture, vcpus,
            vcpusUsed = "vcpus_used", ramMiB = "ram_mib", ramUsedMiB = "ram_used_mib", diskGiB = "disk_gib",
            diskUsedGiB = "disk_used_gib", accelerator, location, joinedAt = "joined_at"
    }
}
