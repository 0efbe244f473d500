public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// The rules about accounts.
public struct AccountService: Sendable {
    /// What is to be different; `nil` stays as it is.
    public struct Change: Sendable {
        public var description: String?
        /// The inner `nil` leaves the account to superusers.
        public var owner: UserID??
        public var enabled: Bool?

        public init(description: String? = nil, owner: UserID?? = nil, enabled: Bool? = nil) {
            self.description = description
            self.owner = owner
            self.enabled = enabled
        }
    }

    public init() {}

    public func create(
        name: String, description: String, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws -> Account {
        guard AccountID(name) == nil else {
            throw Refusal(
                .invalidRequest, "an account's name must not look like an ID",
                fields: [.init(pointer: "/name", detail: "must not look like an ID")])
        }
        guard try transaction.accounts.find(name: name) == nil else {
            throw Refusal(.nameTaken, "there is an account '\(name)' already")
        }
        let account = Account(id: .generate(at: now), name: name, description: description, createdAt: now)
        try transaction.accounts.insert(account)
        try event("account.created", account, from: nil, to: account, by: actor, at: now, in: transaction)
        return account
    }

    public func change(
        _ account: Account, _ change: Change, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws -> Account {
        if change.owner != nil || change.enabled != nil, actor.rights[.accountChange] < .all {
            throw Refusal(.forbidden, "only a superuser may enable or disable an account, or change who owns it")
        }
        var changed = account
        changed.description = change.description ?? account.description
        if let owner = change.owner {
            changed.owner = owner
            if let former = account.owner, former != owner {
                try dismiss(former, by: actor, at: now, in: transaction)
            }
            if let owner { try make(owner, ownerOf: account, by: actor, at: now, in: transaction) }
        }
        changed.enabled = change.enabled ?? account.enabled
        if !changed.enabled, account.name == actor.account {
            throw Refusal(.conflict, "you are in account '\(account.name)' yourself, and could not sign in any more")
        }
        if account.enabled, !changed.enabled {
            for user in try transaction.users.list(.account(account.name)) {
                try transaction.credentials.removeSessions(of: user.id)
            }
        }
        try transaction.accounts.update(changed)
        try event("account.changed", account, from: account, to: changed, by: actor, at: now, in: transaction)
        return changed
    }

    /// Removes an account that nobody is in. What was used under its name stays on record.
    public func remove(_ account: Account, by actor: Actor, at now: Timestamp, in transaction: Transaction) throws {
        guard account.name != Account.defaultName else {
            throw Refusal(.conflict, "account '\(account.name)' is for whoever is in no other, and cannot be deleted")
        }
        let count = try transaction.accounts.userCount(account.name)
        guard count == 0 else {
            throw Refusal(
                .inUse,
                "\(count) user\(count == 1 ? " is" : "s are") in account '\(account.name)'; move or delete them first"
            )
        }
        for group in try transaction.groups.list(.account(account.name)) { try transaction.groups.remove(group.id) }
        try transaction.accounts.remove(account)
        try event("account.deleted", account, from: account, to: nil, by: actor, at: now, in: transaction)
    }

    /// Whoever owns an account manages its users: they are in it, and have the role.
    private func make(
        _ owner: UserID, ownerOf account: Account, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws {
        guard let user = try transaction.users.find(owner), user.account == account.name else {
            throw Refusal(
                .invalidRequest,
                "an account is owned by one of its own users; put the user into account '\(account.name)' first",
                fields: [.init(pointer: "/owner", detail: "must be a user of the account")])
        }
        guard !user.roles.contains(Role.accountOwner.rawValue), !user.isSuperuser else { return }
        let roles = [Role.accountOwner.rawValue] + user.roles.filter { $0 != Role.user.rawValue }
        _ = try UserService().change(user, .init(roles: roles), by: actor, at: now, in: transaction)
    }

    /// Whoever owns an account no more manages its users no more.
    private func dismiss(_ owner: UserID, by actor: Actor, at now: Timestamp, in transaction: Transaction) throws {
        guard let user = try transaction.users.find(owner), user.roles.contains(Role.accountOwner.rawValue) else {
            return
        }
        let roles = UserService.withoutOwnership(user.roles)
        _ = try UserService().change(user, .init(roles: roles), by: actor, at: now, in: transaction)
    }

    private func event(
        _ kind: String, _ account: Account, from old: Account?, to new: Account?, by actor: Actor, at now: Timestamp,
        in transaction: Transaction
    ) throws {
        try transaction.events.append(
            kind, actor: actor, owner: account.owner,
            resource: ResourceReference(kind: "account", id: "\(account.id)", name: account.name),
            changes: Event.differences(from: old, to: new), at: now)
    }
}
