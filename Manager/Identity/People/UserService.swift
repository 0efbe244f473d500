public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// The rules about users. Every change runs in the caller's transaction and writes its event there.
///
/// Whether the actor may touch a user at all was decided where the user was looked up; here it is decided what of the user
/// they may change. Nobody gives rights that they have not, nor changes whoever has more than they (SEC-08).
public struct UserService: Sendable {
    public struct NewUser: Sendable {
        public var name: String
        /// Empty: `user`.
        public var roles: [String]
        /// `nil`: the one of whoever creates the user, or the default one.
        public var account: String?
        public var email: String?
        public var fullName = ""
        public var unixName: String?
        public var source = User.Source.local
        /// Hashed already: hashing takes long and must not hold a transaction. Empty: no password.
        public var passwordHash: String
        public var mustChangePassword = false

        public init(name: String, roles: [String] = [], account: String? = nil, email: String?, passwordHash: String) {
            self.name = name
            self.roles = roles
            self.account = account
            self.email = email
            self.passwordHash = passwordHash
        }

        public init(name: String, role: Role, email: String?, passwordHash: String) {
            self.init(name: name, roles: [role.rawValue], email: email, passwordHash: passwordHash)
        }
    }

    /// What is to be different; `nil` stays as it is.
    public struct Change: Sendable {
        public var enabled: Bool?
        public var roles: [String]?
        public var account: String?
        /// The inner `nil` removes the address.
        public var email: String??
        public var fullName: String?
        public var unixName: String??
        public var passwordHash: String?
        public var mustChangePassword: Bool?

        public init(
            enabled: Bool? = nil, roles: [String]? = nil, account: String? = nil, email: String?? = nil,
            fullName: String? = nil, unixName: String?? = nil, passwordHash: String? = nil,
            mustChangePassword: Bool? = nil
        ) {
            self.enabled = enabled
            self.roles = roles
            self.account = account
            self.email = email
            self.fullName = fullName
            self.unixName = unixName
            self.passwordHash = passwordHash
            self.mustChangePassword = mustChangePassword
        }

        /// What a user may not change of themselves.
        var isAdministration: Bool {
            enabled != nil || roles != nil || account != nil || unixName != nil || mustChangePassword == true
        }
    }

    /// How many of a user's instances a refusal names.
    static let namedInstances = 20

    public init() {}

    /// Whom the actor may see.
    public func list(_ page: Page, by actor: Actor, in transaction: Transaction) throws -> [User] {
        guard let scope = actor.scope(.userRead) else { return [] }
        return try transaction.users.list(scope, page)
    }

    public func create(_ new: NewUser, by actor: Actor, at now: Timestamp, in transaction: Transaction) throws -> User {
        // A name that reads as an ID would make references ambiguous.
        guard UserID(new.name) == nil, new.name != "me" else {
            throw Refusal(
                .invalidRequest, "a user's name must not look like an ID, and not be 'me'",
                fields: [.init(pointer: "/name", detail: "must not look like an ID, and not be 'me'")])
        }
        guard try transaction.users.find(name: new.name) == nil else {
            throw Refusal(.nameTaken, "there is a user '\(new.name)' already")
        }
        guard new.source == .local || actor.rights[.userCreate] == .all else {
            throw Refusal(
                .forbidden, "only the operator says which people of the directory are users; ask a superuser",
                fields: [.init(pointer: "/source", detail: "must be local")])
        }
        let roles = new.roles.isEmpty ? [Role.user.rawValue] : new.roles
        let account = try self.account(
            new.account ?? (actor.rights[.userCreate] == .all ? Account.defaultName : actor.account), for: .userCreate,
            by: actor, in: transaction)
        try check(roles, givenBy: actor, in: transaction)
        try check(roles, suit: new.source)
        var user = User(
            id: .generate(at: now), name: new.name, roles: roles, account: account, email: new.email,
            fullName: new.fullName, unixName: new.unixName, source: new.source, passwordHash: new.passwordHash,
            tokensValidAfter: now, createdAt: now)
        user.mustChangePassword = new.mustChangePassword
        try transaction.users.insert(user)
        try transaction.events.append(
            "user.created", actor: actor, owner: user.id, resource: user.reference,
            changes: Event.differences(from: nil, to: user), at: now)
        return user
    }

