public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// The rules about roles that the site defines.
public struct RoleService: Sendable {
    public init() {}

    public func create(
        name: String, description: String, permissions: [String: String], by actor: Actor, at now: Timestamp,
        in transaction: Transaction
    ) throws -> RoleDefinition {
        guard Role(rawValue: name) == nil, try transaction.roles.find(name) == nil else {
            throw Refusal(.nameTaken, "there is a role '\(name)' already")
        }
        let role = RoleDefinition(
            name: name, description: description, rights: try Self.rights(permissions), createdAt: now)
        try check(role.rights, givenBy: actor)
        try transaction.roles.insert(role)
        try event("role.created", role, from: nil, to: role, by: actor, at: now, in: transaction)
        return role
    }

    /// Changes what a role allows: it counts at once for everybody who has it.
    public func change(
        _ role: RoleDefinition, description: String?, permissions: [String: String]?, by actor: Actor,
        at now: Timestamp, in transaction: Transaction
    ) throws -> RoleDefinition {
        var changed = role
        changed.description = description ?? role.description
        if let permissions {
            changed.rights = try Self.rights(permissions)
            try check(changed.rights, givenBy: actor)
        }
        try transaction.roles.update(changed)
        try event("role.changed", changed, from: role, to: changed, by: actor, at: now, in: transaction)
        return changed
    }

    public func remove(_ role: RoleDefinition, by actor: Actor, at now: Timestamp, in transaction: Transaction) throws {
        let users = try transaction.users.names(having: role.name, limit: 10)
        guard users.isEmpty else {
            throw Refusal(
                .inUse, "role '\(role.name)' is held by \(users.joined(separator: ", ")); take it from them first")
        }
        try transaction.roles.remove(role.name)
        try event("role.deleted", role, from: role, to: nil, by: actor, at: now, in: transaction)
    }

    /// Reads a role's document.
    ///
    /// - Throws: `Refusal` naming each permission that does not exist.
    public static func rights(_ permissions: [String: String]) throws(Refusal) -> Rights {
        var reaches: [Permission: Reach] = [:]
        var faults: [Refusal.Field] = []
        for (word, reach) in permissions.sorted(by: { $0.key < $1.key }) {
            guard let permission = Permission(rawValue: word), !permission.isOpen else {
                faults.append(
                    .init(pointer: "/permissions/\(word)", detail: "is no permission; see GET /v1/roles/superuser"))
                continue
            }
            guard let reach = Reach(word: reach), reach > .none else {
                faults.append(.init(pointer: "/permissions/\(word)", detail: "must be own, account or all"))
                continue
            }
            reaches[permission] = reach
        }
        guard faults.isEmpty else {
            throw Refusal(
                .invalidRequest, "permissions that cannot be accepted: \(faults.count)",
                fields: Array(faults.prefix(50)))
        }
        return Rights(reaches)
    }

    private func check(_ rights: Rights, givenBy actor: Actor) throws(Refusal) {
        guard actor.rights.covers(rights) else {
            throw Refusal(
                .forbidden, "a role cannot allow what you may not do yourself",
                fields: [.init(pointer: "/permissions", detail: "goes beyond what you may do yourself")])
        }
    }

    private func event(
        _ kind: String, _ role: RoleDefinition, from old: RoleDefinition?, to new: RoleDefinition?, by actor: Actor,
        at now: Timestamp, in transaction: Transaction
    ) throws {
        try transaction.events.append(
            kind, actor: actor, owner: nil, resource: ResourceReference(kind: "role", id: role.name, name: role.name),
            changes: Event.differences(from: old, to: new), at: now)
    }
}
