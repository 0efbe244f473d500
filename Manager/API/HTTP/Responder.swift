import Foundation
import HTTPTypes
public import Hummingbird
import Logging
import ManagerIdentity
import ManagerModel
import NIOCore
import ProtocolModel

/// The door: finds the route of a request, checks who sends it and what it holds, runs the handler, and turns
/// whatever comes of it, errors included, into an answer.
public struct Responder: HTTPResponder {
    public typealias Context = RequestScope

    let table: RouteTable
    let services: Services
    let metrics: RequestMetrics

    public func respond(to request: Request, context: RequestScope) async throws -> Response {
        let start = services.time.uptime
        metrics.began()
        var record = RequestRecord(request, address: context.address)
        let answer = await self.answer(request, context, &record)
        let seconds = Double((services.time.uptime - start).milliseconds) / 1000
        metrics.ended(
            method: record.method, pattern: record.pattern, status: answer.status, seconds: seconds)
        log(record, status: answer.status, seconds: seconds, context.logger)
        return AnswerWriter(services: services, record: record, context: context).response(answer, to: request)
    }

    private func answer(_ request: Request, _ context: RequestScope, _ record: inout RequestRecord) async -> Answer {
        do {
            return try await serve(request, context, &record)
        } catch {
            if let problem = Problem(error) {
                await note(problem, record)
                return self.answer(problem, record)
            }
            if error is CancellationError {
                return self.answer(
                    Problem(Refusal(.busy, "the manager is shutting down; ask again in a moment")), record)
            }
            // What went wrong inside stays inside; the reference finds it in the log (SEC-14).
            context.logger.error(
                "request failed inside",
                metadata: [
                    "request_id": .string(record.id), "route": .string(record.pattern), "error": .string("\(error)"),
                ])
            return self.answer(
                Problem(
                    .internalError,
                    "The manager met an error of its own. Tell the operator this reference: \(record.id)."), record)
        }
    }

    /// What somebody tried to change and may not is in the event log.
    private func note(_ problem: Problem, _ record: RequestRecord) async {
        guard problem.status == 403, let actor = record.actor, !["GET", "HEAD"].contains(record.method) else { return }
        await services.refusals.note(
            "\(record.method) \(record.pattern)", by: actor, reason: problem.detail, in: services.store,
            time: services.time)
    }

    private func serve(
        _ request: Request, _ context: RequestScope, _ record: inout RequestRecord
    ) async throws
        -> Answer
    {
        guard let path = Self.segments(of: request.uri.path), let match = table.match(path) else {
            throw Refusal(.notFound, "there is nothing at this path; GET /v1/openapi.json lists what there is")
        }
        record.pattern = match.pattern
        if request.method == .options {
            let preflight = services.crossOrigin.preflight(
                for: RequestRecord.origin(of: request), methods: match.allowed)
            return Answer(status: 204, headers: [("Allow", match.allowed)] + preflight)
        }
        let method: HTTPRequest.Method = request.method == .head && match.methods[.head] == nil ? .get : request.method
        guard let index = match.methods[method] else {
            throw Problem(
                .methodNotAllowed, "This path takes \(match.allowed).", headers: [("Allow", match.allowed)])
        }
        let route = table.routes[index]
        let principal = try await authenticate(request, route, from: context.address)
        record.user = principal?.name
        record.actor = principal?.actor(request: record.id, from: context.address)
        if let principal {
            record.rate = services.requests.take(
                principal.sender, isPrivileged: principal.isPrivileged, at: services.time.uptime)
            try record.rate?.check()
        }
        if let principal, !principal.scope.allows(route.permission) {
            throw Problem(route.permission, beyond: principal)
        }
        if let principal, !principal.rights.may(route.permission) { throw Problem.forbidden(route.permission) }
        let query =
            route.isServed
            ? try Query(request.uri.query, parameters: route.query, ignoresUnknown: route.ignoresUnknownQuery)
            : Query()
        let body = try await BodyReader.read(request, as: route.isServed ? route.body : .stream)
        let call = Call(
            route: route, method: method, path: request.uri.path, headers: request.headers,
            parameters: match.parameters,
            query: query, queryText: request.uri.query ?? "", body: body.value, bodyDigestText: body.bytes,
            stream: request.body, principal: principal,
            address: context.address, requestID: record.id, logger: record.logger(context.logger), services: services)
        // Also where nothing will be kept, such as a dry run: what is wrong with a request does not depend on that.
        _ = try call.idempotencyKey()
        var answer = try await route.handler(call)
        answer.isSecret = answer.isSecret || route.answersSecret || match.pattern.hasPrefix("/oauth/")
        return answer
    }

