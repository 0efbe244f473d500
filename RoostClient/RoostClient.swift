package import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOSSL

/// A client of a Roost site's API.
///
/// It belongs to whoever made it and shares nothing with others but the process's event loops; it may be used from many
/// tasks at once. Call ``shutdown()`` when done, or let ``with(_:_:)`` do that.
public final class RoostClient: Sendable {
    /// Longer than any answer that is held in memory.
    private static let maximumAnswer = 64 << 20

    /// What it was made with.
    public let configuration: Configuration
    private let http: HTTPClient

    /// Which manager, trusted how, spoken to as whom, and with how much patience.
    public struct Configuration: Sendable {
        /// `https://host:port`; without TLS only on this machine's loopback.
        public var endpoint: String
        /// PEM file of the authority that the manager's certificate must come from; `nil` for the system's.
        public var authorityFile: String?
        /// As whom requests are made.
        public var tokens: any TokenSource
        /// When a request is sent again.
        public var retries = RetryPolicy()
        /// For the connection and its TLS handshake.
        public var connectTimeout = Duration.seconds(10)
        /// For each answer. The manager holds a request that waits for an operation for up to a minute.
        public var answerTimeout = Duration.seconds(120)

        /// With the usual patience.
        public init(endpoint: String, authorityFile: String? = nil, tokens: any TokenSource = NoToken()) {
            self.endpoint = endpoint
            self.authorityFile = authorityFile
            self.tokens = tokens
        }
    }

