public import Foundation

/// What a program signs in with instead of a password.
public struct APIKey: CreatableResource, ChangeableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "api-keys"

    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String
    /// By name.
    public var owner: String
    /// What it covers; never more than its owner may.
    public var scopes: [String]
    /// When it was made.
    public var createdAt: Date
    /// When it ends; never where there is none.
    public var expiresAt: Date?
    /// When it got a token last.
    public var lastUsedAt: Date?
    /// From which address.
    public var lastUsedFrom: String?
    /// In the answer to its making alone: it is not kept.
    public var secret: String?

    enum CodingKeys: String, CodingKey {
        case id, name, owner, scopes, createdAt = "created_at", expiresAt = "expires_at", lastUsedAt = "last_used_at",
            lastUsedFrom = "last_used_from", secret
    }
}

extension APIKey {
    /// What a key is to be.
    public struct Creation: Encodable, Sendable {
        /// As people call it.
        public var name: String
        /// All that its owner may where left out.
        public var scopes: [String]?
        /// When it ends; never where there is none.
        public var expiresAt: Date?
        /// Somebody else; for superusers.
        public var owner: String?

        enum CodingKeys: String, CodingKey {
            case name, scopes, expiresAt = "expires_at", owner
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String, scopes: [String]? = nil, expiresAt: Date? = nil, owner: String? = nil
        ) {
            self.name = name
            self.scopes = scopes
            self.expiresAt = expiresAt
            self.owner = owner
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        /// As people call it.
        public var name: String?
        /// All of them.
        public var scopes: [String]?
        /// When it ends; never where there is none.
        public var expiresAt: Patch<Date>

        enum CodingKeys: String, CodingKey {
            case name, scopes, expiresAt = "expires_at"
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String? = nil, scopes: [String]? = nil, expiresAt: Patch<Date> = .keep
        ) {
            self.name = name
            self.scopes = scopes
            self.expiresAt = expiresAt
        }
    }
}