    private func authenticate(_ request: Request, _ route: Route, from address: String) async throws -> Principal? {
        if route.permission.isOpen { return nil }
        guard let header = request.headers[.authorization] else {
            throw Problem(
                .invalidToken, "This needs an access token; get one at POST /oauth/token or with 'roost login'.",
                headers: [("WWW-Authenticate", #"Bearer realm="roost", error="invalid_token""#)])
        }
        if route.takesClientCredentials, let basic = OAuthClientAuthentication.basic(header) {
            do {
                return try await services.tokens.verify(key: basic.id, secret: basic.secret, from: address)
            } catch let refusal as GrantRefusal where refusal.code == .invalidClient {
                throw Problem(
                    .invalidToken, Problem.sentence(refusal.sentence),
                    headers: [("WWW-Authenticate", #"Basic realm="roost", Bearer realm="roost""#)])
            }
        }
        let parts = header.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { throw IdentityError.invalidToken(.malformed) }
        return try await services.tokens.verify(bearer: parts[1].trimmed, from: address)
    }

    /// The path's segments, decoded one by one, so that an escaped slash separates nothing. `nil`: not well-formed.
    static func segments(of path: String) -> [String]? {
        guard path.utf8.count <= 4096, path.hasPrefix("/") else { return nil }
        var segments: [String] = []
        for part in path.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
            guard let text = FormText.decode(part.utf8, plusIsSpace: false),
                !text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F })
            else { return nil }
            segments.append(text)
        }
        return segments
    }
}

extension Responder {
    private func answer(_ problem: Problem, _ record: RequestRecord) -> Answer {
        let headers = problem.headers.map { (name: $0.0, value: $0.0 == "WWW-Authenticate" ? challenge($0.1) : $0.1) }
        if problem.status == 400, record.pattern.hasPrefix("/oauth/") {
            // RFC 6749 §5.2 has a shape of its own.
            return .document(TokenRoutes.document(of: problem), status: 400, headers: headers)
        }
        var document = problem.document.members ?? []
        // RFC 9457 §3.1.5: this occurrence, which the log knows by the same name.
        document.append(.init("instance", .string("urn:roost:request:\(record.id)")))
        return Answer(
            status: problem.status, headers: headers,
            body: .bytes(JSONValue.object(document).bytes, type: Problem.contentType))
    }

    /// Where a client that knows nothing of the site finds out how to get a token (RFC 9728 §5.1).
    private func challenge(_ text: String) -> String {
        guard text.contains("Bearer ") else { return text }
        return text + #", resource_metadata="\#(OAuthMetadataRoutes.resourceAddress(services.tokens.issuer))""#
    }

    /// One line a request: the pattern rather than the path, and neither query nor body, which may hold secrets
    /// (SEC-14).
    private func log(_ record: RequestRecord, status: Int, seconds: Double, _ logger: Logger) {
        // A proxy asks for health several times a second, and a manager that does not lead says no each time.
        let isHealth = record.pattern == "/readyz" || record.pattern == "/healthz"
        let isReading = ["GET", "HEAD", "OPTIONS"].contains(record.method)
        let isRoutine = isHealth || status < 500 && isReading
        logger.log(
            level: isRoutine ? .debug : .info, "request",
            metadata: [
                "request_id": .string(record.id), "method": .string(record.method), "route": .string(record.pattern),
                "status": .stringConvertible(status), "milliseconds": .stringConvertible(Int(seconds * 1000)),
                "user": .string(record.user ?? "-"), "address": .string(record.address),
            ])
    }
}

/// What is known of a request for its log line.
struct RequestRecord: Sendable {
    let id: String
    let method: String
    let address: String
    var pattern = "unmatched"
    var user: String?
    var actor: Actor?
    var rate: RateStanding?

    init(_ request: Request, address: String) {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        // An invented method must not become a label.
        method = known.contains(request.method.rawValue) ? request.method.rawValue : "OTHER"
        self.address = address
        id = Self.acceptable(HTTPField.Name("X-Request-ID").flatMap { request.headers[$0] }) ?? Self.fresh()
    }

    /// The page from which a browser sends a request.
    static func origin(of request: Request) -> String? { request.headers[.origin] }

    /// For lines about this request.
    func logger(_ logger: Logger) -> Logger {
        var logger = logger
        logger[metadataKey: "request_id"] = .string(id)
        return logger
    }

    /// A client's own request ID, where it is harmless.
    private static func acceptable(_ text: String?) -> String? {
        guard let text, (8...64).contains(text.utf8.count),
            text.utf8.allSatisfy({
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == UInt8(ascii: "-")
            })
        else { return nil }
        return text
    }

    private static func fresh() -> String {
        var random = SystemRandomNumberGenerator()
        return (0..<2).map { _ in random.next() as UInt64 }.flatMap { word in
            (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
        }.hexadecimal
    }
}
