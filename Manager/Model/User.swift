public import ProtocolModel

/// Somebody who may sign in.
public struct User: Sendable, Equatable {
    public var id: UserID
    public var name: String
    public var role: Role
    public var account: String
    public var email: String?
    public var enabled: Bool
    /// scrypt, with its parameters.
    public var passwordHash: String
    /// Tokens issued before this moment are no longer accepted.
    public var tokensValidAfter: Timestamp
    public var createdAt: Timestamp

    public init(
        id: UserID, name: String, role: Role, account: String, email: String?, enabled: Bool = true,
        passwordHash: String,
        tokensValidAfter: Timestamp, createdAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.role = role
        self.account = account
        self.email = email
        self.enabled = enabled
        self.passwordHash = passwordHash
        self.tokensValidAfter = tokensValidAfter
        self.createdAt = createdAt
    }
}

public enum Role: String, Sendable, CaseIterable {
    case superuser, user
}

/// The one on whose behalf something is done: shown in events, checked for permission.
public struct Actor: Sendable, Equatable {
    public var user: UserID?
    public var name: String
    public var role: Role
    /// The request by which it is done: the `X-Request-ID` of its answer; `nil` where nobody asked.
    public var request: String?

    public init(user: UserID, name: String, role: Role, request: String? = nil) {
        self.user = user
        self.name = name
        self.role = role
        self.request = request
    }

    private init(system name: String) {
        self.user = nil
        self.name = name
        self.role = .superuser
    }

    /// The manager itself, for instance when a guest shut itself down.
    public static let manager = Actor(system: "manager")
    /// The operator on the manager's host, such as `roost-manager init`.
    public static let console = Actor(system: "console")

    public var isSuperuser: Bool { role == .superuser }
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

/// A refresh token (RFC 6749 §6), by hash. Using one replaces it; using a replaced one revokes its family.
public struct RefreshToken: Sendable, Equatable {
    /// SHA-256 of the token.
    public var hash: ContentDigest
    public var family: TokenID
    public var user: UserID
    public var createdAt: Timestamp
    public var expiresAt: Timestamp
    public var replacedAt: Timestamp?

    public init(
        hash: ContentDigest, family: TokenID, user: UserID, createdAt: Timestamp, expiresAt: Timestamp,
        replacedAt: Timestamp? = nil
    ) {
        self.hash = hash
        self.family = family
        self.user = user
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.replacedAt = replacedAt
    }
}