    public func change(
        _ user: User, _ change: Change, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws -> User {
        try checkRank(of: user, by: actor, in: transaction)
        if change.isAdministration {
            guard user.id == actor.user ? actor.rights[.userAdminister] >= .account : actor.rights.may(.userAdminister)
            else {
                throw Refusal(
                    .forbidden,
                    "only a superuser or the owner of the account may enable, disable or move a user, or change roles or the Unix name"
                )
            }
        }
        if change.passwordHash != nil, user.source == .directory {
            throw Refusal(
                .conflict,
                "'\(user.name)' signs in with the password of the site's directory, which is changed there",
                fields: [.init(pointer: "/password", detail: "is kept in the directory")])
        }
        var changed = user
        changed.enabled = change.enabled ?? user.enabled
        if let roles = change.roles {
            try check(roles, givenBy: actor, in: transaction)
            try check(roles, suit: user.source)
            changed.roles = roles
        }
        if let name = change.account, name != user.account {
            changed.account = try account(name, for: .userAdminister, by: actor, in: transaction)
            try leave(user, by: actor, in: transaction)
            // Nobody comes to manage the users of an account by being moved into it.
            if change.roles == nil { changed.roles = Self.withoutOwnership(changed.roles) }
        }
        if let email = change.email { changed.email = email }
        if let name = change.fullName { changed.fullName = name }
        if let name = change.unixName { changed.unixName = name }
        if let hash = change.passwordHash {
            changed.passwordHash = hash
            changed.mustChangePassword = false
        }
        if let must = change.mustChangePassword { changed.mustChangePassword = must }
        if Self.isActingSuperuser(user), !Self.isActingSuperuser(changed) {
            try checkNotLast(user, in: transaction)
        }
        if change.passwordHash != nil || (user.enabled && !changed.enabled) {
            // Whoever holds a token from before must not keep working with it. Tokens carry milliseconds, so one that
            // was issued in this very millisecond falls with them.
            changed.tokensValidAfter = now + .milliseconds(1)
            try transaction.credentials.removeSessions(of: user.id)
        }
        // A password that was just set is not to be set by an older mail.
        if change.passwordHash != nil { try transaction.registrations.removeLinks(of: user.id) }
        try transaction.users.update(changed)
        try transaction.events.append(
            "user.changed", actor: actor, owner: user.id, resource: user.reference,
            data: change.passwordHash == nil ? [:] : ["password": "changed"],
            changes: Event.differences(from: user, to: changed), at: now)
        return changed
    }

    /// Removes a user who has nothing, or whose things another user of the account takes over.
    public func remove(
        _ user: User, handOverTo heir: User? = nil, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws {
        try checkRank(of: user, by: actor, in: transaction)
        if Self.isActingSuperuser(user) { try checkNotLast(user, in: transaction) }
        if let heir {
            try handOver(from: user, to: heir, by: actor, at: now, in: transaction)
        } else {
            try checkHasNothing(user, in: transaction)
        }
        try transaction.accounts.removeOwner(user.id)
        try transaction.users.remove(user.id)
        try transaction.events.append(
            "user.deleted", actor: actor, owner: nil, resource: user.reference,
            changes: Event.differences(from: user, to: nil), at: now)
    }

    // MARK: How

    private static func isActingSuperuser(_ user: User) -> Bool { user.isSuperuser && user.enabled }

    /// A site without a superuser could not be administered any more.
    private func checkNotLast(_ user: User, in transaction: Transaction) throws {
        guard try transaction.users.hasOtherSuperuser(than: user.id) else {
            throw Refusal(.conflict, "'\(user.name)' is the last enabled superuser; make another one first")
        }
    }

    /// Whoever has more rights is not changed by whoever has fewer.
    private func checkRank(of user: User, by actor: Actor, in transaction: Transaction) throws {
        guard user.id != actor.user else { return }
        guard try actor.rights.covers(transaction.roles.rights(of: user.roles)) else {
            throw Refusal(.forbidden, "user '\(user.name)' has rights that you have not; ask a superuser")
        }
    }

    private func check(_ roles: [String], givenBy actor: Actor, in transaction: Transaction) throws {
        guard !roles.isEmpty, Set(roles).count == roles.count else {
            throw Refusal(
                .invalidRequest, "a user has one role or several different ones",
                fields: [.init(pointer: "/roles", detail: "must name at least one role, and none twice")])
        }
        for name in roles {
            guard try Role(rawValue: name) != nil || transaction.roles.find(name) != nil else {
                throw Refusal(
                    .invalidRequest, "there is no role '\(name)'; see 'roost role list'",
                    fields: [.init(pointer: "/roles", detail: "names a role that does not exist")])
            }
        }
        guard try actor.rights.covers(transaction.roles.rights(of: roles)) else {
            throw Refusal(
                .forbidden, "you cannot give rights that you have not: \(roles.joined(separator: ", "))",
                fields: [.init(pointer: "/roles", detail: "goes beyond what you may do yourself")])
        }
    }

    /// A superuser is let in whatever becomes of the directory, and so has a password here (AUT-09).
    private func check(_ roles: [String], suit source: User.Source) throws {
        guard source == .directory, roles.contains(Role.superuser.rawValue) else { return }
        throw Refusal(
            .conflict, "a superuser signs in with a password of this site's own; make another user for that",
            fields: [.init(pointer: "/roles", detail: "must not hold superuser beside source: directory")])
    }

    /// The account that a user is put into, among those that the actor manages.
    private func account(
        _ name: String, for permission: Permission, by actor: Actor, in transaction: Transaction
    ) throws -> String {
        guard actor.rights[permission] == .all || name == actor.account,
            let account = try transaction.accounts.find(name: name)
        else {
            throw Refusal(
                .invalidRequest, "there is no account '\(name)' that you may see",
                fields: [.init(pointer: "/account", detail: "names no account that you may see")])
        }
        guard account.enabled else {
            throw Refusal(.conflict, "account '\(name)' is disabled, and nobody in it can sign in; enable it first")
        }
        return account.name
    }

    static func withoutOwnership(_ roles: [String]) -> [String] {
        let others = roles.filter { $0 != Role.accountOwner.rawValue }
        return others.isEmpty ? [Role.user.rawValue] : others
    }

    /// A user who changes accounts takes nothing along: what they own counts on the account.
    private func leave(_ user: User, by actor: Actor, in transaction: Transaction) throws {
        try checkHasNothing(user, in: transaction)
        try transaction.groups.remove(user.id)
        try transaction.accounts.removeOwner(user.id)
    }

    private func checkHasNothing(_ user: User, in transaction: Transaction) throws {
        var filter = InstanceRepository.Filter()
        filter.owner = user.id
        let instances = try transaction.instances.list(filter, Page(limit: Self.namedInstances + 1))
        guard instances.isEmpty else {
            let names = instances.prefix(Self.namedInstances).map(\.name).joined(separator: ", ")
            let more = instances.count > Self.namedInstances ? " and more" : ""
            throw Refusal(
                .inUse, "user '\(user.name)' still has instances: \(names)\(more); delete them, or hand them over first"
            )
        }
        let images = try transaction.images.list(.user(user.id), offeredTo: nil).filter { $0.owner == user.id }
        guard images.isEmpty else {
            let names = images.prefix(Self.namedInstances).map(\.name).joined(separator: ", ")
            throw Refusal(
                .inUse, "user '\(user.name)' still owns images: \(names); delete them, or hand them over first")
        }
    }

    private func handOver(
        from user: User, to heir: User, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws {
        guard heir.id != user.id, heir.account == user.account else {
            throw Refusal(
                .invalidRequest,
                "the things of '\(user.name)' can be handed over to another user of account '\(user.account)' alone",
                fields: [.init(pointer: "?hand_over_to", detail: "must be another user of the same account")])
        }
        let instances = try transaction.instances.handOver(from: user.id, to: heir.id, at: now)
        let images = try transaction.images.handOver(from: user.id, to: heir.id, at: now)
        let groups = try transaction.serverGroups.handOver(from: user, to: heir.id)
        try transaction.quotas.recount([.user(user.id), .user(heir.id)])
        try transaction.events.append(
            "user.handed_over", actor: actor, owner: heir.id, resource: user.reference,
            detail: "\(instances) instances and \(images) images are \(heir.name)'s now",
            data: [
                "to": heir.name, "instances": "\(instances)", "images": "\(images)", "server_groups": "\(groups)",
            ], at: now)
    }
}
