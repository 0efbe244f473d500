public import ProtocolModel

/// Users who belong together, and who speaks for them. Instances, usage and quotas name it, and its name never changes.
public struct Account: Sendable, Equatable {
    /// Whoever is put into no other is in this one.
    public static let defaultName = "default"

    public var id: AccountID
    public var name: String
    public var description: String
    /// Who manages its users (AUT-08); `nil`: superusers alone.
    public var owner: UserID?
    /// Nobody of an account that is not enabled may sign in.
    public var enabled: Bool
    public var createdAt: Timestamp

    public init(
        id: AccountID, name: String, description: String = "", owner: UserID? = nil, enabled: Bool = true,
        createdAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.description = description
        self.owner = owner
        self.enabled = enabled
        self.createdAt = createdAt
    }
}

/// Some users of one account (CTL-25, CTL-26).
public struct Group: Sendable, Equatable {
    public var id: GroupID
    /// Not twice in an account.
    public var name: String
    /// The account's name; all members belong to it.
    public var account: String
    public var description: String
    public var createdAt: Timestamp

    public init(id: GroupID, name: String, account: String, description: String = "", createdAt: Timestamp) {
        self.id = id
        self.name = name
        self.account = account
        self.description = description
        self.createdAt = createdAt
    }
}

/// A role that the site has defined: a name for rights.
public struct RoleDefinition: Sendable, Equatable {
    public var name: String
    public var description: String
    public var rights: Rights
    public var createdAt: Timestamp

    public init(name: String, description: String = "", rights: Rights, createdAt: Timestamp) {
        self.name = name
        self.description = description
        self.rights = rights
        self.createdAt = createdAt
    }
}

extension Account: Audited {
    public var auditedFields: [String: String] {
        var fields = ["name": name, "description": description, "enabled": "\(enabled)"]
        if let owner { fields["owner_id"] = "\(owner)" }
        return fields
    }
}

extension Group: Audited {
    public var auditedFields: [String: String] { ["name": name, "account": account, "description": description] }
}

extension RoleDefinition: Audited {
    public var auditedFields: [String: String] {
        var fields = ["name": name, "description": description]
        for (permission, reach) in rights.granted { fields["permissions.\(permission.rawValue)"] = reach.word }
        return fields
    }
}
