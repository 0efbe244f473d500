import ManagerModel
import ProtocolModel

extension TokenService {
    /// An access token for an API key (RFC 6749 §4.4). There is nothing to renew: the key does that.
    ///
    /// - Parameter scope: less than the key covers; `nil` for all of it.
    /// - Throws: `GrantRefusal`, or what the store throws.
    public func issue(
        key id: String, secret: String, scope: TokenScope? = nil, address: String
    ) async throws -> IssuedTokens {
        let now = time.timestamp
        let (key, user, covered) = try await owner(ofKey: id, secret: secret)
        if let scope, !covered.covers(scope) {
            throw GrantRefusal(.invalidScope, "this API key covers only \(covered.text)")
        }
        uses.note(key.id, at: now, from: address)
        let scope = scope ?? covered
        let (access, lifetime) = try await access(
            Subject(user: user.id, name: user.name, client: key.id.description, scope: scope, until: key.expiresAt),
            at: now)
        return IssuedTokens(access: access, refresh: nil, lifetime: lifetime, scope: scope)
    }

    /// Who asks with an API key's ID and secret.
    ///
    /// - Throws: `GrantRefusal` with `invalid_client`, whatever it is that is wrong.
    func owner(ofKey id: String, secret: String) async throws -> (key: APIKey, user: Standing, scope: TokenScope) {
        let refusal = GrantRefusal(.invalidClient, "there is no API key with this ID and secret, or it has ended")
        guard let id = APIKeyID(id), let hash = SecretText.hash(secret, .keySecret), let key = try await cache.key(id),
            // Of hashes, so that the time tells nothing that helps to guess the secret.
            key.secretHash == hash, key.isGood(at: time.timestamp), let scope = try? TokenScope(words: key.scopes),
            let user = try await cache.user(key.user), user.isEnabled
        else { throw refusal }
        return (key, user, scope)
    }

    /// Who asks with an API key's ID and secret, as by a token of it: for endpoints that take clients' own credentials.
    public func verify(key id: String, secret: String, from address: String) async throws -> Principal {
        try await verify(bearer: issue(key: id, secret: secret, address: address).access, from: address)
    }
}
