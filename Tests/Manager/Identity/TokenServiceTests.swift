import Crypto
import Foundation
import JWTKit
import ManagerModel
import ProtocolModel
import Synchronization
import Testing

@testable import ManagerIdentity

/// A token service over memory, with users `ann` (superuser) and `bob`.
private struct Site {
    let credentials = MemoryCredentials()
    let time = ManualTime()
    let key = TokenKey(privateKey: P256.Signing.PrivateKey())
    let service: TokenService
    static let password = "correct horse"

    init() async throws {
        let hasher = PasswordHasher(
            threads: 1, limit: 16, cost: PasswordHash.Cost(exponent: 4, blockSize: 8, parallelism: 1))
        let hash = try await hasher.hash(Self.password, userName: "")
        let now = time.timestamp
        credentials.state.withLock { state in
            for (name, role) in [("ann", Role.superuser), ("bob", .user)] {
                state.users.append(
                    User(
                        id: .generate(at: now), name: name, role: role, account: "default", email: nil,
                        passwordHash: hash,
                        tokensValidAfter: now, createdAt: now))
            }
        }
        service = try await TokenService(
            store: credentials, hasher: hasher, key: key, issuer: "https://site.test", time: time)
    }

    func signIn(_ name: String = "bob") async throws -> IssuedTokens {
        try await service.signIn(name: name, password: Self.password, address: "127.0.0.1")
    }
}

private func failure<Value>(_ body: () async throws -> Value) async -> IdentityError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? IdentityError
    }
}

@Suite("Tokens")
struct TokenServiceTests {
    @Test("signing in gives a token that says who it is, for 15 minutes")
    func signIn() async throws {
        let site = try await Site()
        let issued = try await site.signIn()
        #expect(issued.lifetime == .seconds(900))
        let principal = try await site.service.verify(bearer: issued.access)
        #expect(principal.name == "bob")
        #expect(principal.rights == .builtIn(.user))
        site.time.advance(by: .seconds(899))
        #expect(try await site.service.verify(bearer: issued.access) == principal)
        site.time.advance(by: .seconds(1))
        #expect(await failure { try await site.service.verify(bearer: issued.access) } == .invalidToken(.expired))
    }

    @Test("a wrong password, an unknown name and a disabled user look alike")
    func refused() async throws {
        let site = try await Site()
        site.credentials.change("ann") { $0.enabled = false }
        for (name, password) in [("bob", "wrong horse!"), ("eve", Site.password), ("ann", Site.password), ("", "")] {
            let error = await failure {
                try await site.service.signIn(name: name, password: password, address: "127.0.0.1")
            }
            #expect(error == .wrongCredentials)
        }
    }

    @Test("guessing is slowed down, even for the right password")
    func guessing() async throws {
        let site = try await Site()
        for _ in 0..<10 {
            _ = await failure { try await site.service.signIn(name: "bob", password: "wrong", address: "10.0.0.1") }
        }
        let error = await failure {
            try await site.service.signIn(name: "bob", password: Site.password, address: "10.0.0.1")
        }
        #expect(error == .tooManyAttempts(retryAfterSeconds: 10))
        _ = try await site.service.signIn(name: "bob", password: Site.password, address: "10.0.0.2")
        site.time.advance(by: .seconds(10))
        _ = try await site.service.signIn(name: "bob", password: Site.password, address: "10.0.0.1")
    }

    @Test("a role counts as it is now, not as it was when the token was made")
    func roleChanges() async throws {
        let site = try await Site()
        let issued = try await site.signIn("ann")
        #expect(try await site.service.verify(bearer: issued.access).rights == .complete)
        site.credentials.change("ann") { $0.roles = ["user"] }
        #expect(try await site.service.verify(bearer: issued.access).rights == .builtIn(.user))
    }

    @Test("disabling, revoking and removing a user count at once")
    func revocation() async throws {
        let site = try await Site()
        let issued = try await site.signIn()
        site.time.advance(by: .milliseconds(1))
        let now = site.time.timestamp
        site.credentials.change("bob") { $0.tokensValidAfter = now }
        #expect(await failure { try await site.service.verify(bearer: issued.access) } == .invalidToken(.revoked))
        #expect(await failure { try await site.service.refresh(issued.refresh) } == .invalidRefreshToken)
        let again = try await site.signIn()
        #expect(try await site.service.verify(bearer: again.access).name == "bob")
        site.credentials.change("bob") { $0.enabled = false }
        #expect(await failure { try await site.service.verify(bearer: again.access) } == .invalidToken(.disabled))
        #expect(await failure { try await site.service.refresh(again.refresh) } == .invalidRefreshToken)
        site.credentials.state.withLock { $0.users.removeAll() }
        #expect(await failure { try await site.service.verify(bearer: again.access) } == .invalidToken(.unknownUser))
    }

    @Test("a refresh token works once; used again it ends its whole family")
    func reuse() async throws {
        let site = try await Site()
        let first = try await site.signIn()
        let other = try await site.signIn()
        let second = try await site.service.refresh(first.refresh)
        let third = try await site.service.refresh(second.refresh)
        #expect(await failure { try await site.service.refresh(first.refresh) } == .invalidRefreshToken)
        #expect(await failure { try await site.service.refresh(third.refresh) } == .invalidRefreshToken)
        // Another session of the same user is not touched.
        _ = try await site.service.refresh(other.refresh)
    }

