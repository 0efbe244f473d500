import ManagerMail
public import ManagerModel
import ManagerStore
import ProtocolModel

/// What becomes of somebody whom the site does not know yet: whether they are let in, in which account and role (POR-10 to
/// POR-14, AUT-16).
public struct Provisioning: Sendable {
    /// How people get to be users without an operator.
    public enum Driver: String, Sendable, CaseIterable {
        case none
        /// They register by e-mail.
        case email
        /// They are in the directory, and sign in.
        case ldap
    }

    public var driver: Driver
    /// Whether only those on the list are let in.
    public var isWhitelistOnly: Bool
    /// Whether each gets an account of their own, and manages it.
    public var makesAccountOwners: Bool
    /// The account of everybody else.
    public var account: String

    public init(
        driver: Driver = .none, isWhitelistOnly: Bool = false, makesAccountOwners: Bool = false,
        account: String = Account.defaultName
    ) {
        self.driver = driver
        self.isWhitelistOnly = isWhitelistOnly
        self.makesAccountOwners = makesAccountOwners
        self.account = account
    }

    /// Whether the list, where it counts, has this person.
    func admits(email: String?, name: String?, in transaction: Transaction) throws -> Bool {
        guard isWhitelistOnly else { return true }
        return try transaction.registrations.entries().contains { $0.pattern.matches(email: email, name: name) }
    }

    /// Makes the user, and where the site says so an account that is theirs.
    func make(
        _ new: UserService.NewUser, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws -> User {
        var new = new
        guard makesAccountOwners else {
            guard try transaction.accounts.find(name: account) != nil else {
                throw Refusal(
                    .conflict, "there is no account '\(account)', which registration.account names; tell the operator")
            }
            new.account = account
            return try UserService().create(new, by: actor, at: now, in: transaction)
        }
        let account = try AccountService().create(
            name: try freeAccountName(new.name, in: transaction), description: new.fullName, by: actor, at: now,
            in: transaction)
        new.account = account.name
        new.roles = [Role.accountOwner.rawValue]
        let user = try UserService().create(new, by: actor, at: now, in: transaction)
        _ = try AccountService().change(account, .init(owner: .some(user.id)), by: actor, at: now, in: transaction)
        return user
    }

    private func freeAccountName(_ name: String, in transaction: Transaction) throws -> String {
        for candidate in [name] + (2...9).map({ "\(name.prefix(62))-\($0)" })
        where try transaction.accounts.find(name: candidate) == nil {
            return candidate
        }
        throw Refusal(.nameTaken, "there are accounts named '\(name)' already; choose another name")
    }
}
