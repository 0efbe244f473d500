import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import ManagerModel
import ManagerStore
import NIOCore
import ProtocolModel
import Synchronization
import Testing

@testable import ManagerAPI
@testable import ManagerIdentity

/// A manager's API over a real store in a folder of its own, with users `root` (superuser), `ann` and `bob`.
final class TestSite: Sendable {
    static let password = "correct horse"
    static let manager = ManagerRecord(
        id: .generate(at: SystemTime().timestamp), name: "m1", apiAddress: "m1.test:7400", agentAddress: "m1.test:7401",
        chunkAddress: "m1.test:7403", version: "0.0-test", startedAt: SystemTime().timestamp)

    let folder: String
    let store: Store
    let services: Services
    let lines = LogLines()
    let uploads = MemoryUploads()
    private let tokens: Mutex<[String: String]>
    let users: [String: User]

    init(rateLimit: RateLimit? = nil) async throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("api-\(UUID())").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        store = try Store(path: folder + "/manager.sqlite")
        let clock = TestClock()
        self.clock = clock
        let hasher = PasswordHasher(
            threads: 1, limit: 64, cost: PasswordHash.Cost(exponent: 4, blockSize: 8, parallelism: 1))
        let service = try await TokenService(
            store: StoreCredentials(store), hasher: hasher, key: try TokenKey.create(inFolder: folder),
            secret: Array(repeating: 7, count: 32), issuer: "https://roost.test:7400", time: clock)
        let hash = try await hasher.hash(Self.password, userName: "")
        let now = SystemTime().timestamp
        users = try await store.write { transaction in
            var users: [String: User] = [:]
            for (name, role) in [("root", Role.superuser), ("ann", .user), ("bob", .user)] {
                let new = UserService.NewUser(name: name, role: role, email: nil, passwordHash: hash)
                users[name] = try UserService().create(new, by: .console, at: now, in: transaction)
            }
            return users
        }
        var tokens: [String: String] = [:]
        for (name, user) in users { tokens[name] = try await service.issue(to: user).access }
        self.tokens = Mutex(tokens)
        let notReady = Readiness()
        services = Services(
            store: store, tokens: service, time: clock, idempotencySecret: Array(repeating: 7, count: 32),
            metrics: MetricsPage(), uploads: uploads,
            site: SiteFacts(
                version: "0.0-test", manager: Self.manager.id, agentAddress: "manager.test:7401",
                authorityFingerprint: ContentDigest(bytes: SHA256.hash(data: [1, 2, 3]))!),
            rateLimit: rateLimit, leads: { notReady.leads },
            managers: { [ManagerStatus(manager: Self.manager, liveness: .alive, leads: notReady.leads)] },
            readiness: { notReady.reasons })
        readiness = notReady
    }

    let readiness: Readiness
    let clock: TestClock

    deinit {
        store.close()
        try? FileManager.default.removeItem(atPath: folder)
    }

    func token(_ name: String) -> String { tokens.withLock { $0[name] ?? "" } }

    /// A further user, with a token; an account that is not there is made.
    func add(_ name: String, roles: [String], account: String) async throws {
        let now = SystemTime().timestamp
        let user = User(
            id: .generate(at: now), name: name, roles: roles, account: account, passwordHash: "", tokensValidAfter: now,
            createdAt: now)
        try await store.write { sql in
            if try sql.accounts.find(name: account) == nil {
                try sql.accounts.insert(Account(id: .generate(at: now), name: account, createdAt: now))
            }
            try sql.users.insert(user)
        }
        let token = try await services.tokens.issue(to: user).access
        tokens.withLock { $0[name] = token }
    }

    var application: Application<Responder> {
        let lines = lines
        let logger = Logger(label: "api") { _ in lines.handler }
        return APIService.makeApplication(services, logger: logger)
    }

    /// Runs requests in process.
    func test<Value>(_ body: @Sendable (Client) async throws -> Value) async throws -> Value {
        try await application.test(.router) { client in
            try await body(Client(site: self, client: client))
        }
    }
}

/// What the manager says of its own readiness, for a test to change.
final class Readiness: Sendable {
    private let value = Mutex<[String]>([])
    private let leading = Mutex(true)

    var leads: Bool {
        get { leading.withLock { $0 } }
        set { leading.withLock { $0 = newValue } }
    }

    var reasons: [String] {
        get { value.withLock { $0 } }
        set { value.withLock { $0 = newValue } }
    }
}

/// An answer, read.
struct Reply: Sendable {
    let status: Int
    let headers: HTTPFields
    let bytes: [UInt8]

