public import Foundation

/// Something that happened, and who did it.
public struct Event: Codable, Sendable, Equatable {
    /// Grows; never used again.
    public var sequence: Int64
    /// When.
    public var at: Date
    /// Such as `instance.created`.
    public var kind: String
    /// By name.
    public var actor: String
    /// Of who did it.
    public var actorID: String?
    /// From where.
    public var address: String?
    /// The session or API key, never a secret.
    public var credential: String?
    /// Who really did it, where they acted as somebody else.
    public var impersonator: String?
    /// `done` or `refused`.
    public var outcome: String?
    /// What it is about.
    public var resource: Reference
    /// For people.
    public var detail: String
    /// What else is known.
    public var data: [String: String]
    /// Of the request that did it.
    public var requestID: String?
    /// Of the operation that made it.
    public var operationID: String?
    /// Each member that changed; secrets have no text.
    public var changes: [String: Difference]

    enum CodingKeys: String, CodingKey {
        case sequence, at, kind, actor, actorID = "actor_id", address, credential, impersonator, outcome, resource,
            detail, data, requestID = "request_id", operationID = "operation_id", changes
    }
}

extension Event {
    /// A member before and after.
    public struct Difference: Codable, Sendable, Equatable {
        /// Before.
        public var before: String?
        /// After.
        public var after: String?

        enum CodingKeys: String, CodingKey {
            case before, after
        }
    }
}

/// The event log: what happened, as pages or as a stream.
public struct Events: Sendable {
    let client: RoostClient

    /// What is kept, oldest first.
    ///
    /// - Parameter query: `actor`, `resource`, `kind`, `request`, `operation`, `since` and others of `GET /v1/events`.
    public func list(_ query: ListQuery = [:]) -> Listing<Event> {
        Listing(client, "/v1/events", query) { try Coding.page($0) }
    }

    /// What happens from now on, or after an event that was seen.
    public func follow(after sequence: Int64? = nil, _ filter: ListQuery = [:]) -> EventStream<Event> {
        EventStream(
            client: client, path: "/v1/events" + Address.query(filter.parameters), after: sequence.map(String.init),
            patience: RoostClient.patienceWithoutManager, pause: .seconds(1)
        ) { text throws(ClientError) in try Coding.decode(Array(text.utf8)) }
    }

    /// The same as JSON.
    package func documents(
        after sequence: Int64?, _ filter: ListQuery, pause: Duration = .seconds(1)
    ) -> EventStream<JSON> {
        EventStream(
            client: client, path: "/v1/events" + Address.query(filter.parameters), after: sequence.map(String.init),
            patience: RoostClient.patienceWithoutManager, pause: pause
        ) { text throws(ClientError) in try JSONReader.read(Array(text.utf8)) }
    }
}
