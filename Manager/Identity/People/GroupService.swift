public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// The rules about groups: their members never cross accounts (CTL-26).
public struct GroupService: Sendable {
    public init() {}

    /// - Parameter account: the account's name; `nil`: the actor's own.
    public func create(
        name: String, account: String?, description: String, by actor: Actor, at now: Timestamp,
        in transaction: Transaction
    ) throws -> Group {
        let account = account ?? actor.account
        guard actor.rights[.groupCreate] == .all || account == actor.account,
            try transaction.accounts.find(name: account) != nil
        else {
            throw Refusal(
                .invalidRequest, "there is no account '\(account)' that you may see",
                fields: [.init(pointer: "/account", detail: "names no account that you may see")])
        }
        guard GroupID(name) == nil else {
            throw Refusal(
                .invalidRequest, "a group's name must not look like an ID",
                fields: [.init(pointer: "/name", detail: "must not look like an ID")])
        }
        try checkFree(name, in: account, transaction)
        let group = Group(
            id: .generate(at: now), name: name, account: account, description: description, createdAt: now)
        try transaction.groups.insert(group)
        try event(
            "group.created", group, by: actor, at: now, changes: Event.differences(from: nil, to: group), transaction)
        return group
    }

    public func change(
        _ group: Group, name: String?, description: String?, by actor: Actor, at now: Timestamp,
        in transaction: Transaction
    ) throws -> Group {
        var changed = group
        if let name, name != group.name {
            try checkFree(name, in: group.account, transaction)
            changed.name = name
        }
        changed.description = description ?? group.description
        try transaction.groups.update(changed)
        try event(
            "group.changed", changed, by: actor, at: now, changes: Event.differences(from: group, to: changed),
            transaction)
        return changed
    }

    public func remove(_ group: Group, by actor: Actor, at now: Timestamp, in transaction: Transaction) throws {
        try transaction.groups.remove(group.id)
        try event(
            "group.deleted", group, by: actor, at: now, changes: Event.differences(from: group, to: nil), transaction)
    }

    /// Puts a user into a group; one who is in it already stays.
    public func add(
        _ user: User, to group: Group, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws {
        guard user.account == group.account else {
            throw Refusal(
                .conflict,
                "group '\(group.name)' is of account '\(group.account)', and '\(user.name)' of '\(user.account)': groups do not cross accounts"
            )
        }
        guard try !transaction.groups.contains(user.id, in: group.id) else { return }
        try transaction.groups.add(user.id, to: group.id)
        try event("group.member_added", group, by: actor, at: now, data: ["user": user.name], transaction)
    }

    /// Takes a user out of a group; one who is not in it is no error.
    public func remove(
        _ user: User, from group: Group, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws {
        guard try transaction.groups.contains(user.id, in: group.id) else { return }
        try transaction.groups.remove(user.id, from: group.id)
        try event("group.member_removed", group, by: actor, at: now, data: ["user": user.name], transaction)
    }

    private func checkFree(_ name: String, in account: String, _ transaction: Transaction) throws {
        guard try transaction.groups.list(.account(account), name: name, Page(limit: 1)).isEmpty else {
            throw Refusal(.nameTaken, "account '\(account)' has a group '\(name)' already")
        }
    }

    private func event(
        _ kind: String, _ group: Group, by actor: Actor, at now: Timestamp, data: [String: String] = [:],
        changes: [String: Event.Difference] = [:], _ transaction: Transaction
    ) throws {
        let owner = try transaction.accounts.find(name: group.account)?.owner
        try transaction.events.append(
            kind, actor: actor, owner: owner,
            resource: ResourceReference(kind: "group", id: "\(group.id)", name: group.name), data: data,
            changes: changes, at: now)
    }
}
