public import Foundation

/// Users of one account under one name.
public struct Group: CreatableResource, ChangeableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "groups"

    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String
    /// By name.
    public var account: String
    /// For people.
    public var description: String
    /// By name.
    public var members: [String]
    /// When it was made.
    public var createdAt: Date

    enum CodingKeys: String, CodingKey {
        case id, name, account, description, members, createdAt = "created_at"
    }
}

extension Group {
    /// What a group is to be.
    public struct Creation: Encodable, Sendable {
        /// As people call it.
        public var name: String
        /// The caller's where left out.
        public var account: String?
        /// For people.
        public var description: String?

        enum CodingKeys: String, CodingKey {
            case name, account, description
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String, account: String? = nil, description: String? = nil
        ) {
            self.name = name
            self.account = account
            self.description = description
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        /// As people call it.
        public var name: String?
        /// For people.
        public var description: String?

        enum CodingKeys: String, CodingKey {
            case name, description
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String? = nil, description: String? = nil
        ) {
            self.name = name
            self.description = description
        }
    }
}

extension Resources where Item == Group {
    /// Puts a user of the same account into a group.
    public func add(_ user: String, to group: String) async throws {
        _ = try await client.send(Request(.put, try Address.path("groups", group, "members", user)))
    }

    /// Takes a user out of a group.
    public func remove(_ user: String, from group: String) async throws {
        _ = try await client.send(Request(.delete, try Address.path("groups", group, "members", user)))
    }
}
