import ManagerModel
public import ManagerStore
public import ProtocolModel

/// What the operator of a manager's host may do to users without signing in: whoever reads the site's files could do anything
/// anyhow (AUT-11).
public struct OperatorService: Sendable {
    public init() {}

    /// Sets a password; all sessions of the user end.
    public func setPassword(
        _ passwordHash: String, of name: String, at now: Timestamp, in transaction: Transaction
    ) throws {
        var user = try find(name, transaction)
        if user.source == .directory {
            guard user.isSuperuser else {
                throw Refusal(
                    .conflict, "'\(name)' signs in with the password of the directory, which is changed there")
            }
            // A superuser is always local (AUT-09).
            user.source = .local
            try transaction.users.update(user)
        }
        _ = try UserService().change(
            user, .init(passwordHash: passwordHash), by: .console, at: now, in: transaction)
    }

    /// Lets a user in again.
    public func enable(_ name: String, at now: Timestamp, in transaction: Transaction) throws {
        let user = try find(name, transaction)
        if let account = try transaction.accounts.find(name: user.account), !account.enabled {
            _ = try AccountService().change(account, .init(enabled: true), by: .console, at: now, in: transaction)
        }
        guard !user.enabled else { return }
        _ = try UserService().change(user, .init(enabled: true), by: .console, at: now, in: transaction)
    }

    private func find(_ name: String, _ transaction: Transaction) throws -> User {
        guard
            let user = try transaction.users.find(name: name)
                ?? UserID(name).flatMap({ try transaction.users.find($0) })
        else { throw Refusal(.notFound, "there is no user '\(name)'") }
        return user
    }
}
