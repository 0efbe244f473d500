public import ManagerModel
import ManagerStore
import ProtocolModel

/// Finds what a caller means by an ID or a name, among what the caller may see. What may not be seen is not found (P9).
extension Commands {
    public func instance(_ reference: String) throws -> Instance {
        if let id = InstanceID(reference) {
            guard let found = try sql.instances.find(id), visibleOwner == nil || found.owner == visibleOwner else {
                throw Refusal.notFound("instance", reference)
            }
            return found
        }
        var filter = InstanceRepository.Filter()
        filter.name = reference
        filter.owner = visibleOwner
        return try only(try sql.instances.list(filter, Page(limit: 2)), "instance", reference)
    }

    public func flavor(_ reference: String) throws -> Flavor {
        let found = try FlavorID(reference).flatMap { try sql.flavors.find($0) } ?? sql.flavors.find(name: reference)
        guard let found else { throw Refusal.notFound("flavor", reference) }
        return found
    }

    public func image(_ reference: String) throws -> Image {
        if let id = ImageID(reference) {
            guard let found = try sql.images.find(id), found.status != .deleted,
                try sql.images.isVisible(found, to: visibleOwner)
            else { throw Refusal.notFound("image", reference) }
            return found
        }
        // One that was put out of use is meant only where no other has the name.
        let offered = try sql.images.list(visibleTo: visibleOwner, only: .offered, name: reference, Page(limit: 2))
        if !offered.isEmpty { return try only(offered, "image", reference) }
        return try only(
            try sql.images.list(visibleTo: visibleOwner, name: reference, Page(limit: 2)), "image", reference)
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
        if let id = KeyPairID(reference) {
            guard let found = try sql.keyPairs.find(id), visibleOwner == nil || found.owner == visibleOwner else {
                throw Refusal.notFound("key pair", reference)
            }
            return found
        }
        // Names belong to their owner: a superuser's own comes before another's of the same name.
        if let own = try sql.keyPairs.list(owner: actor.user, name: reference, Page(limit: 1)).first { return own }
        return try only(
            try sql.keyPairs.list(owner: visibleOwner, name: reference, Page(limit: 2)), "key pair", reference)
    }

    /// What somebody is called who means themselves; nobody can have that name.
    public static let oneself = "me"

    public func user(_ reference: String) throws -> User {
        if reference == Self.oneself, let own = try actor.user.flatMap({ try sql.users.find($0) }) { return own }
        let found = try UserID(reference).flatMap { try sql.users.find($0) } ?? sql.users.find(name: reference)
        guard let found, actor.isSuperuser || found.id == actor.user else { throw Refusal.notFound("user", reference) }
        return found
    }

    private func only<Resource>(_ found: [Resource], _ noun: String, _ reference: String) throws -> Resource {
        guard let first = found.first else { throw Refusal.notFound(noun, reference) }
        guard found.count == 1 else {
            throw Refusal(.ambiguousName, "several \(noun)s are named '\(reference)'; give the ID of the one you mean")
        }
        return first
    }
}
