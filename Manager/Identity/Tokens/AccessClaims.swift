import Foundation
import ManagerModel
import ProtocolModel

/// What an access token says (RFC 9068). It names the user; what the user may do is looked up at each request, so that a
/// changed role or a disabled user counts at once.
struct AccessClaims: Codable, Equatable, Sendable {
    /// Who really acts, where somebody acts as the user (RFC 8693 §4.1).
    struct Impersonator: Codable, Equatable, Sendable {
        var sub: String
        var name: String
    }

    /// The site that issued it.
    var iss: String
    /// For whom it is meant: the site's API.
    var aud: String
    /// The user's ID.
    var sub: String
    var name: String
    /// The OAuth client, or the ID of the API key.
    var client: String
    var scope: String
    /// Seconds since 1970, with milliseconds, so that a revocation and a new token in the same second are told apart.
    var iat: Double
    var exp: Double
    var jti: String
    /// The session; none where it came of an API key.
    var sid: String?
    var act: Impersonator?

    enum CodingKeys: String, CodingKey {
        case iss, aud, sub, name, scope, iat, exp, jti, sid, act
        case client = "client_id"
    }
}

/// An access token of ours, read: its signature was good.
struct AccessToken: Equatable, Sendable {
    /// How far the clocks of two managers may differ.
    static let clockSkew = Duration.seconds(5)

    let claims: AccessClaims
    let user: UserID
    let id: TokenID
    let session: TokenID?
    /// Where it came of an API key.
    let key: APIKeyID?
    let impersonator: UserID?
    let scope: TokenScope
    let issuedAt: Timestamp
    let expiresAt: Timestamp
    let keyID: String

    /// `nil` where the claims are not such as we write.
    init?(_ claims: AccessClaims, keyID: String) {
        guard !claims.scope.isEmpty, let user = UserID(claims.sub), let id = TokenID(claims.jti),
            let scope = try? TokenScope(claims.scope),
            let issuedAt = Self.moment(claims.iat), let expiresAt = Self.moment(claims.exp)
        else { return nil }
        self.claims = claims
        self.user = user
        self.id = id
        self.scope = scope
        self.issuedAt = issuedAt
        self.expiresAt = expiresAt
        self.keyID = keyID
        key = APIKeyID(claims.client)
        session = claims.sid.flatMap { TokenID($0) }
        impersonator = claims.act.flatMap { UserID($0.sub) }
        // What is there must be readable: a token whose session is not would outlive it.
        if claims.sid != nil, session == nil { return nil }
        if claims.act != nil, impersonator == nil { return nil }
    }

    /// - Throws: `IdentityError.invalidToken`
    func check(issuer: String, at now: Timestamp) throws {
        guard claims.iss == issuer else { throw IdentityError.invalidToken(.wrongIssuer) }
        guard claims.aud == issuer else { throw IdentityError.invalidToken(.wrongAudience) }
        guard now < expiresAt else { throw IdentityError.invalidToken(.expired) }
        guard issuedAt <= now + Self.clockSkew else { throw IdentityError.invalidToken(.notYetValid) }
    }

    private static func moment(_ seconds: Double) -> Timestamp? {
        guard seconds.isFinite, abs(seconds) < 1e12 else { return nil }
        return Timestamp(milliseconds: Int64((seconds * 1000).rounded()))
    }
}

extension AccessClaims {
    init?(json bytes: [UInt8]) {
        guard let claims = try? JSONDecoder().decode(AccessClaims.self, from: Data(bytes)) else { return nil }
        self = claims
    }
}
