public import Foundation

/// Users who belong together, with an owner who manages them.
public struct Account: CreatableResource, ChangeableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "accounts"

    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String
    /// For people.
    public var description: String
    /// By name.
    public var owner: String?
    /// Of the owner.
    public var ownerID: String?
    /// Whether it may be used.
    public var isEnabled: Bool
    /// How many it has.
    public var userCount: Int
    /// When it was made.
    public var createdAt: Date

    enum CodingKeys: String, CodingKey {
        case id, name, description, owner, ownerID = "owner_id", isEnabled = "enabled", userCount = "user_count",
            createdAt = "created_at"
    }
}

extension Account {
    /// What an account is to be.
    public struct Creation: Encodable, Sendable {
        /// It never changes.
        public var name: String
        /// For people.
        public var description: String?

        enum CodingKeys: String, CodingKey {
            case name, description
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String, description: String? = nil
        ) {
            self.name = name
            self.description = description
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        /// For people.
        public var description: String?
        /// By name.
        public var owner: Patch<String>
        /// Whether it may be used.
        public var isEnabled: Bool?

        enum CodingKeys: String, CodingKey {
            case description, owner, isEnabled = "enabled"
        }

        /// What is left out is left to the site, or as it is.
        public init(
            description: String? = nil, owner: Patch<String> = .keep, isEnabled: Bool? = nil
        ) {
            self.description = description
            self.owner = owner
            self.isEnabled = isEnabled
        }
    }
}
