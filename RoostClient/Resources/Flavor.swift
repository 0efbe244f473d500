public import Foundation

/// A size of instances.
public struct Flavor: CreatableResource, ChangeableResource, Equatable {
    public static let collection = "flavors"

    public var id: String
    public var name: String
    public var vcpus: Int
    public var ramMiB: Int
    public var diskGiB: Int
    /// What placement looks at.
    public var properties: [String: String]
    public var createdAt: Date

    enum CodingKeys: String, CodingKey {
        case id, name, vcpus, ramMiB = "ram_mib", diskGiB = "disk_gib", properties, createdAt = "created_at"
    }
}

extension Flavor {
    /// What a flavor is to be.
    public struct Creation: Encodable, Sendable {
        public var name: String
        public var vcpus: Int
        public var ramMiB: Int
        public var diskGiB: Int
        public var properties: [String: String]?

        enum CodingKeys: String, CodingKey {
            case name, vcpus, ramMiB = "ram_mib", diskGiB = "disk_gib", properties
        }

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
        public var name: String?
        /// `nil` takes one away.
        public var properties: [String: String?]?

        enum CodingKeys: String, CodingKey {
            case name, properties
        }

        public init(
            name: String? = nil, properties: [String: String?]? = nil
        ) {
            self.name = name
            self.properties = properties
        }
    }
}
