public import ProtocolModel

/// The one error that crosses the manager's inner walls: a code, a sentence that says what to do, and what helps.
/// The API maps codes to HTTP statuses in one table.
public struct Refusal: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: String, Sendable, CaseIterable {
        /// Not of the shape that is described for it.
        case invalidRequest = "invalid_request"
        /// Of the right shape, but it contradicts itself or what is there.
        case unprocessable = "unprocessable"
        case notFound = "not_found"
        case ambiguousName = "ambiguous_name"
        case nameTaken = "name_taken"
        case forbidden = "forbidden"
        case conflict = "conflict"
        case inUse = "in_use"
        case noCapacity = "no_capacity"
        case nodeDisabled = "node_disabled"
        case imageNotReady = "image_not_ready"
        case imageRejected = "image_rejected"
        case flavorTooSmall = "flavor_too_small"
        case preconditionFailed = "precondition_failed"
        case eventsPruned = "events_pruned"
        case idempotencyKeyReused = "idempotency_key_reused"
        case quotaExceeded = "quota_exceeded"
        case notImplemented = "not_implemented"
        case busy = "busy"
        case notLeader = "not_leader"
        case storageFull = "storage_full"
        case storageUnavailable = "storage_unavailable"
    }

    /// How many hosts a placement filter removed.
    public struct FilterCount: Sendable, Equatable {
        public var filter: String
        public var hosts: Int

        public init(filter: String, hosts: Int) {
            self.filter = filter
            self.hosts = hosts
        }
    }

    /// A problem with one field of the request, by JSON pointer (RFC 6901).
    public struct Field: Sendable, Equatable {
        public var pointer: String
        public var detail: String

        public init(pointer: String, detail: String) {
            self.pointer = pointer
            self.detail = detail
        }
    }

    public var code: Code
    public var sentence: String
    /// A finer code where the code covers a family, such as `image_backing_file`.
    public var detailCode: String?
    public var fields: [Field]
    /// In the order in which the filters were applied.
    public var removedBy: [FilterCount]
    /// The operation in the way.
    public var operation: OperationID?
    /// The limits that the request would break.
    public var shortfalls: [QuotaShortfall]

    public init(
        _ code: Code, _ sentence: String, detailCode: String? = nil, fields: [Field] = [],
        removedBy: [FilterCount] = [],
        operation: OperationID? = nil, shortfalls: [QuotaShortfall] = []
    ) {
        self.code = code
        self.sentence = sentence
        self.detailCode = detailCode
        self.fields = fields
        self.removedBy = removedBy
        self.operation = operation
        self.shortfalls = shortfalls
    }

    public var description: String { "\(code.rawValue): \(sentence)" }

    /// Says the same of a resource that is absent and of one that the caller may not see (P9).
    public static func notFound(_ noun: String, _ reference: String) -> Refusal {
        Refusal(.notFound, "there is no \(noun) '\(reference)' that you may see")
    }
}