    var json: JSONValue { (try? JSONParser.parse(bytes)) ?? .null }
    var text: String { String(decoding: bytes, as: UTF8.self) }
    var code: String? { json["code"]?.string }

    func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { headers[$0] } }
}

struct Client: Sendable {
    let site: TestSite
    let client: any TestClientProtocol

    func send(
        _ method: HTTPRequest.Method, _ path: String, as user: String? = nil, body: [UInt8]? = nil,
        type: String? = "application/json", headers: [String: String] = [:]
    ) async throws -> Reply {
        var fields = HTTPFields()
        if let user { fields[.authorization] = "Bearer \(site.token(user))" }
        if body != nil, let type { fields[.contentType] = type }
        for (name, value) in headers { fields[HTTPField.Name(name)!] = value }
        let response = try await client.executeRequest(
            uri: path, method: method, headers: fields, body: body.map { ByteBuffer(bytes: $0) })
        return Reply(
            status: response.status.code, headers: response.headers, bytes: Array(response.body.readableBytesView))
    }

    func get(_ path: String, as user: String? = nil, headers: [String: String] = [:]) async throws -> Reply {
        try await send(.get, path, as: user, headers: headers)
    }

    func post(
        _ path: String, _ body: JSONValue, as user: String? = nil, headers: [String: String] = [:]
    ) async throws -> Reply {
        try await send(.post, path, as: user, body: body.bytes, headers: headers)
    }

    func patch(
        _ path: String, _ body: JSONValue, as user: String? = nil, headers: [String: String] = [:]
    ) async throws -> Reply {
        try await send(.patch, path, as: user, body: body.bytes, headers: headers)
    }

    func delete(_ path: String, as user: String? = nil, headers: [String: String] = [:]) async throws -> Reply {
        try await send(.delete, path, as: user, headers: headers)
    }

    func form(_ path: String, _ body: String) async throws -> Reply {
        try await send(.post, path, body: Array(body.utf8), type: "application/x-www-form-urlencoded")
    }
}

/// Collects log lines as text.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])

    var handler: any LogHandler { Handler(lines: self) }
    var all: [String] { lines.withLock { $0 } }

    private struct Handler: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {
            let text = "\(event.level) \(event.message) \(metadata) \(event.metadata ?? [:])"
            lines.lines.withLock { $0.append(text) }
        }
    }
}

/// Keeps uploads in memory.
final class MemoryUploads: ImageUploadSink {
    struct State {
        var bytes: [ImageID: [UInt8]] = [:]
        var finished: Set<ImageID> = []
        var cancelled: Set<ImageID> = []
        var discarded: [ImageID] = []
        var fetches = 0
        var refusal: Refusal?
    }
    let state = Mutex(State())

    func open(_ image: Image, at offset: Int64, expectedBytes: Int64?) async throws -> any ImageUpload {
        try state.withLock { state in
            let held = Int64(state.bytes[image.id]?.count ?? 0)
            guard offset == 0 || offset == held else { throw UploadMisplaced(expected: held) }
            if offset == 0 { state.bytes[image.id] = [] }
        }
        return Upload(uploads: self, image: image.id)
    }

    func received(_ image: ImageID) async throws -> Int64? {
        state.withLock { $0.bytes[image].map { Int64($0.count) } }
    }

    func discard(_ image: ImageID) async {
        state.withLock { state in
            state.bytes[image] = nil
            state.discarded.append(image)
        }
    }

    func fetchSoon() { state.withLock { $0.fetches += 1 } }

    private final class Upload: ImageUpload {
        let uploads: MemoryUploads
        let image: ImageID

        init(uploads: MemoryUploads, image: ImageID) {
            self.uploads = uploads
            self.image = image
        }

        func append(_ bytes: ByteBuffer) async throws {
            uploads.state.withLock { $0.bytes[image, default: []] += bytes.readableBytesView }
        }

        func finish() async throws {
            if let refusal = uploads.state.withLock({ $0.refusal }) { throw refusal }
            _ = uploads.state.withLock { $0.finished.insert(image) }
        }

        func cancel() async {
            _ = uploads.state.withLock { $0.cancelled.insert(image) }
        }
    }
}

/// The time of day goes on, and as much faster as a test wants; nothing is allowed again since time has passed, however slow
/// the machine is.
final class TestClock: TimeSource {
    private let ahead = Mutex(Duration.zero)
    let uptime = SystemTime().uptime
    var timestamp: Timestamp { SystemTime().timestamp + ahead.withLock { $0 } }

    func advance(by duration: Duration) { ahead.withLock { $0 += duration } }
}
