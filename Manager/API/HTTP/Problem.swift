import ManagerIdentity
import ManagerModel
import ManagerStore
import ProtocolModel

/// A problem document (RFC 9457): what a client of the API is told when something was not done.
struct Problem: Sendable, Error {
    var code: String
    var status: Int
    var title: String
    var detail: String
    var fields: [Refusal.Field] = []
    var removedBy: [Refusal.FilterCount] = []
    var operation: OperationID?
    var shortfalls: [QuotaShortfall] = []
    var headers: [(String, String)] = []

    static let contentType = "application/problem+json"

    /// Codes of the door itself, beside those of `Refusal.Code`.
    enum DoorCode: String, CaseIterable, Sendable {
        case invalidToken = "invalid_token"
        case insufficientScope = "insufficient_scope"
        case tooManyAttempts = "too_many_attempts"
        case rateLimited = "rate_limited"
        case methodNotAllowed = "method_not_allowed"
        case bodyTooLarge = "body_too_large"
        case unsupportedMediaType = "unsupported_media_type"
        case requestTimeout = "request_timeout"
        case internalError = "internal_error"
    }

    /// The one table from codes to status and title.
    static func meaning(_ code: Refusal.Code) -> (status: Int, title: String) {
        switch code {
        case .invalidRequest: (400, "The request is not valid")
        case .unprocessable: (422, "The request cannot be carried out as it is")
        case .notFound: (404, "Not found")
        case .ambiguousName: (409, "The name is not unique")
        case .nameTaken: (409, "The name is taken")
        case .forbidden: (403, "Not allowed")
        case .conflict: (409, "Not possible in this state")
        case .inUse: (409, "Still in use")
        case .noCapacity: (409, "No host has room")
        // Not 409: what is in the way is a rule about who asks, and another with a higher limit would be served.
        case .quotaExceeded: (403, "Beyond what is allowed")
        case .nodeDisabled: (409, "The node is disabled")
        case .imageNotReady: (409, "The image is not ready")
        case .imageRejected: (422, "The image was rejected")
        case .flavorTooSmall: (422, "The flavor is too small")
        case .preconditionFailed: (412, "The resource has changed")
        case .eventsPruned: (410, "These events are kept no longer")
        case .idempotencyKeyReused: (422, "The idempotency key was used for another request")
        case .notImplemented: (501, "Not served by this version")
        case .busy: (503, "Busy")
        case .notLeader: (503, "Another manager leads")
        case .storageFull: (507, "Out of storage")
        case .storageUnavailable: (503, "The store cannot be reached")
        }
    }

    static func meaning(_ code: DoorCode) -> (status: Int, title: String) {
        switch code {
        case .invalidToken: (401, "Not signed in")
        case .insufficientScope: (403, "Not covered by the token")
        case .tooManyAttempts: (429, "Too many attempts")
        case .rateLimited: (429, "Too many requests")
        case .methodNotAllowed: (405, "This method is not served here")
        case .bodyTooLarge: (413, "The body is too large")
        case .unsupportedMediaType: (415, "This type of body is not read here")
        case .requestTimeout: (408, "The request came too slowly")
        case .internalError: (500, "Something went wrong inside")
        }
    }

    init(_ refusal: Refusal, headers: [(String, String)]) {
        self.init(refusal)
        self.headers += headers
    }

    init(_ refusal: Refusal) {
        let meaning = Self.meaning(refusal.code)
        code = refusal.detailCode ?? refusal.code.rawValue
        status = meaning.status
        title = meaning.title
        detail = Self.sentence(refusal.sentence)
        fields = refusal.fields
        removedBy = refusal.removedBy
        operation = refusal.operation
        shortfalls = refusal.shortfalls
        if status == 503 { headers = [("Retry-After", "2")] }
    }

    init(_ code: DoorCode, _ detail: String, headers: [(String, String)] = []) {
        let meaning = Self.meaning(code)
        self.code = code.rawValue
        status = meaning.status
        title = meaning.title
        self.detail = detail
        self.headers = headers
    }

