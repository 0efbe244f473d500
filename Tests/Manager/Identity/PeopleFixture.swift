import Crypto
import Foundation
import Logging
import ManagerDirectory
import ManagerMail
import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization
import TestsSupportStore

@testable import ManagerIdentity

/// A record with `admin`, a superuser with the address admin@example.org, and a clock that stands.
final class PeopleFixture: Sendable {
    static let password = "correct horse"
    let place: StorePlace
    let store: Store
    let time = ManualTime()
    let hasher = PasswordHasher(
        threads: 1, limit: 64, cost: PasswordHash.Cost(exponent: 4, blockSize: 8, parallelism: 1))
    let outlet = MemoryOutlet()

    init() async throws {
        place = try StorePlace()
        store = try Store(place.location)
        let (hash, now) = (try await hasher.hash(Self.password, userName: ""), time.timestamp)
        try await store.write { sql in
            _ = try UserService().create(
                .init(name: "admin", role: .superuser, email: "admin@example.org", passwordHash: hash), by: .console,
                at: now, in: sql)
        }
    }

    deinit { store.close() }

    func user(_ name: String) async throws -> User? { try await store.read { try $0.users.find(name: name) } }

    func allow(_ patterns: String...) async throws {
        let now = time.timestamp
        try await store.write { sql in
            for pattern in patterns {
                _ = try WhitelistService().add(pattern, description: "", by: .console, at: now, in: sql)
            }
        }
    }

    func links(_ provisioning: Provisioning, sendsMail: Bool = true) -> MailedLinks {
        MailedLinks(
            .init(provisioning: provisioning, address: "https://cloud.test:7400"), store: store, hasher: hasher,
            outlet: sendsMail ? outlet : nil, time: time)
    }

    func tokens(_ directory: PretendedDirectory, _ provisioning: Provisioning) async throws -> TokenService {
        try await TokenService(
            store: StoreCredentials(store), hasher: hasher, key: TokenKey(privateKey: P256.Signing.PrivateKey()),
            secret: [UInt8](repeating: 7, count: 32), issuer: "https://site.test",
            time: time,
            external: DirectorySignIn(
                directory: directory, store: store, provisioning: provisioning, time: time,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
    }

    func events(_ kind: String) async throws -> [Event] {
        try await store.read { try $0.events.list(after: 0, .everything, limit: 1000) }.filter { $0.kind == kind }
    }
}

/// Keeps mail instead of sending it.
final class MemoryOutlet: MailOutlet {
    private let messages = Mutex<[MailMessage]>([])
    private let limit = 100

    var isFull: Bool { messages.withLock { $0.count >= limit } }

    func add(_ message: MailMessage) throws(MailQueue.Full) {
        let isFull = messages.withLock { messages in
            guard messages.count < limit else { return true }
            messages.append(message)
            return false
        }
        if isFull { throw MailQueue.Full() }
    }

    func takeAll() -> [MailMessage] {
        messages.withLock { messages in
            defer { messages = [] }
            return messages
        }
    }
}

/// A directory whose answers the test decides.
final class PretendedDirectory: PersonDirectory {
    let answer = Mutex<Result<DirectoryPerson, DirectoryError>>(.failure(.wrongCredentials))
    let questions = Mutex(0)

    func authenticate(name: String, password: String) async throws -> DirectoryPerson {
        questions.withLock { $0 += 1 }
        return try answer.withLock { $0 }.get()
    }

    func says(_ result: Result<DirectoryPerson, DirectoryError>) { answer.withLock { $0 = result } }
}

func identityError<Value>(_ body: () async throws -> Value) async -> IdentityError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? IdentityError
    }
}

func refused<Value>(_ body: () async throws -> Value) async -> Refusal? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? Refusal
    }
}
