public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// Times that the site may set.
public struct LifecycleSettings: Sendable, Equatable {
    /// How long a guest may take from the start of its domain until it answers (CTL-40).
    public var bootTimeoutSeconds = 180
    /// How long a guest may take to shut down before it is forced off.
    public var stopTimeoutSeconds = 90
    /// How long a guest whose room goes to another may take to shut down before it is forced off.
    public var preemptionGraceSeconds = 60

    public init() {}
}

/// What a caller asks of the record, inside one transaction: every method either does all of it or throws.
///
/// One value serves one request: who asks, and when, is fixed at its start.
public struct Commands {
    let sql: Transaction
    let actor: Actor
    let now: Timestamp
    let settings: LifecycleSettings
    /// What the request is about to do; `nil`: the caller has made sure that it may be done.
    let permission: Permission?

    /// - Parameter permission: what the request's route asks for: resources of its kind are found only as far as it reaches.
    public init(
        in transaction: Transaction, actor: Actor, at now: Timestamp, settings: LifecycleSettings,
        for permission: Permission? = nil
    ) {
        self.sql = transaction
        self.actor = actor
        self.now = now
        self.settings = settings
        self.permission = permission
    }

    func event(
        _ kind: String, _ resource: ResourceReference, owner: UserID?, detail: String = "",
        data: [String: String] = [:], operation: OperationID? = nil, changes: [String: Event.Difference] = [:]
    ) throws {
        try sql.events.append(
            kind, actor: actor, owner: owner, resource: resource, detail: detail, data: data, operation: operation,
            changes: changes, at: now)
    }

    /// Stores how an operation on several hosts stands; its end is an event, since no single resource's tells it.
    func save(_ operation: Operation) throws {
        try sql.operations.update(operation)
        guard operation.status != .running else { return }
        try event(
            "\(operation.kind.rawValue)_\(operation.status.rawValue)", operation.resource, owner: operation.owner,
            detail: operation.errorDetail ?? "", operation: operation.id)
    }

    /// What is in the way of a second request: what it wants to change is being changed.
    func conflict(with operation: Operation, on what: String) -> Refusal {
        Refusal(
            .conflict,
            "operation \(operation.id) (\(operation.kind.rawValue)) of \(what) is still running; wait for it",
            operation: operation.id)
    }

    func beginOperation(
        _ kind: Operation.Kind, _ resource: ResourceReference, owner: UserID?, parameters: [String: String] = [:],
        hosts: [Operation.HostResult] = []
    ) throws -> Operation {
        let operation = Operation(
            id: .generate(at: now), kind: kind, steps: [.init(name: "accepted", detail: "recorded durably", at: now)],
            resource: resource, owner: owner, parameters: parameters, hosts: hosts, createdAt: now)
        try sql.operations.insert(operation)
        return operation
    }
}

extension Operation {
    /// Ends the operation, once: what has ended does not change any more.
    mutating func finish(errorCode: String? = nil, detail: String? = nil, at now: Timestamp) {
        guard status == .running else { return }
        status = errorCode == nil ? .succeeded : .failed
        progress = errorCode == nil ? 100 : progress
        self.errorCode = errorCode
        errorDetail = detail
        finishedAt = now
    }

    /// Ends the operation before it is done.
    mutating func cancel(detail: String, at now: Timestamp) {
        guard status == .running else { return }
        status = .cancelled
        isPaused = false
        errorCode = "cancelled"
        errorDetail = detail
        finishedAt = now
    }

    /// Notes a step; a step that goes on only changes its sentence.
    mutating func note(step name: String, _ detail: String, at now: Timestamp) {
        guard status == .running else { return }
        if steps.last?.name == name {
            steps[steps.count - 1].detail = detail
        } else {
            steps.append(.init(name: name, detail: detail, at: now))
            // Retries alternate between steps: what matters is how it began and what came last.
            if steps.count > 32 { steps.remove(at: 1) }
        }
        progress = max(progress, ["prepare": 20, "boot": 60, "ready": 95][name] ?? progress)
    }
}

extension ResourceReference {
    public init(_ instance: Instance) { self.init(kind: "instance", id: "\(instance.id)", name: instance.name) }
    public init(_ image: Image) { self.init(kind: "image", id: "\(image.id)", name: image.name) }
    public init(_ node: Node) { self.init(kind: "node", id: "\(node.id)", name: node.name) }
    public init(_ aggregate: Aggregate) {
        self.init(kind: "aggregate", id: "\(aggregate.id)", name: aggregate.name)
    }
    public init(_ flavor: Flavor) { self.init(kind: "flavor", id: "\(flavor.id)", name: flavor.name) }
    public init(_ user: User) { self.init(kind: "user", id: "\(user.id)", name: user.name) }
    public init(_ account: Account) { self.init(kind: "account", id: "\(account.id)", name: account.name) }
    public init(_ group: Group) { self.init(kind: "group", id: "\(group.id)", name: group.name) }
    public init(_ key: KeyPair) { self.init(kind: "keypair", id: "\(key.id)", name: key.name) }
    public init(_ group: ServerGroup) { self.init(kind: "server_group", id: "\(group.id)", name: group.name) }
}
