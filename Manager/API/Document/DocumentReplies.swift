import HTTPTypes
import ManagerModel

/// What answers have in common in the document: problems by status, and headers.
enum DocumentReplies {
    /// Problems that a route may meet, by what it takes.
    static func problems(of route: Route) -> [Int] {
        guard route.isServed else { return [] }
        var statuses: Set<Int> = [503]
        let isOpen = route.permission.isOpen
        if !isOpen { statuses.formUnion([401, 403, 429]) }
        if route.permission == .registrationRequest { statuses.insert(429) }
        if !route.query.isEmpty || route.body.isThere { statuses.insert(400) }
        if route.segments.contains(where: { if case .parameter = $0 { true } else { false } }) { statuses.insert(404) }
        if route.method != .get { statuses.formUnion([400, 409, 422]) }
        if route.isConditional { statuses.insert(412) }
        if route.body.isThere { statuses.formUnion([408, 413, 415]) }
        return statuses.sorted()
    }

    /// Whether the route answers this status with a page, and with nothing else that it says itself.
    static func isOnPages(_ route: Route, _ status: Int) -> Bool {
        let replies = route.replies.filter { $0.status == status }
        return !replies.isEmpty && replies.allSatisfy { if case .text = $0.reply { true } else { false } }
    }

    static func reference(_ status: Int) -> JSONValue { ["$ref": .string("#/components/responses/\(name(status))")] }

    static func name(_ status: Int) -> String { "Problem\(status)" }

    private static let descriptions: [Int: String] = [
        400: "The request is not as this document describes it; `errors` names each field.",
        401: "No access token, or one that is not accepted (any more).",
        403: "The caller may see this, and may not do it.",
        404: "There is no such thing, or none that the caller may know of.",
        408: "The body did not come in time.",
        409: "Not possible as things are: a name is taken, something is in use, no host has room.",
        412: "The resource has changed since it was read.",
        413: "The body is larger than this request may carry.",
        415: "The body is of a type that is not read here.",
        422: "The request is well-formed, and contradicts itself or what is there.",
        429: "Too many requests; `Retry-After` says when to go on.",
        503: "Busy, or the record cannot be reached; `Retry-After` says when to ask again.",
    ]

    static var components: [JSONValue.Member] {
        descriptions.sorted { $0.key < $1.key }.map { status, text in
            var reply: [JSONValue.Member] = [.init("description", .string(text))]
            if status == 429 || status == 503 {
                reply.append(.init("headers", ["Retry-After": ["$ref": "#/components/headers/Retry-After"]]))
            }
            reply.append(.init("content", content))
            return .init(name(status), .object(reply))
        }
    }

    static var content: JSONValue {
        [
            Problem.contentType: [
                "schema": ["$ref": "#/components/schemas/Problem"], "example": Examples.answer(OpenAPIDocument.problem),
            ]
        ]
    }

    // MARK: Headers

    private static let headers: [(name: String, summary: String, schema: JSONValue)] = [
        ("X-Request-ID", "Names this request in the log and in events.", ["type": "string"]),
        ("ETag", "The tag of the resource as it is; for If-Match and If-None-Match.", ["type": "string"]),
        ("Location", "Where the new resource is.", ["type": "string", "format": "uri-reference"]),
        (
            "Operation-Location", "Where to ask how what was begun goes on.",
            ["type": "string", "format": "uri-reference"]
        ),
        ("Retry-After", "Seconds after which to ask again.", ["type": "integer", "minimum": 0]),
        ("RateLimit-Policy", "How many requests (q) each window of w seconds allows.", ["type": "string"]),
        ("RateLimit", "How many requests are left (r), and in how many seconds all are again (t).", ["type": "string"]),
    ]

    static var headerComponents: [JSONValue.Member] {
        headers.map { .init($0.name, ["description": .string($0.summary), "schema": $0.schema]) }
    }

    static func headers(_ route: Route, _ status: Int, _ reply: Route.Reply) -> JSONValue {
        var names = ["X-Request-ID"]
        if case .one = reply, status != 202 { names.append("ETag") }
        if status == 201 { names.append("Location") }
        if status == 202 { names.append("Operation-Location") }
        if !route.permission.isOpen { names += ["RateLimit-Policy", "RateLimit"] }
        return .object(names.map { .init($0, ["$ref": .string("#/components/headers/\($0)")]) })
    }

    /// Every code of a problem document, with its status and title: what `type` and `code` may say.
    static var codes: JSONValue {
        let refusals = Refusal.Code.allCases.map { ($0.rawValue, Problem.meaning($0)) }
        let doors = Problem.DoorCode.allCases.map { ($0.rawValue, Problem.meaning($0)) }
        return .object(
            (refusals + doors).sorted { $0.0 < $1.0 }.map { code, meaning in
                .init(code, ["status": .count(meaning.status), "title": .string(meaning.title)])
            })
    }
}

extension Route.Body {
    var isThere: Bool { if case .none = self { false } else { true } }
}
