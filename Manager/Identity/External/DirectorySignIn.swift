public import Logging
public import ManagerDirectory
public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// Lets the people of a directory in: at the first time it makes the user (AUT-16), at each further one it takes over what
/// the directory says of them.
public struct DirectorySignIn: ExternalSignIn {
    private let directory: any PersonDirectory
    private let store: Store
    private let provisioning: Provisioning
    private let time: any TimeSource
    private let logger: Logger

    public init(
        directory: any PersonDirectory, store: Store, provisioning: Provisioning, time: any TimeSource, logger: Logger
    ) {
        self.directory = directory
        self.store = store
        self.provisioning = provisioning
        self.time = time
        self.logger = logger
    }

    public func user(name: String, password: String) async throws -> User {
        let person: DirectoryPerson
        do {
            person = try await directory.authenticate(name: name, password: password)
        } catch let error as DirectoryError {
            throw told(error)
        }
        let (known, now) = (try await store.read { try $0.users.find(name: person.name) }, time.timestamp)
        // Most of the time nothing has changed, and signing in need not wait for a commit.
        if let known, try Self.renewed(known, person) == known { return known }
        return try await store.write { [provisioning] sql in
            guard let user = try sql.users.find(name: person.name) else {
                return try Self.welcome(person, provisioning, at: now, in: sql)
            }
            return try Self.renew(user, person, at: now, in: sql)
        }
    }

    /// What the one who signs in is told; the log has the rest.
    private func told(_ error: DirectoryError) -> IdentityError {
        switch error {
        case .wrongCredentials: return .wrongCredentials
        case .busy: return .busy
        case .refused, .notEligible:
            logger.notice("the directory lets somebody not in", metadata: ["reason": "\(error)"])
            if case .refused = error { return .refusedElsewhere(error.sentence) }
            return .notAdmitted(error.sentence)
        case .unavailable, .misconfigured:
            logger.error("the directory could not be asked", metadata: ["reason": "\(error)"])
            return .directoryUnavailable(error.sentence)
        }
    }

    // MARK: The first time

    private static func welcome(
        _ person: DirectoryPerson, _ provisioning: Provisioning, at now: Timestamp, in sql: Transaction
    ) throws -> User {
        guard provisioning.driver == .ldap else {
            throw IdentityError.notAdmitted(
                "your password is right, but you are no user of this site yet; ask the operator to make you one")
        }
        guard isUserName(person.name) else {
            throw IdentityError.notAdmitted(
                "your name in the directory cannot be the name of a user here, which begins with a letter or digit and has "
                    + "at most 64 letters, digits, '.', '_' and '-'; ask the operator")
        }
        guard try provisioning.admits(email: person.email, name: person.name, in: sql) else {
            throw IdentityError.notAdmitted(
                "your password is right, but you are not on the list of those who may use this site; ask the operator")
        }
        var new = UserService.NewUser(name: person.name, email: person.email, passwordHash: "")
        new.fullName = person.fullName ?? ""
        new.unixName = person.unixName
        new.source = .directory
        do {
            return try provisioning.make(new, by: .manager, at: now, in: sql)
        } catch let refusal as Refusal {
            throw IdentityError.notAdmitted("your password is right, but \(refusal.sentence)")
        }
    }

    /// Whether a directory could take this text for one name alone. Spaces and what looks like other letters it passes over
    /// (RFC 4518 §2): each spelling would be counted as a name of its own by whoever slows down guessing.
    static func isPlain(_ name: String) -> Bool { name.utf8.allSatisfy { (0x21...0x7E).contains($0) } }

    private static func isUserName(_ name: String) -> Bool {
        func isPlain(_ byte: UInt8) -> Bool {
            (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
        }
        return (1...64).contains(name.utf8.count) && name.utf8.first.map(isPlain) == true
            && name.utf8.allSatisfy { isPlain($0) || "._-".utf8.contains($0) } && UserID(name) == nil && name != "me"
    }

    // MARK: Each further time

    /// The user as the directory has them now.
    ///
    /// - Throws: `IdentityError.wrongCredentials` for a user of our own: the name was typed otherwise, and the directory has
    ///   somebody with theirs (AUT-09).
    private static func renewed(_ user: User, _ person: DirectoryPerson) throws -> User {
        guard User.isKnownElsewhere(user) else { throw IdentityError.wrongCredentials }
        var changed = user
        changed.email = person.email
        changed.fullName = person.fullName ?? ""
        changed.unixName = person.unixName
        return changed
    }

    private static func renew(
        _ user: User, _ person: DirectoryPerson, at now: Timestamp, in sql: Transaction
    ) throws -> User {
        let changed = try renewed(user, person)
        guard changed != user else { return user }
        try sql.users.update(changed)
        try sql.events.append(
            "user.changed", actor: .manager, owner: user.id, resource: user.reference,
            detail: "the directory says so", changes: Event.differences(from: user, to: changed), at: now)
        return changed
    }
}
