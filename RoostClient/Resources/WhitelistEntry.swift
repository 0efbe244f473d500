public import Foundation

/// Who may become a user by themselves.
public struct WhitelistEntry: CreatableResource, ChangeableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "registration-whitelist"

    /// Never given to another.
    public var id: String
    /// An e-mail address or a user's name in the directory, with `*` for any characters.
    public var pattern: String
    /// For people.
    public var description: String
    /// When it was made.
    public var createdAt: Date

    enum CodingKeys: String, CodingKey {
        case id, pattern, description, createdAt = "created_at"
    }
}

extension WhitelistEntry {
    /// Who may register.
    public struct Creation: Encodable, Sendable {
        /// An e-mail address or a user's name in the directory, with `*` for any characters.
        public var pattern: String
        /// For people.
        public var description: String?

        enum CodingKeys: String, CodingKey {
            case pattern, description
        }

        /// What is left out is left to the site, or as it is.
        public init(
            pattern: String, description: String? = nil
        ) {
            self.pattern = pattern
            self.description = description
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        /// An e-mail address or a user's name in the directory, with `*` for any characters.
        public var pattern: String?
        /// For people.
        public var description: String?

        enum CodingKeys: String, CodingKey {
            case pattern, description
        }

        /// What is left out is left to the site, or as it is.
        public init(
            pattern: String? = nil, description: String? = nil
        ) {
            self.pattern = pattern
            self.description = description
        }
    }
}
