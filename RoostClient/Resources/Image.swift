public import Foundation

/// What instances boot from.
public struct Image: CreatableResource, ChangeableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "images"

    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String
    /// How it stands.
    public var status: Status
    /// A sentence; empty where there is nothing to say.
    public var statusReason: String
    /// Of its making, 0 to 100.
    public var progress: Int
    /// Of the file that it was made of.
    public var format: String?
    /// Of the disk.
    public var sizeBytes: Int64?
    /// Of the file.
    public var uploadBytes: Int64?
    /// `sha256:` and hexadecimal digits, of the file.
    public var checksum: String?
    /// What a flavor must have.
    public var minDiskGiB: Int
    /// What a flavor must have.
    public var minRAMMiB: Int
    /// By name.
    public var properties: [String: String]
    /// `public`, `private` or `shared`.
    public var visibility: String
    /// Accounts; only its owner sees them.
    public var sharedWith: [String]
    /// Not to be deleted.
    public var isProtected: Bool
    /// By name.
    public var owner: String
    /// When it was made.
    public var createdAt: Date
    /// Of the operation that made it.
    public var operationID: String?
    /// Where in the fleet it is.
    public var nodes: [Copy]

    enum CodingKeys: String, CodingKey {
        case id, name, status, statusReason = "status_reason", progress, format, sizeBytes = "size_bytes",
            uploadBytes = "upload_bytes", checksum, minDiskGiB = "min_disk_gib", minRAMMiB = "min_ram_mib",
            properties, visibility, sharedWith = "shared_with", isProtected = "protected", owner,
            createdAt = "created_at", operationID = "operation_id", nodes
    }
}

extension Image {
    /// How far an image is. A newer manager may say others.
    public struct Status: RawRepresentable, Codable, Hashable, Sendable {
        /// As the API writes it.
        public var rawValue: String
        /// Of any word.
        public init(rawValue: String) { self.rawValue = rawValue }

        /// `queued`
        public static let queued = Status(rawValue: "queued")
        /// `saving`
        public static let saving = Status(rawValue: "saving")
        /// `converting`
        public static let converting = Status(rawValue: "converting")
        /// `active`
        public static let active = Status(rawValue: "active")
        /// `error`
        public static let error = Status(rawValue: "error")
        /// `deleted`
        public static let deleted = Status(rawValue: "deleted")
        /// `deactivated`
        public static let deactivated = Status(rawValue: "deactivated")
    }

    /// An image on a node.
    public struct Copy: Codable, Sendable, Equatable {
        /// By name.
        public var node: String
        /// `fetching`, `paused`, `held` or `failed`.
        public var state: String
        /// 0 to 100.
        public var progress: Int
        /// From where it came.
        public var source: String
        /// For people; empty where there is none.
        public var reason: String
        /// Never evicted.
        public var isPinned: Bool
        /// When it changed last.
        public var updatedAt: Date

        enum CodingKeys: String, CodingKey {
            case node, state, progress, source, reason, isPinned = "pinned", updatedAt = "updated_at"
        }
    }

    /// What an image is to be, and where its file comes from: an address, an instance, or an upload.
    public struct Creation: Encodable, Sendable {
        /// As people call it.
        public var name: String
        /// By default what the file says of itself.
        public var format: String?
        /// The manager fetches the file from here.
        public var url: String?
        /// It is made of this instance's disk.
        public var fromInstance: String?
        /// What the file must have: `sha256:` and hexadecimal digits.
        public var checksum: String?
        /// What a flavor must have.
        public var minDiskGiB: Int?
        /// What a flavor must have.
        public var minRAMMiB: Int?
        /// By name.
        public var properties: [String: String]?
        /// `public`, `private` or `shared`.
        public var visibility: String?
        /// Not to be deleted.
        public var isProtected: Bool?

        enum CodingKeys: String, CodingKey {
            case name, format, url, fromInstance = "from_instance", checksum, minDiskGiB = "min_disk_gib",
                minRAMMiB = "min_ram_mib", properties, visibility, isProtected = "protected"
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String, format: String? = nil, url: String? = nil, fromInstance: String? = nil,
            checksum: String? = nil, minDiskGiB: Int? = nil, minRAMMiB: Int? = nil,
            properties: [String: String]? = nil, visibility: String? = nil, isProtected: Bool? = nil
        ) {
            self.name = name
            self.format = format
            self.url = url
            self.fromInstance = fromInstance
            self.checksum = checksum
            self.minDiskGiB = minDiskGiB
            self.minRAMMiB = minRAMMiB
            self.properties = properties
            self.visibility = visibility
            self.isProtected = isProtected
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        /// As people call it.
        public var name: String?
        /// What a flavor must have.
        public var minDiskGiB: Int?
        /// What a flavor must have.
        public var minRAMMiB: Int?
        /// All of them.
        public var properties: [String: String]?
        /// `public`, `private` or `shared`.
        public var visibility: String?
        /// Not to be deleted.
        public var isProtected: Bool?

        enum CodingKeys: String, CodingKey {
            case name, minDiskGiB = "min_disk_gib", minRAMMiB = "min_ram_mib", properties, visibility,
                isProtected = "protected"
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String? = nil, minDiskGiB: Int? = nil, minRAMMiB: Int? = nil, properties: [String: String]? = nil,
            visibility: String? = nil, isProtected: Bool? = nil
        ) {
            self.name = name
            self.minDiskGiB = minDiskGiB
            self.minRAMMiB = minRAMMiB
            self.properties = properties
            self.visibility = visibility
            self.isProtected = isProtected
        }
    }
}
