public import Foundation

/// Users who belong together, with an owner who manages them.
public struct Account: CreatableResource, ChangeableResource, Equatable {
    public static let collection = "accounts"

    public var id: String
    public var name: String
    public var description: String
    /// By name.
    public var owner: String?
    public var ownerID: String?
    public var isEnabled: Bool
    public var userCount: Int
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
        public var description: String?
        /// By name or ID.
        public var owner: String?

        enum CodingKeys: String, CodingKey {
            case name, description, owner
        }

        public init(
            name: String, description: String? = nil, owner: String? = nil
        ) {
            self.name = name
            self.description = description
            self.owner = owner
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        public var description: String?
        public var owner: Patch<String>
        public var isEnabled: Bool?

        enum CodingKeys: String, CodingKey {
            case description, owner, isEnabled = "enabled"
        }

        public init(
            description: String? = nil, owner: Patch<String> = .keep, isEnabled: Bool? = nil
        ) {
            self.description = description
            self.owner = owner
            self.isEnabled = isEnabled
        }
    }
}
