public import ManagerModel
import ManagerStore
public import ProtocolModel

/// Finds what a caller means by an ID or a name, among what the caller may see. What may not be seen is not found (P9).
extension Commands {
    public func instance(_ reference: String) throws -> Instance {
        if let id = InstanceID(reference) {
            guard let found = try sql.instances.find(id) else { throw Refusal.notFound("instance", reference) }
            try check(.instanceRead, owner: found.owner, "instance", reference)
            return found
        }
        var filter = InstanceRepository.Filter()
        filter.name = reference
        filter.scope = try scope(.instanceRead, "instance", reference)
        let found = try only(try sql.instances.list(filter, Page(limit: 2)), "instance", reference)
        try check(.instanceRead, owner: found.owner, "instance", reference)
        return found
    }

    public func flavor(_ reference: String) throws -> Flavor {
        let found = try FlavorID(reference).flatMap { try sql.flavors.find($0) } ?? sql.flavors.find(name: reference)
        guard let found else { throw Refusal.notFound("flavor", reference) }
        return found
    }

    public func image(_ reference: String) throws -> Image {
        if let id = ImageID(reference) {
            guard let found = try sql.images.find(id), found.status != .deleted else {
                throw Refusal.notFound("image", reference)
            }
            return try checked(found, reference)
        }
        let scope = try scope(.imageRead, "image", reference)
        // One that was put out of use is meant only where no other has the name.
        for selection in [ImageRepository.Selection.offered, .all] {
            let found = try sql.images.list(
                scope, offeredTo: actor.user, only: selection, name: reference, Page(limit: 2))
            if !found.isEmpty { return try checked(try only(found, "image", reference), reference) }
        }
        throw Refusal.notFound("image", reference)
    }

    private func checked(_ image: Image, _ reference: String) throws -> Image {
        let isOffered = try image.owner != actor.user && sql.images.isOffered(image, to: actor.account)
        try check(.imageRead, owner: image.owner, isShared: isOffered, "image", reference)
        return image
    }

    public func node(_ reference: String) throws -> Node {
        let found = try NodeID(reference).flatMap { try sql.nodes.find($0) } ?? sql.nodes.find(name: reference)
        guard let found else { throw Refusal.notFound("node", reference) }
        return found
    }

    public func aggregate(_ reference: String) throws -> Aggregate {
        let found =
            try AggregateID(reference).flatMap { try sql.aggregates.find($0) } ?? sql.aggregates.find(name: reference)
        guard let found else { throw Refusal.notFound("aggregate", reference) }
        return found
    }

    public func keyPair(_ reference: String) throws -> KeyPair {
        try owned(
            reference, .keyPairRead, "key pair", owner: \.owner,
            find: { try KeyPairID($0).map { try sql.keyPairs.find($0) } },
            list: { try sql.keyPairs.list($0, name: reference, Page(limit: 2)) })
    }

    public func serverGroup(_ reference: String) throws -> ServerGroup {
        try owned(
            reference, .serverGroupRead, "server group", owner: \.owner,
            find: { try ServerGroupID($0).map { try sql.serverGroups.find($0) } },
            list: { try sql.serverGroups.list($0, name: reference, Page(limit: 2)) })
    }

    public func apiKey(_ reference: String) throws -> APIKey {
        try owned(
            reference, .apiKeyRead, "API key", owner: \.user,
            find: { try APIKeyID($0).map { try sql.apiKeys.find($0) } },
            list: { try sql.apiKeys.list($0, name: reference, Page(limit: 2)) })
    }

    /// Something whose name belongs to its owner: one's own comes before another's of the same name.
    ///
    /// - Parameter find: `nil` where the reference is no ID; inside it, `nil` where nothing has that ID.
    private func owned<Resource>(
        _ reference: String, _ read: Permission, _ noun: String, owner: KeyPath<Resource, UserID>,
        find: (String) throws -> Resource??, list: (Scope) throws -> [Resource]
    ) throws -> Resource {
        let found: Resource
        if let known = try find(reference) {
            guard let known else { throw Refusal.notFound(noun, reference) }
            found = known
        } else if let own = try actor.user.flatMap({ try list(.user($0)).first }) {
            found = own
        } else {
            found = try only(try list(try scope(read, noun, reference)), noun, reference)
        }
        try check(read, owner: found[keyPath: owner], noun, reference)
        return found
    }

