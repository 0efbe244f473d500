public import Foundation

/// Which devices guests may be given, and by what alias; for operators.
public struct DeviceRule: CreatableResource, ChangeableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "device-rules"

    /// Never given to another.
    public var id: String
    /// `alias`, `allow`, `deny` or `partition`.
    public var action: String
    /// What flavors ask for, where the action is `alias`.
    public var alias: String?
    /// Which devices it is about.
    public var match: Match
    /// Where the action is `partition`: addresses of devices of one host that may go together.
    public var sets: [[String]]
    /// For people.
    public var description: String
    /// When it was made.
    public var createdAt: Date
    /// When it changed last.
    public var updatedAt: Date

    enum CodingKeys: String, CodingKey {
        case id, action, alias, match, sets, description, createdAt = "created_at", updatedAt = "updated_at"
    }

    /// Devices for which all holds that is not `nil`. In patterns `*` stands for any characters.
    public struct Match: Codable, Sendable, Equatable {
        /// Four hexadecimal digits.
        public var vendorID: String?
        /// Four hexadecimal digits.
        public var productID: String?
        /// Four hexadecimal digits.
        public var subsystemVendorID: String?
        /// Four hexadecimal digits.
        public var subsystemProductID: String?
        /// The first two, four or six hexadecimal digits of the class.
        public var deviceClass: String?
        /// A pattern.
        public var address: String?
        /// A pattern for vendor and product.
        public var name: String?
        /// A pattern for the node's name.
        public var node: String?

        enum CodingKeys: String, CodingKey {
            case vendorID = "vendor_id", productID = "product_id", subsystemVendorID = "subsystem_vendor_id",
                subsystemProductID = "subsystem_product_id", deviceClass = "class", address, name, node
        }

        /// Any device.
        public init() {}

        /// By what `lspci -n` prints.
        public init(vendorID: String, productID: String) {
            self.vendorID = vendorID
            self.productID = productID
        }
    }
}

extension DeviceRule {
    /// What a rule is to be.
    public struct Creation: Encodable, Sendable {
        /// `alias`, `allow`, `deny` or `partition`.
        public var action: String
        /// What flavors ask for, where the action is `alias`.
        public var alias: String?
        /// Which devices it is about.
        public var match: Match
        /// Where the action is `partition`: addresses of devices of one host that may go together.
        public var sets: [[String]]?
        /// For people.
        public var description: String?

        enum CodingKeys: String, CodingKey {
            case action, alias, match, sets, description
        }

        /// What is left out is left to the site.
        public init(
            action: String, alias: String? = nil, match: Match, sets: [[String]]? = nil, description: String? = nil
        ) {
            self.sets = sets
            self.action = action
            self.alias = alias
            self.match = match
            self.description = description
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        /// What flavors ask for.
        public var alias: String?
        /// Merged with what is there.
        public var match: MatchChange?
        /// In place of those that are there.
        public var sets: [[String]]?
        /// For people.
        public var description: String?

        enum CodingKeys: String, CodingKey {
            case alias, match, sets, description
        }

        /// What is left out stays.
        public init(
            alias: String? = nil, match: MatchChange? = nil, sets: [[String]]? = nil, description: String? = nil
        ) {
            self.sets = sets
            self.alias = alias
            self.match = match
            self.description = description
        }
    }
}

extension DeviceRule {
    /// What is to be looked at, too, or no longer.
    public struct MatchChange: Encodable, Sendable {
        /// Four hexadecimal digits.
        public var vendorID: Patch<String> = .keep
        /// Four hexadecimal digits.
        public var productID: Patch<String> = .keep
        /// Four hexadecimal digits.
        public var subsystemVendorID: Patch<String> = .keep
        /// Four hexadecimal digits.
        public var subsystemProductID: Patch<String> = .keep
        /// The first two, four or six hexadecimal digits of the class.
        public var deviceClass: Patch<String> = .keep
        /// A pattern.
        public var address: Patch<String> = .keep
        /// A pattern for vendor and product.
        public var name: Patch<String> = .keep
        /// A pattern for the node's name.
        public var node: Patch<String> = .keep

        typealias CodingKeys = Match.CodingKeys

        /// Nothing.
        public init() {}
    }
}
