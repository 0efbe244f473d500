public import Foundation

/// A size of instances.
public struct Flavor: CreatableResource, ChangeableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "flavors"

    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String
    /// Virtual CPUs.
    public var vcpus: Int
    /// Memory.
    public var ramMiB: Int
    /// Of the root disk.
    public var diskGiB: Int
    /// What placement looks at.
    public var properties: [String: String]
    /// When it was made.
    public var createdAt: Date

    enum CodingKeys: String, CodingKey {
        case id, name, vcpus, ramMiB = "ram_mib", diskGiB = "disk_gib", properties, createdAt = "created_at"
    }
}

extension Flavor {
    /// What a flavor is to be.
    public struct Creation: Encodable, Sendable {
        /// As people call it.
        public var name: String
        /// Virtual CPUs.
        public var vcpus: Int
        /// Memory.
        public var ramMiB: Int
        /// Of the root disk.
        public var diskGiB: Int
        /// By name.
        public var properties: [String: String]?

        enum CodingKeys: String, CodingKey {
            case name, vcpus, ramMiB = "ram_mib", diskGiB = "disk_gib", properties
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String, vcpus: Int, ramMiB: Int, diskGiB: Int, properties: [String: String]? = nil
        ) {
            self.name = name
            self.vcpus = vcpus
            self.ramMiB = ramMiB
            self.diskGiB = diskGiB
            self.properties = properties
        }
    }

    /// What is to be different; sizes stay, since instances have them.
    public struct Change: Encodable, Sendable {
        /// As people call it.
        public var name: String?
        /// `nil` takes one away.
        public var properties: [String: String?]?

        enum CodingKeys: String, CodingKey {
            case name, properties
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String? = nil, properties: [String: String?]? = nil
        ) {
            self.name = name
            self.properties = properties
        }
    }
}