    /// - Throws: ``ClientError/invalid(_:)`` for an address or a file that is none.
    public init(_ configuration: Configuration) throws(ClientError) {
        var configuration = configuration
        configuration.endpoint = try Self.checked(configuration.endpoint)
        self.configuration = configuration
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        if let path = configuration.authorityFile {
            guard let roots = try? NIOSSLCertificate.fromPEMFile(path), !roots.isEmpty else {
                throw .invalid("cannot read a CA certificate from '\(path)' (ROOST_CACERT, or 'roost login')")
            }
            tls.trustRoots = .certificates(roots)
        }
        var settings = HTTPClient.Configuration(tlsConfiguration: tls)
        settings.timeout.connect = TimeAmount(configuration.connectTimeout)
        settings.redirectConfiguration = .disallow
        settings.httpVersion = .http1Only
        // The HTTP client would hide a refused connection behind its time limit; attempts are counted here.
        settings.connectionPool.retryConnectionEstablishment = false
        http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: settings)
    }

    /// Closes its connections. No other call may follow.
    public func shutdown() async throws { try await http.shutdown() }

    /// Runs `body` with a client that is shut down afterwards, whatever happens.
    public static func with<Result>(
        _ configuration: Configuration, _ body: (RoostClient) async throws -> Result
    ) async throws -> Result {
        let client = try RoostClient(configuration)
        do {
            let result = try await body(client)
            try? await client.shutdown()
            return result
        } catch {
            try? await client.shutdown()
            throw error
        }
    }

    /// `https://host[:port]` without a path; tokens are not sent in the clear over a network.
    package static func checked(_ text: String) throws(ClientError) -> String {
        var endpoint = text
        while endpoint.hasSuffix("/") { endpoint.removeLast() }
        guard let parts = URLComponents(string: endpoint), let host = parts.host, !host.isEmpty, parts.path.isEmpty,
            parts.query == nil, parts.user == nil,
            parts.scheme?.lowercased() == "https"
                || parts.scheme == "http" && ["127.0.0.1", "[::1]", "localhost"].contains(host)
        else {
            throw .invalid(
                "'\(text)' is not the address of a manager, such as https://manager.example:7400 (ROOST_ENDPOINT)")
        }
        return endpoint
    }

    // MARK: Requests

    /// Sends a request, again where the policy says so, with a token that is renewed where it has run out.
    ///
    /// - Throws: ``ClientError``; `CancellationError`.
    public func send(_ request: Request) async throws -> Answer {
        var http = HTTPClientRequest(url: configuration.endpoint + request.path)
        http.method = HTTPMethod(rawValue: request.method.rawValue)
        if request.method == .post {
            // The same key at each attempt: an answer that got lost is given again, and nothing is done twice.
            http.headers.add(name: "idempotency-key", value: request.idempotencyKey ?? UUID().uuidString.lowercased())
        }
        if let tag = request.ifMatch { http.headers.add(name: "if-match", value: tag) }
        if let body = request.body {
            http.headers.add(name: "content-type", value: "application/json")
            http.body = .bytes(ByteBuffer(string: JSONWriter.compact(body)))
        }
        let isRepeatable = request.isRepeatable
        return try await authorised(http) { try await self.persist($0, isRepeatable: isRepeatable) }
    }

    /// A form for the token endpoint (RFC 6749). Only what surely was not sent is sent again: a refresh token counts once.
    func form(_ path: String, _ fields: [(String, String)]) async throws -> JSON {
        var request = HTTPClientRequest(url: configuration.endpoint + path)
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/x-www-form-urlencoded")
        let encoded = fields.map { "\($0.0)=\(Address.escaped($0.1))" }.joined(separator: "&")
        request.body = .bytes(ByteBuffer(string: encoded))
        return try Self.checked(try await persist(request, isRepeatable: false, waitsItsTurn: false)).json()
    }

    /// Signing in and out.
    public var oauth: OAuth { OAuth(client: self) }

    package var exchange: TokenExchange {
        TokenExchange { [self] fields in try OAuthTokens(await form("/oauth/token", fields)) }
    }

    /// A part of a file, and its place in it (draft-ietf-httpbis-resumable-upload).
    package struct FilePart {
        package var body: HTTPClientRequest.Body
        package var offset: Int64
        package var isLast: Bool
        /// Of the whole file, where it is known.
        package var total: Int64?

        package init(body: HTTPClientRequest.Body, offset: Int64, isLast: Bool = true, total: Int64? = nil) {
            self.body = body
            self.offset = offset
            self.isLast = isLast
            self.total = total
        }
    }

    /// Streams a part of a file from its source; it is never held in memory. Not repeated: whoever sends it finds out how
    /// much of it came, and goes on from there.
    package func upload(_ path: String, _ part: FilePart) async throws -> Answer {
        var request = HTTPClientRequest(url: configuration.endpoint + path)
        request.method = .PATCH
        request.headers.add(name: "content-type", value: "application/octet-stream")
        request.headers.add(name: "upload-offset", value: "\(part.offset)")
        request.headers.add(name: "upload-complete", value: part.isLast ? "?1" : "?0")
        if let total = part.total { request.headers.add(name: "upload-length", value: "\(total)") }
        if let token = try await configuration.tokens.token(exchange) { Self.authorise(&request, token) }
        request.body = part.body
        return try Self.checked(try await attempt(request, limit: .hours(24)))
    }

    /// The chunks of an answer without an end, once it has begun well.
    func open(_ path: String, headers: [(String, String)]) async throws -> HTTPClientResponse.Body {
        var request = HTTPClientRequest(url: configuration.endpoint + path)
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        var token = try await configuration.tokens.token(exchange)
        for isFirst in [true, false] {
            if let token { Self.authorise(&request, token) }
            let response = try await reached { try await self.http.execute(request, timeout: .hours(24 * 365)) }
            if response.status == .ok { return response.body }
            let body = try await reached { try await response.body.collect(upTo: Self.maximumAnswer) }
            guard isFirst, response.status == .unauthorized,
                let fresh = try await configuration.tokens.renewed(after: token, exchange)
            else { throw ClientError.problem(Self.problem(response, Array(body.readableBytesView))) }
            token = fresh
        }
        preconditionFailure("the second round returns or throws")
    }

    // MARK: One request

    /// What came, well or not.
    private struct Reply {
        var status: Int
        var headers: HTTPHeaders
        var bytes: [UInt8]

        var retryAfter: Duration? { headers.first(name: "retry-after").flatMap { Int($0) }.map { .seconds($0) } }
    }

    private func authorised(
        _ request: HTTPClientRequest, _ send: (HTTPClientRequest) async throws -> Reply
    ) async throws -> Answer {
        var request = request
        let token = try await configuration.tokens.token(exchange)
        if let token { Self.authorise(&request, token) }
        var reply = try await send(request)
        if reply.status == 401, let fresh = try await configuration.tokens.renewed(after: token, exchange) {
            Self.authorise(&request, fresh)
            reply = try await send(request)
        }
        return try Self.checked(reply)
    }

    private static func authorise(_ request: inout HTTPClientRequest, _ token: String) {
        request.headers.replaceOrAdd(name: "authorization", value: "Bearer \(token)")
    }

    private static func checked(_ reply: Reply) throws(ClientError) -> Answer {
        guard (200..<300).contains(reply.status) else {
            throw .problem(
                Problem(
                    status: reply.status, body: reply.bytes, retryAfter: reply.retryAfter,
                    requestID: reply.headers.first(name: "x-request-id")))
        }
        return Answer(
            status: reply.status, tag: reply.headers.first(name: "etag"),
            requestID: reply.headers.first(name: "x-request-id"), bytes: reply.bytes)
    }

    private static func problem(_ response: HTTPClientResponse, _ body: [UInt8]) -> Problem {
        Problem(
            status: Int(response.status.code), body: body,
            retryAfter: response.headers.first(name: "retry-after").flatMap { Int($0) }.map { .seconds($0) },
            requestID: response.headers.first(name: "x-request-id"))
    }

    /// Repeats what the policy says may be repeated.
    ///
    /// - Parameter waitsItsTurn: whether to come again where there were too many requests. Not to sign in: the person is
    ///   told, who may have the wrong password.
    private func persist(
        _ request: HTTPClientRequest, isRepeatable: Bool, waitsItsTurn: Bool = true
    ) async throws -> Reply {
        var attempts = 0
        while true {
            attempts += 1
            let outcome: RetryPolicy.Outcome
            let result: Result<Reply, ClientError>
            do {
                let reply = try await attempt(request, limit: TimeAmount(configuration.answerTimeout))
                if reply.status == 429, !waitsItsTurn { return reply }
                outcome = .answer(status: reply.status, retryAfter: reply.retryAfter)
                result = .success(reply)
            } catch let error as ClientError {
                guard case .connection(let failure, _) = error else { throw error }
                outcome = .failure(failure)
                result = .failure(error)
            }
            guard
                let pause = configuration.retries.pause(
                    after: outcome, attempt: attempts, isRepeatable: isRepeatable)
            else { return try result.get() }
            try await Task.sleep(for: pause)
        }
    }

    private func attempt(_ request: HTTPClientRequest, limit: TimeAmount) async throws -> Reply {
        try await reached {
            let response = try await self.http.execute(request, timeout: limit)
            let body = try await response.body.collect(upTo: Self.maximumAnswer)
            return Reply(
                status: Int(response.status.code), headers: response.headers, bytes: Array(body.readableBytesView))
        }
    }

    /// Errors of the network as ours.
    func reached<Result>(_ body: () async throws -> Result) async throws -> Result {
        do {
            return try await body()
        } catch {
            // Cancelling shows as one of several errors, depending on how far the request was.
            try Task.checkCancellation()
            // From the source of an upload: the caller's own.
            if let own = error as? any UploadSourceError { throw own }
            throw ClientError.connection(
                ConnectionFailure(error),
                .init(endpoint: configuration.endpoint, authorityFile: configuration.authorityFile))
        }
    }
}

/// An error of what is being uploaded, as opposed to the network's.
package protocol UploadSourceError: Error {}

extension TimeAmount {
    fileprivate init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self = .nanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
