import Crypto
import HTTPTypes
import Hummingbird
import Logging
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

/// One request, after the door has checked who sends it and whether it is well-formed. Handlers read it, call a
/// service and encode the answer; they hold no rules of their own.
struct Call: Sendable {
    let route: Route
    let method: HTTPRequest.Method
    let path: String
    let headers: HTTPFields
    let parameters: [String: String]
    let query: Query
    /// The same as it was written.
    let queryText: String
    /// The JSON or form body, checked against the route's schema; `.null` where there is none.
    let body: JSONValue
    let bodyDigestText: [UInt8]
    /// For routes that read the body themselves.
    let stream: RequestBody
    let principal: Principal?
    let address: String
    let requestID: String
    let logger: Logger
    let services: Services

    var actor: Actor {
        get throws {
            guard let principal else { throw IdentityError.invalidToken(.malformed) }
            return principal.actor(request: requestID, from: address)
        }
    }

    var now: Timestamp { services.time.timestamp }

    /// A header that Swift's HTTP types have no name for.
    func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { headers[$0] } }

    func parameter(_ name: String) -> String { parameters[name] ?? "" }

    /// Whose resources a list may show.
    func scope(_ permission: Permission) throws -> Scope {
        guard let scope = try actor.scope(permission) else { throw Problem.forbidden(permission) }
        return scope
    }

    /// What the caller may ask of the record in this transaction.
    func commands(in transaction: Transaction) throws -> Commands {
        Commands(in: transaction, actor: try actor, at: now, settings: services.lifecycle, for: route.permission)
    }

    func read<Output: Sendable>(_ body: @escaping @Sendable (Transaction) throws -> Output) async throws -> Output {
        try await services.store.read(body)
    }

    /// A list that everybody of a scope reads alike; made anew only where the record has changed. Not for queries whose words are
    /// looked up, since that depends on what the caller may see.
    func list(
        _ name: String, _ scope: Scope, isPlain: Bool, _ body: @escaping @Sendable (Transaction) throws -> Answer
    ) async throws -> Answer {
        guard isPlain, let revision = services.store.revision else { return try await read(body) }
        let key = AnswerCache.Key(list: name, scope: "\(scope)", query: queryText)
        if let known = services.answers.body(key, at: revision) { return Answer(status: 200, body: .prepared(known)) }
        var answer = try await read(body)
        if case .bytes(let bytes, let type) = answer.body {
            let prepared = PreparedBody(bytes, type: type)
            services.answers.keep(prepared, key, at: revision)
            answer.body = .prepared(prepared)
        }
        return answer
    }

    /// Changes the record. Where the request carries an `Idempotency-Key`, its answer is kept in the same
    /// transaction, and a repetition gets that answer instead of another change.
    func write(_ body: @escaping @Sendable (Transaction) throws -> Answer) async throws -> Answer {
        guard let key = try idempotencyKey() else { return try await services.store.write(body) }
        let user = try actor.user
        guard let user else { return try await services.store.write(body) }
        let digest = services.requestDigest(method: method.rawValue, path: path, body: bodyDigestText)
        let now = now
        let isSecret = route.answersSecret
        return try await services.store.write { transaction in
            if let kept = try transaction.idempotency.find(user: user, key: key) {
                return try Self.replay(kept, digest: digest)
            }
            let answer = try body(transaction)
            try transaction.idempotency.insert(
                Self.kept(answer, digest: digest, isSecret: isSecret || answer.isSecret), user: user, key: key, at: now)
            return answer
        }
    }

    /// Refuses a change of a resource that is not as the client last saw it.
    func checkMatch(_ current: @autoclosure () throws -> JSONValue) throws {
        guard let wanted = headers[.ifMatch] else { return }
        guard EntityTag(of: try current()).isNamed(in: wanted) else {
            throw Refusal(
                .preconditionFailed, "the resource has changed since you read it; read it again and repeat the change")
        }
    }

    /// A single resource: with its tag, or 304 where the client has it already.
    ///
    /// - Parameter tagged: what of it the tag is of, where that is not all.
    func resource(_ value: JSONValue, tagged: JSONValue? = nil) -> Answer {
        let tag = EntityTag(of: tagged ?? value)
        if let known = headers[.ifNoneMatch], tag.isNamed(in: known, weakly: true) {
            return Answer(status: 304, headers: [("ETag", tag.text)])
        }
        return .document(value, headers: [("ETag", tag.text)])
    }

    /// Refuses whoever would not be let in any more, or may less than when they asked: no answer that is waited for outlives
    /// the right to read it (P9).
    func checkIsStillAllowed() async throws {
        guard let principal else { throw IdentityError.invalidToken(.malformed) }
        let now = try await services.tokens.verify(again: principal)
        guard now.account == principal.account, now.rights.covers(principal.rights) else {
            throw IdentityError.invalidToken(.revoked)
        }
    }

    /// The request's key, where the route takes one.
    func idempotencyKey() throws(Refusal) -> String? {
        guard route.isIdempotent, let name = HTTPField.Name("Idempotency-Key"), let key = headers[name] else {
            return nil
        }
        guard (1...255).contains(key.utf8.count), key.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw Refusal(.invalidRequest, "the header Idempotency-Key must have 1 to 255 visible ASCII characters")
        }
        return key
    }

    private static func replay(
        _ kept: IdempotencyRepository.Answer, digest: ContentDigest
    ) throws -> Answer {
        guard kept.requestDigest == digest else {
            throw Refusal(
                .idempotencyKeyReused,
                "this Idempotency-Key was used for another request; take a new key for each thing that you want done")
        }
        // Something was made and is not told again: it holds a secret.
        guard kept.status != 201 || !kept.body.isEmpty else {
            throw Refusal(
                .conflict,
                "this request was answered, and the answer is shown only once; ask again with a new Idempotency-Key"
            )
        }
        var headers = kept.headers.sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) }
        headers.append(("Idempotent-Replay", "true"))
        let body: Answer.Body = kept.body.isEmpty ? .none : .bytes(kept.body, type: Answer.json)
        return Answer(status: kept.status, headers: headers, body: body)
    }

    private static func kept(_ answer: Answer, digest: ContentDigest, isSecret: Bool) -> IdempotencyRepository.Answer {
        var body: [UInt8] = []
        if case .bytes(let bytes, _) = answer.body, !isSecret { body = bytes }
        return IdempotencyRepository.Answer(
            requestDigest: digest, status: answer.status,
            headers: Dictionary(answer.headers.map { ($0.name, $0.value) }) { first, _ in first }, body: body)
    }
}
