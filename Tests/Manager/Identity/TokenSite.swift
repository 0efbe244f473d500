import Crypto
import Foundation
import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization
import Testing

@testable import ManagerIdentity

/// A token service over a record of its own, with users `ann` (superuser) and `bob`.
final class TokenSite: Sendable {
    static let password = "correct horse"
    static let issuer = "https://site.test:7400"
    static let secret = [UInt8](repeating: 7, count: 32)

    let folder: String
    let store: Store
    let time = ManualTime()
    let key = TokenKey(privateKey: P256.Signing.PrivateKey())
    let hasher = PasswordHasher(
        threads: 1, limit: 16, cost: PasswordHash.Cost(exponent: 4, blockSize: 8, parallelism: 1))
    /// Whether the change feed is being read.
    let isCurrent = Switch()
    let service: TokenService

    init() async throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("tokens-\(UUID())").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        store = try Store(path: folder + "/roost.sqlite")
        let hash = try await hasher.hash(Self.password, userName: "")
        let now = time.timestamp
        try await store.write { sql in
            for (name, role) in [("ann", Role.superuser), ("bob", .user)] {
                try sql.users.insert(
                    User(
                        id: .generate(at: now), name: name, role: role, account: "default", email: nil,
                        passwordHash: hash, tokensValidAfter: now, createdAt: now))
            }
        }
        service = try await Self.service(store, hasher, key, time) { [isCurrent] in isCurrent.withLock { $0 } }
    }

    deinit {
        store.close()
        try? FileManager.default.removeItem(atPath: folder)
    }

    private static func service(
        _ store: Store, _ hasher: PasswordHasher, _ key: TokenKey, _ time: ManualTime,
        isCurrent: @escaping @Sendable () -> Bool
    ) async throws -> TokenService {
        try await TokenService(
            store: StoreCredentials(store), hasher: hasher, key: key, secret: secret, issuer: issuer,
            clients: OAuthClients(portalRedirects: ["https://portal.test/signed-in"]), time: time,
            isCurrent: isCurrent)
    }

    /// Another service over the same record, as if the manager had been started anew.
    func another() async throws -> TokenService {
        try await Self.service(store, hasher, TokenKey(privateKey: P256.Signing.PrivateKey()), time) { true }
    }

    func signIn(_ name: String = "bob", from address: String = "127.0.0.1") async throws -> IssuedTokens {
        try await service.signIn(name: name, password: Self.password, address: address)
    }

    func user(_ name: String) async throws -> User {
        try #require(try await store.read { sql in try sql.users.find(name: name) })
    }

    func change(_ name: String, _ body: @escaping @Sendable (inout User) -> Void) async throws {
        try await store.write { sql in
            guard var user = try sql.users.find(name: name) else { return }
            body(&user)
            try sql.users.update(user)
        }
    }

    /// An API key of a user, with its secret.
    func makeKey(
        _ name: String = "bob", scope: String = "*", until end: Timestamp? = nil, called: String = "robot"
    ) async throws -> (key: APIKey, secret: String) {
        let principal = try await service.verify(bearer: try await signIn(name).access)
        let (owner, now) = (try await user(name), time.timestamp)
        let new = APIKeyService.NewKey(name: called, scope: try TokenScope(scope), expiresAt: end)
        return try await store.write { sql in
            try APIKeyService().create(
                new, for: owner, by: principal, actor: principal.actor(request: nil, from: nil), at: now, in: sql)
        }
    }

    func rotate(discardingOld: Bool = false) async throws -> SigningKey {
        let now = time.timestamp
        return try await store.write { sql in
            try SigningKeys(secret: Self.secret).rotate(
                discardingOld: discardingOld, by: .console, at: now, in: sql)
        }
    }

    func events(_ kind: String) async throws -> [Event] {
        try await store.read { sql in
            try sql.events.list(after: 0, .everything, limit: 1000).filter { $0.kind == kind }
        }
    }
}

func failure<Value>(_ body: () async throws -> Value) async -> IdentityError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? IdentityError
    }
}

func refusal<Value>(_ body: () async throws -> Value) async -> GrantRefusal.Code? {
    do {
        _ = try await body()
        return nil
    } catch {
        return (error as? GrantRefusal)?.code
    }
}

/// A clock that a test moves.
final class ManualTime: TimeSource {
    private let milliseconds = Mutex<Int64>(1_800_000_000_000)

    var timestamp: Timestamp { Timestamp(milliseconds: milliseconds.withLock { $0 }) }
    var uptime: Uptime { Uptime(sinceStart: .milliseconds(milliseconds.withLock { $0 })) }

    func advance(by duration: Duration) {
        milliseconds.withLock { $0 += duration.milliseconds }
    }
}

/// Something that is so or not, for several to look at.
final class Switch: Sendable {
    private let state = Mutex(true)

    func withLock<Answer>(_ body: (inout Bool) -> Answer) -> Answer { state.withLock { body(&$0) } }
}
