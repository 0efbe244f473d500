public import Foundation

/// Somebody who may sign in.
public struct User: CreatableResource, ChangeableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "users"

    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String
    /// For people; empty where it is not known.
    public var fullName: String
    /// The first of the roles.
    public var role: String
    /// By name.
    public var roles: [String]
    /// By name.
    public var account: String
    /// Whether it may be used.
    public var isEnabled: Bool
    /// When it was made.
    public var createdAt: Date
    /// For mail.
    public var email: String?
    /// On the site's other systems.
    public var unixName: String?
    /// Who knows the password: `local` or `directory`.
    public var source: String
    /// Before anything else.
    public var mustChangePassword: Bool
    /// When they signed in last.
    public var lastSignInAt: Date?

    enum CodingKeys: String, CodingKey {
        case id, name, fullName = "full_name", role, roles, account, isEnabled = "enabled", createdAt = "created_at",
            email, unixName = "unix_name", source, mustChangePassword = "must_change_password",
            lastSignInAt = "last_sign_in_at"
    }
}

extension User {
    /// What a user is to be.
    public struct Creation: Encodable, Sendable {
        /// As people call it.
        public var name: String
        /// At least 10 characters; `nil` for a user who signs in by an API key or a mailed link.
        public var password: String?
        /// By name.
        public var roles: [String]?
        /// `default` where left out.
        public var account: String?
        /// For people; empty where it is not known.
        public var fullName: String?
        /// For mail.
        public var email: String?
        /// On the site's other systems.
        public var unixName: String?
        /// Whether the password is good for setting another alone.
        public var mustChangePassword: Bool?

        enum CodingKeys: String, CodingKey {
            case name, password, roles, account, fullName = "full_name", email, unixName = "unix_name",
                mustChangePassword = "must_change_password"
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String, password: String? = nil, roles: [String]? = nil, account: String? = nil,
            fullName: String? = nil, email: String? = nil, unixName: String? = nil, mustChangePassword: Bool? = nil
        ) {
            self.name = name
            self.password = password
            self.roles = roles
            self.account = account
            self.fullName = fullName
            self.email = email
            self.unixName = unixName
            self.mustChangePassword = mustChangePassword
        }

        public func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(name, forKey: .name)
            // That there is none is said, too.
            try container.encode(password, forKey: .password)
            try container.encodeIfPresent(roles, forKey: .roles)
            try container.encodeIfPresent(account, forKey: .account)
            try container.encodeIfPresent(fullName, forKey: .fullName)
            try container.encodeIfPresent(email, forKey: .email)
            try container.encodeIfPresent(unixName, forKey: .unixName)
            try container.encodeIfPresent(mustChangePassword, forKey: .mustChangePassword)
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        /// Whether it may be used.
        public var isEnabled: Bool?
        /// By name.
        public var roles: [String]?
        /// By name.
        public var account: String?
        /// For people; empty where it is not known.
        public var fullName: String?
        /// For mail.
        public var email: Patch<String>
        /// On the site's other systems.
        public var unixName: Patch<String>
        /// Ends the user's sessions.
        public var password: String?
        /// Needed to change one's own password or address.
        public var currentPassword: String?
        /// Whether the password is good for setting another alone.
        public var mustChangePassword: Bool?

        enum CodingKeys: String, CodingKey {
            case isEnabled = "enabled", roles, account, fullName = "full_name", email, unixName = "unix_name",
                password, currentPassword = "current_password", mustChangePassword = "must_change_password"
        }

        /// What is left out is left to the site, or as it is.
        public init(
            isEnabled: Bool? = nil, roles: [String]? = nil, account: String? = nil, fullName: String? = nil,
            email: Patch<String> = .keep, unixName: Patch<String> = .keep, password: String? = nil,
            currentPassword: String? = nil, mustChangePassword: Bool? = nil
        ) {
            self.isEnabled = isEnabled
            self.roles = roles
            self.account = account
            self.fullName = fullName
            self.email = email
            self.unixName = unixName
            self.password = password
            self.currentPassword = currentPassword
            self.mustChangePassword = mustChangePassword
        }
    }
}

extension Resources where Item == User {
    /// The caller.
    public func me() async throws -> User { try await show("me") }

    /// Deletes a user; what they have goes to another.
    public func delete(_ reference: String, handingOverTo heir: String) async throws {
        let path = try Address.path("users", reference) + Address.query(["hand_over_to": heir])
        _ = try await client.send(Request(.delete, path))
    }

    /// A token with which a superuser acts as somebody; all that is done with it is recorded under both names.
    public func masquerade(as reference: String) async throws -> OAuthTokens {
        try OAuthTokens(
            await client.send(Request(.post, try Address.path("users", reference, "masquerade"))).json())
    }
}