    public func operation(_ reference: String) throws -> Operation {
        guard let found = try OperationID(reference).flatMap({ try sql.operations.find($0) }) else {
            throw Refusal.notFound("operation", reference)
        }
        try check(.operationRead, owner: found.owner, "operation", reference)
        return found
    }

    /// What somebody is called who means themselves; nobody can have that name.
    public static let oneself = "me"

    public func user(_ reference: String) throws -> User {
        if reference == Self.oneself, let own = try actor.user.flatMap({ try sql.users.find($0) }) { return own }
        let found = try UserID(reference).flatMap { try sql.users.find($0) } ?? sql.users.find(name: reference)
        guard let found else { throw Refusal.notFound("user", reference) }
        try check(.userRead, owner: found.id, "user", reference)
        return found
    }

    public func account(_ reference: String) throws -> Account {
        let found =
            try AccountID(reference).flatMap { try sql.accounts.find($0) } ?? sql.accounts.find(name: reference)
        guard let found else { throw Refusal.notFound("account", reference) }
        try check(.accountRead, ownership: ownership(of: found), "account", reference)
        return found
    }

    public func group(_ reference: String) throws -> Group {
        let found: Group
        if let id = GroupID(reference) {
            guard let known = try sql.groups.find(id) else { throw Refusal.notFound("group", reference) }
            found = known
        } else {
            let scope = try scope(.groupRead, "group", reference)
            found = try only(try sql.groups.list(scope, name: reference, Page(limit: 2)), "group", reference)
        }
        let isMember = try actor.user.map { try sql.groups.contains($0, in: found.id) } ?? false
        let ownership: Ownership =
            found.account == actor.account && actor.rights[.groupRead] >= .account
            ? .account : isMember ? .own : .foreign
        try check(.groupRead, ownership: ownership, "group", reference)
        return found
    }

    // MARK: Who may

    /// Whose a resource with this owner is, seen from the actor.
    public func ownership(of owner: UserID?) throws -> Ownership {
        // Asked of the record only where it matters.
        let account =
            owner == actor.user || actor.account.isEmpty ? nil : try owner.flatMap { try sql.users.find($0)?.account }
        return actor.ownership(of: owner, account: account)
    }

    /// An account is its users' own to look at; whoever manages it has it within the account's reach.
    func ownership(of account: Account) -> Ownership {
        guard account.name == actor.account else { return .foreign }
        return actor.rights[.accountRead] >= .account ? .account : .own
    }

    /// - Throws: `Refusal`: `not_found` where the actor may not see it (P9), `forbidden` where what the request is for does
    ///   not reach as far as seeing does.
    private func check(
        _ read: Permission, owner: UserID?, isShared: Bool = false, _ noun: String, _ reference: String
    ) throws {
        try check(read, ownership: try ownership(of: owner), isShared: isShared, noun, reference)
    }

    private func check(
        _ read: Permission, ownership: Ownership, isShared: Bool = false, _ noun: String, _ reference: String
    ) throws {
        guard actor.rights.allows(read, ownership) || isShared && actor.rights.allows(read, .shared) else {
            throw Refusal.notFound(noun, reference)
        }
        guard let permission, permission != read, permission.concerns(sameAs: read) else { return }
        guard actor.rights.allows(permission, ownership) else {
            throw Refusal(
                .forbidden,
                "you may see \(noun) '\(reference)', but not do this to it: permission \(permission.rawValue) reaches "
                    + (actor.rights[permission] == .own ? "what is yours" : "what is your account's"))
        }
    }

    private func scope(_ read: Permission, _ noun: String, _ reference: String) throws -> Scope {
        guard let scope = actor.scope(read) else { throw Refusal.notFound(noun, reference) }
        return scope
    }

    private func only<Resource>(_ found: [Resource], _ noun: String, _ reference: String) throws -> Resource {
        guard let first = found.first else { throw Refusal.notFound(noun, reference) }
        guard found.count == 1 else {
            throw Refusal(.ambiguousName, "several \(noun)s are named '\(reference)'; give the ID of the one you mean")
        }
        return first
    }
}