    @Test("of many who present the same refresh token at once, one gets a new one")
    func race() async throws {
        let site = try await Site()
        let issued = try await site.signIn()
        let wins = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<16 {
                group.addTask { await failure { try await site.service.refresh(issued.refresh) } == nil }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(wins == 1)
    }

    @Test("a refresh token ends after a month, and with revocation")
    func refreshEnds() async throws {
        let site = try await Site()
        let old = try await site.signIn()
        site.time.advance(by: TokenService.refreshLifetime)
        #expect(await failure { try await site.service.refresh(old.refresh) } == .invalidRefreshToken)
        let new = try await site.signIn()
        try await site.service.revoke(new.refresh)
        try await site.service.revoke("rrt_unknown")
        #expect(await failure { try await site.service.refresh(new.refresh) } == .invalidRefreshToken)
    }

    @Test("no refresh token is kept in the clear")
    func atRest() async throws {
        let site = try await Site()
        let issued = try await site.signIn()
        let kept = site.credentials.state.withLock { state in state.tokens.values.map { "\($0)" }.joined() }
        #expect(!kept.contains(issued.refresh.dropFirst(4)))
        #expect(issued.refresh.count == 68)
    }
}

@Suite("Forged tokens")
struct ForgedTokenTests {
    private static func encode(_ text: String) -> String {
        Data(text.utf8).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing(
            "=", with: "")
    }

    @Test("garbage, other algorithms and altered tokens are refused")
    func forged() async throws {
        let site = try await Site()
        let good = try await site.signIn().access
        let parts = good.split(separator: ".").map(String.init)
        let kid = site.key.identifier
        let none = Self.encode(#"{"alg":"none","typ":"JWT","kid":"\#(kid)"}"#)
        let hmacHeader = Self.encode(#"{"alg":"HS256","typ":"JWT","kid":"\#(kid)"}"#)
        // The classic: the public key taken as the secret of an HMAC.
        let hmac = HMAC<SHA256>.authenticationCode(
            for: Data((hmacHeader + "." + parts[1]).utf8),
            using: SymmetricKey(data: Data(site.key.privateKey.publicKey.pemRepresentation.utf8)))
        let mac = Data(hmac).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing(
            "=", with: "")
        let otherPayload = Self.encode(
            #"{"iss":"https://site.test","sub":"x","name":"ann","role":"superuser","iat":0,"exp":9e9,"jti":"x"}"#)
        let forged = [
            "", ".", "..", "a.b", "a.b.c", "a.b.c.d", good + "x", good + ".", "." + good,
            parts[0] + "." + parts[1] + ".",
            "\(none).\(parts[1]).", "\(none).\(parts[1]).\(parts[2])", "\(hmacHeader).\(parts[1]).\(mac)",
            "\(parts[0]).\(otherPayload).\(parts[2])", "\(parts[0]).\(parts[1]).\(String(parts[2].reversed()))",
            String(repeating: "a", count: 100_000), "\(parts[0]).\(Self.encode("{}")).\(parts[2])", "\0\0.\0.\0",
            Self.encode(#"{"alg":"ES256","kid":"other"}"#) + "." + parts[1] + "." + parts[2],
        ]
        for token in forged {
            let error = await failure { try await site.service.verify(bearer: token) }
            #expect(error == .invalidToken(.malformed), "\(token.prefix(80))")
        }
        #expect(try await site.service.verify(bearer: good).name == "bob")
    }

    @Test("a token of another site, or signed by another key, is refused")
    func otherSite() async throws {
        let site = try await Site()
        let user = try #require(try await site.credentials.user(named: "bob"))
        let sameKey = try await AccessTokens(key: site.key, issuer: "https://other.test", lifetime: .seconds(900))
        let foreign = try await sameKey.sign(user, at: site.time.timestamp)
        #expect(await failure { try await site.service.verify(bearer: foreign) } == .invalidToken(.wrongIssuer))
        let otherKey = TokenKey(privateKey: P256.Signing.PrivateKey())
        let signer = try await AccessTokens(key: otherKey, issuer: "https://site.test", lifetime: .seconds(900))
        let stranger = try await signer.sign(user, at: site.time.timestamp)
        #expect(await failure { try await site.service.verify(bearer: stranger) } == .invalidToken(.malformed))
        let ours = try await AccessTokens(key: site.key, issuer: "https://site.test", lifetime: .seconds(900))
        let early = try await ours.sign(user, at: site.time.timestamp + .seconds(60))
        #expect(await failure { try await site.service.verify(bearer: early) } == .invalidToken(.notYetValid))
    }
}

@Suite("Token key")
struct TokenKeyTests {
    @Test("the file is private, is never replaced, and reads back")
    func file() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("key-\(UUID())").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        #expect(throws: IdentityError.self) { try TokenKey.load(fromFolder: folder) }
        let key = try TokenKey.create(inFolder: folder)
        let path = folder + "/" + TokenKey.fileName
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        #expect(try TokenKey.load(fromFolder: folder).identifier == key.identifier)
        #expect(throws: IdentityError.self) { try TokenKey.create(inFolder: folder) }
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: path)
        #expect(throws: IdentityError.self) { try TokenKey.load(fromFolder: folder) }
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        try Data("nonsense".utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        #expect(throws: IdentityError.self) { try TokenKey.load(fromFolder: folder) }
    }
}
