public import ManagerModel

/// Others who know passwords, such as a directory.
public protocol ExternalSignIn: Sendable {
    /// The user whom this name and password belong to, made or brought up to date in the record.
    ///
    /// - Throws: `IdentityError.wrongCredentials`, `.notAdmitted`, `.directoryUnavailable` or `.busy`, or what the store throws.
    func user(name: String, password: String) async throws -> User
}

extension User {
    /// Whether somebody else is asked for a user's password: for those whom the record does not know, and those of the
    /// directory. A superuser is always local (AUT-09).
    static func isKnownElsewhere(_ user: User?) -> Bool {
        guard let user else { return true }
        return user.source == .directory && !user.isSuperuser
    }
}
