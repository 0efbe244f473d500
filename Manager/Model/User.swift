public import ProtocolModel

/// Somebody who may sign in, or a service that may.
public struct User: Sendable, Equatable {
    /// Who knows the user's password.
    public enum Source: String, Sendable, CaseIterable {
        case local
        /// The site's LDAP directory.
        case directory
    }

    public var id: UserID
    public var name: String
    /// Names of roles, built-in or the site's own; never empty. What they allow adds up (AUT-04).
    public var roles: [String]
    /// The name of the account.
    public var account: String
    public var email: String?
    public var fullName: String
    /// What the user is called on the site's Unix systems (AUT-29).
    public var unixName: String?
    public var source: Source
    public var enabled: Bool
    /// scrypt, with its parameters; empty where the user has no password here.
    public var passwordHash: String
    /// The password was set by somebody else, and only good for setting another.
    public var mustChangePassword: Bool
    /// Tokens issued before this moment are no longer accepted.
    public var tokensValidAfter: Timestamp
    public var lastSignInAt: Timestamp?
    public var createdAt: Timestamp

    public init(
        id: UserID, name: String, roles: [String], account: String = Account.defaultName, email: String? = nil,
        fullName: String = "", unixName: String? = nil, source: Source = .local, enabled: Bool = true,
        passwordHash: String, mustChangePassword: Bool = false, tokensValidAfter: Timestamp,
        lastSignInAt: Timestamp? = nil, createdAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.roles = roles
        self.account = account
        self.email = email
        self.fullName = fullName
        self.unixName = unixName
        self.source = source
        self.enabled = enabled
        self.passwordHash = passwordHash
        self.mustChangePassword = mustChangePassword
        self.tokensValidAfter = tokensValidAfter
        self.lastSignInAt = lastSignInAt
        self.createdAt = createdAt
    }

    public init(
        id: UserID, name: String, role: Role, account: String, email: String?, enabled: Bool = true,
        passwordHash: String, tokensValidAfter: Timestamp, createdAt: Timestamp
    ) {
        self.init(
            id: id, name: name, roles: [role.rawValue], account: account, email: email, enabled: enabled,
            passwordHash: passwordHash, tokensValidAfter: tokensValidAfter, createdAt: createdAt)
    }

    public var isSuperuser: Bool { roles.contains(Role.superuser.rawValue) }
}

/// The roles that every site has.
public enum Role: String, Sendable, CaseIterable {
    case superuser
    case accountOwner = "account_owner"
    case user
    case controllerService = "controller_service"
    case accountantService = "accountant_service"

    /// One sentence for people.
    public var description: String {
        switch self {
        case .superuser: "may do everything"
        case .accountOwner: "manages the users of the account, beside what a user may"
        case .user: "makes and uses instances, images and keys of their own"
        case .controllerService: "a service that knows who there is and what runs, and checks tokens"
        case .accountantService: "a service that reads what everybody used"
        }
    }
}

/// The one on whose behalf something is done: shown in events, checked for permission.
public struct Actor: Sendable, Equatable {
    /// Somebody who acts as another (POR-24).
    public struct Impersonator: Sendable, Equatable {
        public var user: UserID
        public var name: String

        public init(user: UserID, name: String) {
            self.user = user
            self.name = name
        }
    }

    public var user: UserID?
    public var name: String
    public var rights: Rights
    /// The name of the account; empty where there is none.
    public var account: String
    /// The request by which it is done: the `X-Request-ID` of its answer; `nil` where nobody asked.
    public var request: String?
    /// Where the request came from.
    public var address: String?
    /// The session or API key by which it is done. Names it, and is no secret.
    public var credential: String?
    /// Who really does it, where somebody acts as this user.
    public var impersonator: Impersonator?

    public init(
        user: UserID?, name: String, rights: Rights, account: String, request: String? = nil, address: String? = nil,
        credential: String? = nil, impersonator: Impersonator? = nil
    ) {
        self.user = user
        self.name = name
        self.rights = rights
        self.account = account
        self.request = request
        self.address = address
        self.credential = credential
        self.impersonator = impersonator
    }

    public init(
        user: UserID, name: String, role: Role, account: String = Account.defaultName, request: String? = nil
    ) {
        self.init(user: user, name: name, rights: .builtIn(role), account: account, request: request)
    }

    private init(system name: String) {
        self.init(user: nil, name: name, rights: .complete, account: "")
    }

    /// The manager itself, for instance when a guest shut itself down.
    public static let manager = Actor(system: "manager")
    /// The operator on the manager's host, such as `roost-manager init`.
    public static let console = Actor(system: "console")

    /// Whose things the actor may do this to; `nil`: nobody's.
    public func scope(_ permission: Permission) -> Scope? {
        switch rights[permission] {
        case .none: nil
        case .own: user.map { .user($0) }
        case .account: .account(account)
        case .all: .everything
        }
    }

    /// Whose a resource with this owner is, seen from the actor.
    public func ownership(of owner: UserID?, account: String?) -> Ownership {
        if let owner, owner == user { return .own }
        if let account, account == self.account, !account.isEmpty { return .account }
        return .foreign
    }
}

/// An OpenSSH public key of a user (CTL-14).
public struct KeyPair: Sendable, Equatable {
    public var id: KeyPairID
    public var name: String
    public var owner: UserID
    /// Such as `ssh-ed25519`.
    public var type: String
    /// `SHA256:` and unpadded base64, as `ssh-keygen -l` prints it.
    public var fingerprint: String
    /// One line in OpenSSH's format.
    public var publicKey: String
    public var createdAt: Timestamp

    public init(
        id: KeyPairID, name: String, owner: UserID, type: String, fingerprint: String, publicKey: String,
        createdAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.owner = owner
        self.type = type
        self.fingerprint = fingerprint
        self.publicKey = publicKey
        self.createdAt = createdAt
    }
}
