import Crypto
import Foundation
import JWTKit
import ManagerModel
import ProtocolModel
import Synchronization

/// What an access token says. It names the user; what the user may do is looked up anew at each request, so that a
/// changed role or a disabled user counts at once.
struct AccessClaims: JWTPayload {
    /// The site that issued it.
    var iss: String
    /// The user's ID.
    var sub: String
    var name: String
    var role: String
    /// Seconds since 1970, with milliseconds, so that a revocation and a new token in the same second are told apart.
    var iat: Double
    var exp: Double
    var jti: String

    /// Times are checked by `AccessTokens`, against its own clock.
    func verify(using algorithm: some JWTAlgorithm) async throws {}

    var issuedAt: Timestamp { Timestamp(milliseconds: Self.milliseconds(iat)) }
    var expiresAt: Timestamp { Timestamp(milliseconds: Self.milliseconds(exp)) }

    private static func milliseconds(_ seconds: Double) -> Int64 {
        seconds.isFinite && abs(seconds) < 1e12 ? Int64((seconds * 1000).rounded()) : 0
    }
}

/// Signs and checks access tokens: JWT (RFC 7519) with ES256 and nothing else.
struct AccessTokens: Sendable {
    /// A token is sent with each request; a longer one is not ours.
    static let maximumBytes = 4096
    /// How far the clocks of two managers may differ.
    static let clockSkew = Duration.seconds(5)

    private let keys: JWTKeyCollection
    private let identifier: JWKIdentifier
    private let issuer: String
    private let genuine = GenuineTokens()
    let lifetime: Duration

    init(key: TokenKey, issuer: String, lifetime: Duration) async throws {
        keys = JWTKeyCollection()
        identifier = JWKIdentifier(string: key.identifier)
        self.issuer = issuer
        self.lifetime = lifetime
        await keys.add(ecdsa: try ES256PrivateKey(backing: key.privateKey), kid: identifier)
    }

    func sign(_ user: User, at now: Timestamp) async throws -> String {
        let claims = AccessClaims(
            iss: issuer, sub: user.id.description, name: user.name, role: user.roles.first ?? "",
            iat: Double(now.milliseconds) / 1000, exp: Double((now + lifetime).milliseconds) / 1000,
            jti: TokenID.generate(at: now).description)
        return try await keys.sign(claims, kid: identifier)
    }

    func verify(_ token: String, at now: Timestamp) async throws -> AccessClaims {
        guard token.utf8.count <= Self.maximumBytes else { throw IdentityError.invalidToken(.malformed) }
        let claims = try await genuineClaims(token)
        guard claims.iss == issuer else { throw IdentityError.invalidToken(.wrongIssuer) }
        guard now < claims.expiresAt else { throw IdentityError.invalidToken(.expired) }
        guard claims.issuedAt <= now + Self.clockSkew else { throw IdentityError.invalidToken(.notYetValid) }
        return claims
    }

    /// What a token says that we have signed, whether or not it still counts.
    private func genuineClaims(_ token: String) async throws -> AccessClaims {
        if let claims = genuine.claims(of: token) { return claims }
        guard Self.hasOurAlgorithm(token), let claims = try? await keys.verify(token, as: AccessClaims.self) else {
            throw IdentityError.invalidToken(.malformed)
        }
        genuine.remember(token, claims)
        return claims
    }

    /// The header must ask for ES256: what a token claims about its own algorithm is never followed (RFC 8725 §3.1).
    private static func hasOurAlgorithm(_ token: String) -> Bool {
        struct Header: Decodable { var alg: String }
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3 else { return false }
        let text = parts[0].replacing("-", with: "+").replacing("_", with: "/")
        let padding = String(repeating: "=", count: (4 - text.count % 4) % 4)
        guard let data = Data(base64Encoded: text + padding),
            let header = try? JSONDecoder().decode(Header.self, from: data)
        else { return false }
        return header.alg == "ES256"
    }
}

/// Tokens whose signature was found good lately. A program sends the same token with each request, and checking a signature
/// costs more than all else that the door does. Only the signature is remembered: times, user and revocation are looked at anew.
private final class GenuineTokens: Sendable {
    /// At most this many; a token is good for a quarter of an hour.
    private static let limit = 4096

    private let known = Mutex<[SHA256Digest: AccessClaims]>([:])

    func claims(of token: String) -> AccessClaims? {
        let digest = Self.digest(token)
        return known.withLock { $0[digest] }
    }

    func remember(_ token: String, _ claims: AccessClaims) {
        let digest = Self.digest(token)
        known.withLock { known in
            if known.count >= Self.limit { known.removeAll() }
            known[digest] = claims
        }
    }

    private static func digest(_ token: String) -> SHA256Digest { SHA256.hash(data: Array(token.utf8)) }
}
