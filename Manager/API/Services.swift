import Crypto
public import ManagerIdentity
public import ManagerLifecycle
public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// What the API calls. It owns none of it.
public struct Services: Sendable {
    public var store: Store
    public var tokens: TokenService
    public var time: any TimeSource
    /// Reasons why the manager should get no requests just now; empty when it is ready.
    public var readiness: @Sendable () async -> [String]
    /// Whether this manager leads.
    public var leads: @Sendable () -> Bool
    /// All managers on record.
    public var managers: @Sendable () async throws -> [ManagerStatus]
    public var metrics: MetricsPage
    public var uploads: any ImageUploadSink
    public var site: SiteFacts
    public var lifecycle: LifecycleSettings
    /// Which pages of other origins a browser lets read the API.
    public var crossOrigin: CrossOrigin

    let requests: RateLimiter
    /// `nil`: nobody is written to.
    public var mailedLinks: MailedLinks?

    let users = UserService()
    let accounts = AccountService()
    let groups = GroupService()
    let roles = RoleService()
    let keyPairs = KeyPairService()
    let apiKeys = APIKeyService()
    let signingKeys: SigningKeys
    let signals: ChangeSignals
    /// The OpenAPI document, made once: anybody may ask for it.
    let document: PreparedBody
    /// The same for people.
    let documentPage: PreparedBody
    let streams = StreamLimiter()
    let refusals = RefusalAudit()
    let answers = AnswerCache()
    private let digestKey: SymmetricKey

    /// - Parameters:
    ///   - idempotencySecret: at least 16 secret bytes, the same at each start. Kept hashes of requests are keyed with
    ///     it, since a request may hold a password that a bare hash would help to guess. It also seals signing keys.
    public init(
        store: Store, tokens: TokenService, time: any TimeSource, idempotencySecret: [UInt8], metrics: MetricsPage,
        uploads: any ImageUploadSink, site: SiteFacts, lifecycle: LifecycleSettings = LifecycleSettings(),
        crossOrigin: CrossOrigin = .none, rateLimit: RateLimit? = .usual,
        mailedLinks: MailedLinks? = nil,
        leads: @escaping @Sendable () -> Bool, managers: @escaping @Sendable () async throws -> [ManagerStatus],
        readiness: @escaping @Sendable () async -> [String]
    ) {
        self.store = store
        self.tokens = tokens
        self.time = time
        self.readiness = readiness
        self.leads = leads
        self.managers = managers
        self.metrics = metrics
        self.uploads = uploads
        self.site = site
        self.lifecycle = lifecycle
        self.mailedLinks = mailedLinks
        digestKey = SymmetricKey(data: idempotencySecret)
        signingKeys = SigningKeys(secret: idempotencySecret)
        self.crossOrigin = crossOrigin
        requests = RateLimiter(rateLimit)
        let described = OpenAPIDocument.make(APIRoutes.all, version: site.version)
        document = PreparedBody(described.bytes, type: Answer.json)
        documentPage = PreparedBody(Array(DocumentPage.make(described).utf8), type: DocumentPage.type)
        signals = ChangeSignals()
        let signals = signals
        store.observe { changes in signals.publish(changes) }
    }

    func requestDigest(method: String, path: String, body: [UInt8]) -> ContentDigest {
        var code = HMAC<SHA256>(key: digestKey)
        code.update(data: Array("\(method) \(path)\n".utf8))
        code.update(data: body)
        guard let digest = ContentDigest(bytes: code.finalize()) else { preconditionFailure("SHA-256 has 32 bytes") }
        return digest
    }
}

/// What clients are told about the site.
public struct SiteFacts: Sendable {
    public var version: String
    /// The manager that serves this API.
    public var manager: ManagerID
    /// Where agents dial: `host:7401`.
    public var agentAddress: String
    /// SHA-256 of the site's CA certificate, which agents check when they join.
    public var authorityFingerprint: ContentDigest

    public init(version: String, manager: ManagerID, agentAddress: String, authorityFingerprint: ContentDigest) {
        self.version = version
        self.manager = manager
        self.agentAddress = agentAddress
        self.authorityFingerprint = authorityFingerprint
    }
}
