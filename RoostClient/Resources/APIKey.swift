public import Foundation

/// What a program signs in with instead of a password.
public struct APIKey: CreatableResource, ChangeableResource, Equatable {
    public static let collection = "api-keys"

    public var id: String
    public var name: String
    /// By name.
    public var owner: String?
    /// What it covers; never more than its owner may.
    public var scopes: [String]
    public var createdAt: Date
    public var expiresAt: Date?
    public var lastUsedAt: Date?
    public var lastUsedFrom: String?
    public var revokedAt: Date?
    /// In the answer to its making alone: it is not kept.
    public var secret: String?

    enum CodingKeys: String, CodingKey {
        case id, name, owner, scopes, createdAt = "created_at", expiresAt = "expires_at", lastUsedAt = "last_used_at",
            lastUsedFrom = "last_used_from", revokedAt = "revoked_at", secret
    }
}

extension APIKey {
    /// What a key is to be.
    public struct Creation: Encodable, Sendable {
        public var name: String
        /// All that its owner may where left out.
        public var scopes: [String]?
        public var expiresAt: Date?

        enum CodingKeys: String, CodingKey {
            case name, scopes, expiresAt = "expires_at"
        }

        public init(
            name: String, scopes: [String]? = nil, expiresAt: Date? = nil
        ) {
            self.name = name
            self.scopes = scopes
            self.expiresAt = expiresAt
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        public var name: String?
        public var expiresAt: Patch<Date>

        enum CodingKeys: String, CodingKey {
            case name, expiresAt = "expires_at"
        }

        public init(
            name: String? = nil, expiresAt: Patch<Date> = .keep
        ) {
            self.name = name
            self.expiresAt = expiresAt
        }
    }
}
