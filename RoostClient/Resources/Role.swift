public import Foundation

/// A set of permissions, each with how far it reaches: `own`, `account` or `all`.
public struct Role: CreatableResource, ChangeableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "roles"

    /// As people call it.
    public var name: String
    /// For people.
    public var description: String
    /// Not to be changed.
    public var isBuiltIn: Bool
    /// How far each reaches.
    public var permissions: [String: String]
    /// When it was made.
    public var createdAt: Date?

    enum CodingKeys: String, CodingKey {
        case name, description, isBuiltIn = "built_in", permissions, createdAt = "created_at"
    }
}

extension Role {
    /// What a role is to be.
    public struct Creation: Encodable, Sendable {
        /// As people call it.
        public var name: String
        /// For people.
        public var description: String?
        /// How far each reaches.
        public var permissions: [String: String]

        enum CodingKeys: String, CodingKey {
            case name, description, permissions
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String, description: String? = nil, permissions: [String: String]
        ) {
            self.name = name
            self.description = description
            self.permissions = permissions
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        /// For people.
        public var description: String?
        /// All of them.
        public var permissions: [String: String]?

        enum CodingKeys: String, CodingKey {
            case description, permissions
        }

        /// What is left out is left to the site, or as it is.
        public init(
            description: String? = nil, permissions: [String: String]? = nil
        ) {
            self.description = description
            self.permissions = permissions
        }
    }
}
