public import ProtocolModel

/// A mutating request that takes time: durable, resumable, awaitable (DESIGN §4).
public struct Operation: Sendable, Equatable {
    public enum Kind: String, Sendable, CaseIterable {
        case instanceCreate = "instance.create"
        case instanceStart = "instance.start"
        case instanceStop = "instance.stop"
        case instanceReboot = "instance.reboot"
        case instanceDelete = "instance.delete"
        case imageImport = "image.import"
        case imagePrefill = "image.prefill"
        case nodeDisable = "node.disable"
    }
    public enum Status: String, Sendable, CaseIterable {
        case running, succeeded, failed
        /// Somebody ended it before it was done.
        case cancelled
    }

    public var id: OperationID
    public var kind: Kind
    public var status: Status
    /// 0 to 100.
    public var progress: Int
    public var steps: [Step]
    public var resource: ResourceReference
    public var owner: UserID?
    /// What the caller asked for beyond the resource, so that the operation can be resumed by another process.
    public var parameters: [String: String]
    /// What came of it on each host, for operations on several.
    public var hosts: [HostResult]
    public var errorCode: String?
    public var errorDetail: String?
    public var createdAt: Timestamp
    public var finishedAt: Timestamp?

    public init(
        id: OperationID, kind: Kind, status: Status = .running, progress: Int = 0, steps: [Step] = [],
        resource: ResourceReference, owner: UserID?, parameters: [String: String] = [:], hosts: [HostResult] = [],
        errorCode: String? = nil, errorDetail: String? = nil, createdAt: Timestamp, finishedAt: Timestamp? = nil
    ) {
        self.id = id
        self.kind = kind
        self.status = status
        self.progress = progress
        self.steps = steps
        self.resource = resource
        self.owner = owner
        self.parameters = parameters
        self.hosts = hosts
        self.errorCode = errorCode
        self.errorDetail = errorDetail
        self.createdAt = createdAt
        self.finishedAt = finishedAt
    }

    /// Whether it stands still until somebody resumes it. Kept among the parameters, as a wish of a caller like them.
    public var isPaused: Bool {
        get { parameters["paused"] == "true" }
        set { parameters["paused"] = newValue ? "true" : nil }
    }

    /// One step of an operation as people see it.
    public struct Step: Sendable, Equatable, Codable {
        public var name: String
        public var detail: String
        public var at: Int64

        public init(name: String, detail: String, at: Timestamp) {
            self.name = name
            self.detail = detail
            self.at = at.milliseconds
        }
    }

    /// What came of an operation on one host.
    public struct HostResult: Sendable, Equatable, Codable {
        public var node: String
        /// `waiting`, `fetching`, `paused`, `held`, `stopping`, `done`, `failed` or `cancelled`.
        public var state: String
        public var progress: Int
        public var source: String?
        public var bytes: Int64?
        public var seconds: Double?
        /// Bytes a second, as last seen; once it is done, over the whole time.
        public var rate: Double?
        public var detail: String
        public var stopped: [String]
        public var forced: [String]
        public var remaining: [String]

        public init(
            node: String, state: String, progress: Int = 0, source: String? = nil, bytes: Int64? = nil,
            seconds: Double? = nil, rate: Double? = nil, detail: String = "", stopped: [String] = [],
            forced: [String] = [],
            remaining: [String] = []
        ) {
            self.node = node
            self.state = state
            self.progress = progress
            self.source = source
            self.bytes = bytes
            self.seconds = seconds
            self.rate = rate
            self.detail = detail
            self.stopped = stopped
            self.forced = forced
            self.remaining = remaining
        }
    }
}

/// What an operation or an event is about.
public struct ResourceReference: Sendable, Equatable {
    /// `instance`, `image`, `node`, `user`, `flavor` or `keypair`.
    public var kind: String
    public var id: String
    public var name: String

    public init(kind: String, id: String, name: String) {
        self.kind = kind
        self.id = id
        self.name = name
    }
}
