import HTTPTypes
import ManagerIdentity
import ManagerModel

/// One thing that the API does: declared once, and both served and documented from that declaration.
struct Route: Sendable {
    /// What a request carries in its body.
    enum Body: Sendable {
        case none
        case json(ObjectSchema)
        /// A JSON body that may be left out.
        case optionalJSON(ObjectSchema)
        case form(ObjectSchema)
        /// Bytes, read by the handler as they come.
        case stream
    }

    /// What an answer of one status carries.
    enum Reply: Sendable {
        case empty
        case one(ObjectSchema)
        /// A page of a list, and what it says beside its items.
        case list(ObjectSchema, with: [ObjectSchema.Field] = [])
        case text(type: String)
    }

    struct Header: Sendable {
        var name: String
        var summary: String
        /// Of what it must look like, where any text will not do. The handler checks it.
        var pattern: String?

        init(_ name: String, _ summary: String, pattern: String? = nil) {
            self.name = name
            self.summary = summary
            self.pattern = pattern
        }
    }

    typealias Handler = @Sendable (Call) async throws -> Answer

    var method: HTTPRequest.Method
    /// Such as `/v1/instances/{ref}`.
    var pattern: String
    var summary: String
    var permission: Permission
    var query: [QueryParameter]
    var body: Body
    var replies: [(status: Int, reply: Reply)]
    /// The pattern of what a 201 or 202 answers with, such as `/v1/instances/{ref}`: the document links to its routes from there.
    var leadsTo: String?
    /// The answer holds a secret that is shown once and kept nowhere.
    var answersSecret: Bool
    /// Takes `Idempotency-Key`.
    var isIdempotent: Bool
    /// Takes `If-Match`.
    var isConditional: Bool
    /// Takes an API key's ID and secret in the header `Authorization`, beside tokens.
    var takesClientCredentials: Bool
    /// Parameters of the query that are not known are not looked at, as OAuth wants it (RFC 6749 §3.1).
    var ignoresUnknownQuery: Bool
    /// Further headers that it reads.
    var headers: [Header]
    var handler: Handler

    init(
        _ method: HTTPRequest.Method, _ pattern: String, _ summary: String, _ permission: Permission,
        query: [QueryParameter] = [], body: Body = .none, replies: [(status: Int, reply: Reply)],
        leadsTo: String? = nil, answersSecret: Bool = false, isIdempotent: Bool? = nil, isConditional: Bool = false,
        headers: [Header] = [], takesClientCredentials: Bool = false,
        ignoresUnknownQuery: Bool = false, handler: @escaping Handler
    ) {
        self.method = method
        self.pattern = pattern
        self.summary = summary
        self.permission = permission
        self.query = query
        self.body = body
        self.replies = replies
        self.leadsTo = leadsTo
        self.answersSecret = answersSecret
        self.isIdempotent = isIdempotent ?? (method == .post)
        self.isConditional = isConditional
        self.headers = headers
        self.takesClientCredentials = takesClientCredentials
        self.ignoresUnknownQuery = ignoresUnknownQuery
        self.handler = handler
    }

    /// A route that a later version will serve. Neither its query nor its body is looked at: what may stand in them is not
    /// decided yet.
    init(absent method: HTTPRequest.Method, _ pattern: String, _ permission: Permission, _ what: String) {
        self.init(
            method, pattern, "Not served by this version", permission, replies: [], isIdempotent: false
        ) { _ in
            throw Refusal(.notImplemented, "this version of Roost does not serve \(what) yet")
        }
    }

    var isServed: Bool { !replies.isEmpty }

    /// Names the operation in the document: `get_v1_instances_ref`.
    var operationID: String {
        let words = pattern.split { !$0.isLetter && !$0.isNumber }
        return ([method.rawValue.lowercased()] + words.map { $0.lowercased() }).joined(separator: "_")
    }

    var segments: [Segment] { pattern.split(separator: "/").map(Segment.init) }

    enum Segment: Sendable, Equatable {
        case fixed(String)
        case parameter(String)

        init(_ text: Substring) {
            if text.hasPrefix("{"), text.hasSuffix("}") {
                self = .parameter(String(text.dropFirst().dropLast()))
            } else {
                self = .fixed(String(text))
            }
        }
    }
}

/// All routes, and which of them a path means.
struct RouteTable: Sendable {
    let routes: [Route]
    private let patterns: [(segments: [Route.Segment], pattern: String, methods: [HTTPRequest.Method: Int])]

    init(_ routes: [Route]) {
        self.routes = routes
        var order: [String] = []
        var methods: [String: [HTTPRequest.Method: Int]] = [:]
        for (index, route) in routes.enumerated() {
            if methods[route.pattern] == nil { order.append(route.pattern) }
            let previous = methods[route.pattern, default: [:]].updateValue(index, forKey: route.method)
            precondition(previous == nil, "\(route.method) \(route.pattern) is declared twice")
        }
        patterns = order.map { pattern in
            (pattern.split(separator: "/").map(Route.Segment.init), pattern, methods[pattern] ?? [:])
        }
    }

    struct Match: Sendable {
        var pattern: String
        var parameters: [String: String]
        var methods: [HTTPRequest.Method: Int]

        /// For the header `Allow`.
        var allowed: String {
            var names = Set(methods.keys.map(\.rawValue)).union(["OPTIONS"])
            if names.contains("GET") { names.insert("HEAD") }
            return names.sorted().joined(separator: ", ")
        }
    }

    /// Finds the pattern of a path; one with more fixed segments wins over one with parameters.
    func match(_ path: [String]) -> Match? {
        var best: (match: Match, fixed: Int)?
        for entry in patterns where entry.segments.count == path.count {
            var parameters: [String: String] = [:]
            var fixed = 0
            let fits = zip(entry.segments, path).allSatisfy { segment, text in
                switch segment {
                case .fixed(let word):
                    fixed += 1
                    return word == text
                case .parameter(let name):
                    parameters[name] = text
                    return !text.isEmpty
                }
            }
            if fits, fixed > (best?.fixed ?? -1) {
                best = (Match(pattern: entry.pattern, parameters: parameters, methods: entry.methods), fixed)
            }
        }
        return best?.match
    }
}
