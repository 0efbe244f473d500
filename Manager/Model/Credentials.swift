public import ProtocolModel

/// A refresh token (RFC 6749 §6), by hash. Using one replaces it; using a replaced one revokes its family, which is a session.
public struct RefreshToken: Sendable, Equatable {
    /// SHA-256 of the token.
    public var hash: ContentDigest
    /// The session.
    public var family: TokenID
    public var user: UserID
    /// The OAuth client that the session was opened with; no other may renew it.
    public var client: String
    /// What the session covers, as words of a scope.
    public var scope: String
    /// Where the user signed in from.
    public var address: String?
    public var createdAt: Timestamp
    public var expiresAt: Timestamp
    public var replacedAt: Timestamp?

    public init(
        hash: ContentDigest, family: TokenID, user: UserID, client: String, scope: String, address: String?,
        createdAt: Timestamp, expiresAt: Timestamp, replacedAt: Timestamp? = nil
    ) {
        self.hash = hash
        self.family = family
        self.user = user
        self.client = client
        self.scope = scope
        self.address = address
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.replacedAt = replacedAt
    }
}

/// An access token, or all of a session, that ended before its time. Kept until no token of it could count any more.
public struct TokenRevocation: Sendable, Equatable {
    /// The token's `jti`, or the session's ID.
    public var id: TokenID
    public var expiresAt: Timestamp

    public init(id: TokenID, expiresAt: Timestamp) {
        self.id = id
        self.expiresAt = expiresAt
    }
}

/// A key that signs access tokens. All managers know it before it signs, and for as long as tokens that it signed count.
public struct SigningKey: Sendable, Equatable {
    /// As it stands in a token's header (`kid`).
    public var id: String
    /// A point of P-256, X9.63.
    public var publicKey: [UInt8]
    /// The private key, encrypted with a secret of the site that is not in the record.
    public var sealedKey: [UInt8]
    public var createdAt: Timestamp
    /// From then on the newest such key signs.
    public var signsFrom: Timestamp

    public init(
        id: String, publicKey: [UInt8], sealedKey: [UInt8], createdAt: Timestamp, signsFrom: Timestamp
    ) {
        self.id = id
        self.publicKey = publicKey
        self.sealedKey = sealedKey
        self.createdAt = createdAt
        self.signsFrom = signsFrom
    }
}

/// An ID and a secret by which a program gets tokens for its owner (RFC 6749 §4.4).
public struct APIKey: Sendable, Equatable {
    public var id: APIKeyID
    public var user: UserID
    public var name: String
    /// SHA-256 of the secret, which has 256 random bits.
    public var secretHash: ContentDigest
    /// Words of a scope: never more than the owner may at the moment of use.
    public var scopes: [String]
    public var createdAt: Timestamp
    public var expiresAt: Timestamp?
    public var lastUsedAt: Timestamp?
    public var lastUsedFrom: String?

    public init(
        id: APIKeyID, user: UserID, name: String, secretHash: ContentDigest, scopes: [String], createdAt: Timestamp,
        expiresAt: Timestamp?, lastUsedAt: Timestamp? = nil, lastUsedFrom: String? = nil
    ) {
        self.id = id
        self.user = user
        self.name = name
        self.secretHash = secretHash
        self.scopes = scopes
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.lastUsedAt = lastUsedAt
        self.lastUsedFrom = lastUsedFrom
    }
}

extension APIKey: Audited {
    public var auditedFields: [String: String] {
        var fields = ["name": name, "scopes": scopes.joined(separator: " ")]
        if let expiresAt { fields["expires_at"] = "\(expiresAt)" }
        return fields
    }
}

/// A program without a browser that waits for a user to let it in (RFC 8628).
public struct DeviceGrant: Sendable, Equatable {
    public enum Status: String, Sendable, CaseIterable {
        case pending, granted, denied
    }

    /// SHA-256 of what the program asks with.
    public var hash: ContentDigest
    /// What the user types in, without its dash.
    public var userCode: String
    public var client: String
    public var scope: String
    public var status: Status
    /// Who let it in.
    public var user: UserID?
    public var createdAt: Timestamp
    public var expiresAt: Timestamp
    /// How long the program must wait between two questions.
    public var intervalSeconds: Int
    public var polledAt: Timestamp?

    public init(
        hash: ContentDigest, userCode: String, client: String, scope: String, status: Status = .pending,
        user: UserID? = nil, createdAt: Timestamp, expiresAt: Timestamp, intervalSeconds: Int,
        polledAt: Timestamp? = nil
    ) {
        self.hash = hash
        self.userCode = userCode
        self.client = client
        self.scope = scope
        self.status = status
        self.user = user
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.intervalSeconds = intervalSeconds
        self.polledAt = polledAt
    }
}

/// A code that a browser carries from the sign-in page to a client, which exchanges it once for tokens (RFC 6749 §4.1, RFC 7636).
public struct AuthorizationCode: Sendable, Equatable {
    /// SHA-256 of the code.
    public var hash: ContentDigest
    public var client: String
    public var redirect: String
    /// The S256 challenge that the client's verifier must fit.
    public var challenge: String
    public var scope: String
    public var user: UserID
    /// The session that it opens, known beforehand so that a code that comes twice ends it.
    public var session: TokenID
    public var createdAt: Timestamp
    public var expiresAt: Timestamp
    public var usedAt: Timestamp?

    public init(
        hash: ContentDigest, client: String, redirect: String, challenge: String, scope: String, user: UserID,
        session: TokenID, createdAt: Timestamp, expiresAt: Timestamp, usedAt: Timestamp? = nil
    ) {
        self.hash = hash
        self.client = client
        self.redirect = redirect
        self.challenge = challenge
        self.scope = scope
        self.user = user
        self.session = session
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.usedAt = usedAt
    }
}
