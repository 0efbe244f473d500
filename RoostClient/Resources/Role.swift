public import Foundation

/// A set of permissions, each with how far it reaches: `own`, `account` or `all`.
public struct Role: CreatableResource, ChangeableResource, Equatable {
    public static let collection = "roles"

    public var name: String
    public var description: String
    /// Not to be changed.
    public var isBuiltIn: Bool
    public var permissions: [String: String]
    public var createdAt: Date?

    enum CodingKeys: String, CodingKey {
        case name, description, isBuiltIn = "built_in", permissions, createdAt = "created_at"
    }
}

extension Role {
    /// What a role is to be.
    public struct Creation: Encodable, Sendable {
        public var name: String
        public var description: String?
        public var permissions: [String: String]

        enum CodingKeys: String, CodingKey {
            case name, description, permissions
        }

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
        public var description: String?
        /// `nil` takes one away.
        public var permissions: [String: String?]?

        enum CodingKeys: String, CodingKey {
            case description, permissions
        }

        public init(
            description: String? = nil, permissions: [String: String?]? = nil
        ) {
            self.description = description
            self.permissions = permissions
        }
    }
}