    /// A token that does not cover what its user may (RFC 6750 §3.1).
    init(_ permission: Permission, beyond principal: Principal) {
        self.init(
            .insufficientScope,
            "Your token covers \(principal.scope.text), and this needs \(permission.rawValue); get one that covers it.",
            headers: [
                ("WWW-Authenticate", #"Bearer error="insufficient_scope", scope="\#(permission.rawValue)""#)
            ])
    }

    /// What is told of any error; `nil` where it is our own fault, and nothing of it may be told.
    init?(_ error: any Error) {
        switch error {
        case let problem as Problem: self = problem
        case let refusal as Refusal: self.init(refusal)
        case let error as IdentityError:
            guard let problem = Self.identity(error) else { return nil }
            self = problem
        case let error as StoreError:
            guard let problem = Self.store(error) else { return nil }
            self = problem
        default: return nil
        }
    }

    private static func identity(_ error: IdentityError) -> Problem? {
        switch error {
        case .invalidToken:
            Problem(
                .invalidToken, sentence(error.description),
                headers: [("WWW-Authenticate", #"Bearer error="invalid_token""#)])
        case .tooManyAttempts(let seconds):
            Problem(.tooManyAttempts, sentence(error.description), headers: [("Retry-After", String(seconds))])
        case .busy: Problem(Refusal(.busy, error.description))
        case .wrongCredentials: Problem(Refusal(.forbidden, error.description))
        case .passwordRefused(let objection):
            Problem(
                Refusal(
                    .invalidRequest, "the password is not acceptable",
                    fields: [Refusal.Field(pointer: "/password", detail: objection)]))
        case .invalidRefreshToken: Problem(Refusal(.forbidden, error.description))
        case .passwordNotTakenHere: Problem(Refusal(.forbidden, error.description))
        case .notAdmitted(let sentence), .refusedElsewhere(let sentence):
            Problem(Refusal(.forbidden, sentence, detailCode: "not_admitted"))
        case .directoryUnavailable(let sentence):
            Problem(Refusal(.busy, sentence, detailCode: "directory_unavailable"))
        case .malformedPasswordHash, .keyFile, .signingKey: nil
        }
    }

    private static func store(_ error: StoreError) -> Problem? {
        switch error {
        case .busy: Problem(Refusal(.busy, "too many requests wait just now; try again in a moment"))
        case .diskFull:
            Problem(
                Refusal(
                    .storageUnavailable,
                    "nothing was changed, since the disk that holds the record is full; tell the operator, and try again later"
                ))
        case .closed: Problem(Refusal(.storageUnavailable, "the manager is shutting down; try again in a moment"))
        case .conflict: Problem(Refusal(.busy, "others kept changing the record meanwhile; try again in a moment"))
        case .unavailable(let outage): Problem(Refusal(.storageUnavailable, sentence(of: outage)))
        case .constraint, .corrupt, .schemaTooNew, .engine, .cannotOpen, .badLocation, .inUse, .incomplete: nil
        }
    }

    /// What users are told of the database; names and addresses of servers are the operator's, at /readyz.
    private static func sentence(of outage: StoreOutage) -> String {
        switch outage {
        case .notReady(_, _, hasQuorum: false):
            "nothing can be changed, since the database has no quorum; what runs goes on, and so does reading; try again later"
        case .notReady(_, _, hasQuorum: true): "the database still synchronises; try again in a moment"
        case .readOnly: "nothing can be changed, since the database is set to read only; try again later"
        case .unreachable, .lost: "the database cannot be reached; what runs goes on; try again in a moment"
        case .refused: "the database does not let the manager in; tell the operator, and try again later"
        case .outcomeUnknown: outage.description
        }
    }

    /// The caller may not do this to anything.
    static func forbidden(_ permission: Permission) -> Refusal {
        let roles = Role.allCases.filter { Rights.builtIn($0).may(permission) }.map(\.rawValue)
        let who = roles == [Role.superuser.rawValue] ? "only a superuser may do this" : "you may not do this"
        return Refusal(
            .forbidden,
            "\(who): it needs permission \(permission.rawValue), which \(roles.joined(separator: ", ")) or a role of your site gives"
        )
    }

    var document: JSONValue {
        var members: [JSONValue.Member] = [
            .init("type", .string("urn:roost:problem:\(code)")), .init("title", .string(title)),
            .init("status", .count(status)), .init("detail", .string(detail)), .init("code", .string(code)),
        ]
        if !fields.isEmpty {
            members.append(
                .init(
                    "errors",
                    .array(fields.map { ["pointer": .string($0.pointer), "detail": .string($0.detail)] })))
        }
        if !removedBy.isEmpty {
            members.append(.init("removed_by", .object(removedBy.map { .init($0.filter, .count($0.hosts)) })))
        }
        if !shortfalls.isEmpty { members.append(.init("limits", .array(shortfalls.map(QuotaDocument.encode)))) }
        if let operation { members.append(.init("operation_id", .string(operation.description))) }
        return .object(members)
    }

    /// Sentences inside the program begin in lower case, since they are joined to others; a document's stands alone.
    static func sentence(_ text: String) -> String {
        guard let first = text.first else { return text }
        let end = text.last == "." || text.last == "?" || text.last == "!" ? "" : "."
        return first.uppercased() + text.dropFirst() + end
    }
}
