import Crypto
public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// Changes of the keys that sign access tokens.
public struct SigningKeys: Sendable {
    private let seal: KeySeal

    init(seal: KeySeal) { self.seal = seal }

    /// - Parameter secret: the site's, which seals keys in the record.
    public init(secret: [UInt8]) { self.init(seal: KeySeal(secret: secret)) }

    /// Makes the file's key the record's first, where the record has none.
    func takeOver(_ key: TokenKey, in store: Store, at now: Timestamp) async throws {
        guard try await store.read({ try $0.credentials.signingKeys() }).isEmpty else { return }
        let sealed = try seal.seal(key.privateKey, at: now, signsFrom: now)
        try await store.write { sql in
            // Another manager may have been faster.
            guard try sql.credentials.signingKeys().isEmpty else { return }
            try sql.credentials.insert(sealed)
        }
    }

    /// Makes a new key. It is published at once and signs once everybody knows it; the one before goes on to vouch for what
    /// it signed, so that nobody notices.
    ///
    /// - Parameter discardingOld: all others end at once, with every access token: for a key that somebody else may have.
    ///   Sessions stay, and get new tokens by themselves.
    @discardableResult
    public func rotate(
        discardingOld: Bool = false, by actor: Actor, at now: Timestamp, in sql: Transaction
    ) throws -> SigningKey {
        let key = try seal.seal(
            P256.Signing.PrivateKey(), at: now, signsFrom: discardingOld ? now : now + KeyRing.lead)
        let old = try sql.credentials.signingKeys()
        if !discardingOld, let waiting = old.last, waiting.signsFrom > now {
            throw Refusal(
                .conflict,
                "the key \(waiting.id) was made already, and signs from \(waiting.signsFrom) on; wait for that")
        }
        if discardingOld { for key in old { try sql.credentials.removeSigningKey(key.id) } }
        try sql.credentials.insert(key)
        try sql.events.append(
            "signing_key.rotated", actor: actor, owner: nil,
            resource: ResourceReference(kind: "signing_key", id: key.id, name: key.id),
            data: ["signs_from": "\(key.signsFrom)", "old_keys": discardingOld ? "discarded" : "kept"], at: now)
        return key
    }

    /// What time asks for: a new key where the newest is too old, and an end to those that vouch for nothing any more.
    ///
    /// - Parameter age: for how long a key signs.
    public func tend(age: Duration, at now: Timestamp, in sql: Transaction) throws {
        let ring = try KeyRing(try sql.credentials.signingKeys())
        for id in ring.past(at: now) { try sql.credentials.removeSigningKey(id) }
        if ring.isRotationDue(after: age, at: now) { try rotate(by: .manager, at: now, in: sql) }
    }

    /// Whether `tend` would change anything, without a transaction that writes.
    public static func needsTending(age: Duration, at now: Timestamp, in sql: Transaction) throws -> Bool {
        let ring = try KeyRing(try sql.credentials.signingKeys())
        return !ring.past(at: now).isEmpty || ring.isRotationDue(after: age, at: now)
    }
}

extension TokenService {
    /// A key as those see it who check tokens (RFC 7517, RFC 7518 §6.2.1).
    public struct PublishedKey: Sendable {
        public let id: String
        /// Coordinates of the point, base64url.
        public let x: String
        public let y: String
    }

    /// The site's keys, for `/oauth/jwks`.
    public func publishedKeys() async throws -> [PublishedKey] {
        try await cache.facts().ring.published(at: time.timestamp).map { id, key in
            let point = Array(key.rawRepresentation)
            return PublishedKey(
                id: id, x: Base64URL.encode(point.prefix(32)), y: Base64URL.encode(point.suffix(32)))
        }
    }
}

extension TokenService {
    /// By which name all managers of the site issue tokens: as the operator says, as the record says, or as the first of them
    /// is reached.
    public static func agreedIssuer(configured: String?, fallback: String, in store: Store) async throws -> String {
        let setting = "oauth.issuer"
        let known = try await store.read { sql in try sql.siteSettings.value(setting) }
        if let known, configured == nil || configured == known { return known }
        return try await store.write { sql in
            if configured == nil, let known = try sql.siteSettings.value(setting) { return known }
            let issuer = configured ?? fallback
            try sql.siteSettings.set(setting, issuer)
            return issuer
        }
    }
}
