public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// The rules about users. Every change runs in the caller's transaction and writes its event there.
public struct UserService: Sendable {
    public struct NewUser: Sendable {
        public var name: String
        public var role: Role
        public var email: String?
        /// Hashed already: hashing takes long and must not hold a transaction.
        public var passwordHash: String

        public init(name: String, role: Role, email: String?, passwordHash: String) {
            self.name = name
            self.role = role
            self.email = email
            self.passwordHash = passwordHash
        }
    }

    /// What is to be different; `nil` stays as it is.
    public struct Change: Sendable {
        public var enabled: Bool?
        public var role: Role?
        /// The inner `nil` removes the address.
        public var email: String??
        public var passwordHash: String?

        public init(enabled: Bool? = nil, role: Role? = nil, email: String?? = nil, passwordHash: String? = nil) {
            self.enabled = enabled
            self.role = role
            self.email = email
            self.passwordHash = passwordHash
        }
    }

    public init() {}

    /// Whom the actor may see.
    public func list(_ page: Page, by actor: Actor, in transaction: Transaction) throws -> [User] {
        if Access.coversAll(actor.role, .userRead) { return try transaction.users.list(page) }
        guard let id = actor.user, let user = try transaction.users.find(id) else { return [] }
        return page.after == nil ? [user] : []
    }

    public func create(_ new: NewUser, by actor: Actor, at now: Timestamp, in transaction: Transaction) throws -> User {
        guard Access.allows(actor.role, .userCreate, .own) else {
            throw Refusal(.forbidden, "only a superuser may create users")
        }
        // A name that reads as an ID would make references ambiguous.
        guard UserID(new.name) == nil, new.name != "me" else {
            throw Refusal(
                .invalidRequest, "a user's name must not look like an ID, and not be 'me'",
                fields: [.init(pointer: "/name", detail: "must not look like an ID, and not be 'me'")])
        }
        guard try transaction.users.find(name: new.name) == nil else {
            throw Refusal(.nameTaken, "there is a user '\(new.name)' already")
        }
        let user = User(
            id: .generate(at: now), name: new.name, role: new.role, account: "default", email: new.email,
            passwordHash: new.passwordHash, tokensValidAfter: now, createdAt: now)
        try transaction.users.insert(user)
        try transaction.events.append(
            "user.created", actor: actor, owner: user.id, resource: user.reference,
            changes: Event.differences(from: nil, to: user), at: now)
        return user
    }

    public func change(
        _ user: User, _ change: Change, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws -> User {
        let isAdministration = change.enabled != nil || change.role != nil
        if isAdministration, !Access.allows(actor.role, .userAdminister, Access.ownership(of: user.id, by: actor)) {
            throw Refusal(.forbidden, "only a superuser may enable, disable or change the role of a user")
        }
        var changed = user
        changed.enabled = change.enabled ?? user.enabled
        changed.role = change.role ?? user.role
        if let email = change.email { changed.email = email }
        if let hash = change.passwordHash { changed.passwordHash = hash }
        if Self.isActingSuperuser(user), !Self.isActingSuperuser(changed) {
            try checkNotLast(user, in: transaction)
        }
        if change.passwordHash != nil || (user.enabled && !changed.enabled) {
            // Whoever holds a token from before must not keep working with it. Tokens carry milliseconds, so one that
            // was issued in this very millisecond falls with them.
            changed.tokensValidAfter = now + .milliseconds(1)
            try transaction.users.removeRefreshTokens(of: user.id)
        }
        try transaction.users.update(changed)
        try transaction.events.append(
            "user.changed", actor: actor, owner: user.id, resource: user.reference,
            data: change.passwordHash == nil ? [:] : ["password": "changed"],
            changes: Event.differences(from: user, to: changed), at: now)
        return changed
    }

    public func remove(_ user: User, by actor: Actor, at now: Timestamp, in transaction: Transaction) throws {
        guard Access.allows(actor.role, .userDelete, Access.ownership(of: user.id, by: actor)) else {
            throw Refusal(.forbidden, "only a superuser may delete users")
        }
        if Self.isActingSuperuser(user) { try checkNotLast(user, in: transaction) }
        var filter = InstanceRepository.Filter()
        filter.owner = user.id
        guard try transaction.instances.list(filter, Page(limit: 1)).isEmpty else {
            throw Refusal(.inUse, "user '\(user.name)' still has instances; delete them first")
        }
        let images = try transaction.images.list(visibleTo: user.id).filter { $0.owner == user.id }
        guard images.isEmpty else {
            throw Refusal(
                .inUse, "user '\(user.name)' still owns images, such as '\(images[0].name)'; delete them first")
        }
        try transaction.users.remove(user.id)
        try transaction.events.append(
            "user.deleted", actor: actor, owner: nil, resource: user.reference,
            changes: Event.differences(from: user, to: nil), at: now)
    }

    private static func isActingSuperuser(_ user: User) -> Bool { user.role == .superuser && user.enabled }

    /// A site without a superuser could not be administered any more.
    private func checkNotLast(_ user: User, in transaction: Transaction) throws {
        let others = try transaction.users.list().contains { $0.id != user.id && Self.isActingSuperuser($0) }
        guard others else {
            throw Refusal(.conflict, "'\(user.name)' is the last enabled superuser; make another one first")
        }
    }
}
