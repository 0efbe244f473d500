import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOSSL

/// A thin client of the API: paths and JSON in, JSON or a failure out.
final class APIClient: Sendable {
    /// Waits before the second attempt and those after it.
    static let pauses: [Duration] = [.milliseconds(250), .milliseconds(500), .seconds(1), .seconds(2)]
    /// Longer than the manager holds a waiting request.
    private static let patience = TimeAmount.seconds(120)
    private static let maximumAnswer = 64 << 20

    let endpoint: String
    private let authorityPath: String?
    private let http: HTTPClient
    private let tokens: Tokens
    private let pauses: [Duration]

    init(_ site: Site, file: ProfileFile, pauses: [Duration] = APIClient.pauses) throws(Failure) {
        endpoint = site.endpoint
        authorityPath = site.authorityPath
        tokens = Tokens(site, file: file)
        self.pauses = pauses
        var tls = TLSConfiguration.makeClientConfiguration()
        if let path = site.authorityPath {
            guard let roots = try? NIOSSLCertificate.fromPEMFile(path), !roots.isEmpty else {
                throw Failure("cannot read a CA certificate from '\(path)' (ROOST_CACERT, or 'roost login')")
            }
            tls.trustRoots = .certificates(roots)
        }
        var configuration = HTTPClient.Configuration(tlsConfiguration: tls)
        configuration.timeout.connect = .seconds(10)
        configuration.redirectConfiguration = .disallow
        configuration.httpVersion = .http1Only
        // The client would hide a refused connection behind its time limit; attempts are counted here.
        configuration.connectionPool.retryConnectionEstablishment = false
        http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// Runs `body` with a client that is closed afterwards, whatever happens.
    static func with<Result>(
        _ site: Site, file: ProfileFile, pauses: [Duration] = APIClient.pauses,
        _ body: (APIClient) async throws -> Result
    ) async throws -> Result {
        let client = try APIClient(site, file: file, pauses: pauses)
        do {
            let result = try await body(client)
            try? await client.http.shutdown()
            return result
        } catch {
            try? await client.http.shutdown()
            throw error
        }
    }

    // MARK: Requests

    func get(_ path: String, _ query: KeyValuePairs<String, String?> = [:]) async throws -> JSON {
        try await send(.GET, path + Self.query(query)).body
    }

    /// An answer and its entity tag.
    func getTagged(_ path: String) async throws -> (body: JSON, tag: String?) {
        let answer = try await send(.GET, path)
        return (answer.body, answer.tag)
    }

    /// All pages of a list, as one: the first page, with the items of all.
    func list(
        _ path: String, _ query: KeyValuePairs<String, String?> = [:], after first: String? = nil
    ) async throws -> JSON {
        var items: [JSON] = []
        var list: JSON?
        var after = first
        repeat {
            var page = Self.query(query)
            page += (page.isEmpty ? "?" : "&") + "limit=1000" + (after.map { "&after=\(Self.escaped($0))" } ?? "")
            let answer = try await send(.GET, path + page).body
            items += answer["items"].items
            list = list ?? answer
            let next = answer["next"].text
            // A cursor that does not move would keep us here for ever.
            after = next == after ? nil : next
        } while after != nil
        return (list ?? .list([])).setting("items", to: .array(items)).setting("next", to: .null)
    }

    /// - Parameter body: `nil` for a route that takes none.
    func post(_ path: String, _ body: JSON? = [:]) async throws -> JSON { try await send(.POST, path, body: body).body }

    func patch(_ path: String, _ body: JSON, ifMatch tag: String? = nil) async throws -> JSON {
        try await send(.PATCH, path, body: body, ifMatch: tag).body
    }

    func delete(_ path: String) async throws -> JSON { try await send(.DELETE, path).body }

    /// A form for the token endpoint. Only what surely was not sent is sent again: a refresh token counts once.
    func form(_ path: String, _ fields: KeyValuePairs<String, String>) async throws -> JSON {
        var request = HTTPClientRequest(url: endpoint + path)
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/x-www-form-urlencoded")
        let encoded = fields.map { "\($0.key)=\(Self.escaped($0.value))" }.joined(separator: "&")
        request.body = .bytes(ByteBuffer(string: encoded))
        return try await checked(persist(request, onlyUnsent: true)).body
    }

    /// A change that its path says all of.
    func post(bare path: String) async throws -> JSON { try await send(.POST, path).body }

    func put(_ path: String) async throws -> JSON { try await send(.PUT, path).body }

    /// A part of a file, and its place in it.
    struct FilePart {
        var body: HTTPClientRequest.Body
        var offset: Int64
        var isLast = true
        /// Of the whole file, where it is known.
        var total: Int64?
    }

    /// Streams a part of a file from its source; it is never held in memory. Not repeated: whoever sends it finds out how
    /// much of it came, and goes on from there.
    func upload(_ path: String, _ part: FilePart) async throws -> JSON {
        var request = HTTPClientRequest(url: endpoint + path)
        request.method = .PATCH
        request.headers.add(name: "content-type", value: "application/octet-stream")
        request.headers.add(name: "upload-offset", value: "\(part.offset)")
        request.headers.add(name: "upload-complete", value: part.isLast ? "?1" : "?0")
        if let total = part.total { request.headers.add(name: "upload-length", value: "\(total)") }
        authorise(&request)
        request.body = part.body
        return try await explaining { try await self.checked(self.execute(request, limit: .hours(24))).body }
    }

    /// The chunks of an answer without an end.
    func stream(
        _ path: String, headers: KeyValuePairs<String, String>, _ each: (ByteBuffer) async throws -> Void
    ) async throws {
        func attempt() async throws -> Bool {
            var request = HTTPClientRequest(url: endpoint + path)
            for (name, value) in headers { request.headers.add(name: name, value: value) }
            authorise(&request)
            let response = try await explaining { try await self.http.execute(request, timeout: .hours(24 * 365)) }
            guard response.status != .unauthorized else { return false }
            guard response.status == .ok else {
                let body = try await explaining { try await response.body.collect(upTo: Self.maximumAnswer) }
                throw Failure(status: Int(response.status.code), body: Array(body.readableBytesView))
            }
            var chunks = response.body.makeAsyncIterator()
            while let chunk = try await explaining({ try await chunks.next() }) { try await each(chunk) }
            return true
        }
        if try await attempt() { return }
        guard try await renew(), try await attempt() else { throw Failure(status: 401, body: []) }
    }

    // MARK: One request

    private struct Answer {
        var status: Int
        var tag: String?
        var bytes: [UInt8]
    }

    private func send(
        _ method: HTTPMethod, _ path: String, body: JSON? = nil, ifMatch tag: String? = nil
    ) async throws -> (body: JSON, tag: String?) {
        var request = HTTPClientRequest(url: endpoint + path)
        request.method = method
        // The same key at each attempt: an answer that got lost is given again, and nothing is done twice.
        if method == .POST { request.headers.add(name: "idempotency-key", value: UUID().uuidString.lowercased()) }
        if let tag { request.headers.add(name: "if-match", value: tag) }
        if let body {
            request.headers.add(name: "content-type", value: "application/json")
            request.body = .bytes(ByteBuffer(string: JSONWriter.compact(body)))
        }
        let mayRepeat = method == .GET || method == .POST
        authorise(&request)
        var answer = try await persist(request, onlyUnsent: !mayRepeat)
        if answer.status == 401, try await renew() {
            authorise(&request)
            answer = try await persist(request, onlyUnsent: !mayRepeat)
        }
        return try checked(answer)
    }

    private func checked(_ answer: Answer) throws -> (body: JSON, tag: String?) {
        guard (200..<300).contains(answer.status) else { throw Failure(status: answer.status, body: answer.bytes) }
        return (answer.bytes.isEmpty ? .null : try JSONReader.read(answer.bytes), answer.tag)
    }

    private func authorise(_ request: inout HTTPClientRequest) {
        if let token = tokens.current { request.headers.replaceOrAdd(name: "authorization", value: "Bearer \(token)") }
    }

    private func renew() async throws -> Bool {
        try await tokens.renew { refresh in
            try await form("/oauth/token", ["grant_type": "refresh_token", "refresh_token": refresh])
        }
    }

    /// Repeats, a few times, what did not reach the manager or found it unready (503).
    private func persist(_ request: HTTPClientRequest, onlyUnsent: Bool) async throws -> Answer {
        for pause in pauses {
            do {
                let answer = try await execute(request, limit: Self.patience)
                if answer.status != 503 { return answer }
            } catch let failure as ConnectionFailure {
                guard failure.mayPass, failure.isBeforeRequest || !onlyUnsent else { throw explained(failure) }
            }
            try await Task.sleep(for: pause)
        }
        return try await explaining { try await self.execute(request, limit: Self.patience) }
    }

    /// - Throws: ``ConnectionFailure``, or `CancellationError`.
    private func execute(_ request: HTTPClientRequest, limit: TimeAmount) async throws -> Answer {
        do {
            let response = try await http.execute(request, timeout: limit)
            let body = try await response.body.collect(upTo: Self.maximumAnswer)
            return Answer(
                status: Int(response.status.code), tag: response.headers.first(name: "etag"),
                bytes: Array(body.readableBytesView))
        } catch let failure as Failure {
            throw failure
        } catch {
            // Cancelling shows as one of several errors, depending on how far the request was.
            try Task.checkCancellation()
            throw ConnectionFailure(error)
        }
    }

    private func explaining<Result>(_ body: () async throws -> Result) async throws -> Result {
        do {
            return try await body()
        } catch let failure as ConnectionFailure {
            throw explained(failure)
        } catch let failure as Failure {
            throw failure
        } catch {
            try Task.checkCancellation()
            throw explained(ConnectionFailure(error))
        }
    }

    private func explained(_ failure: ConnectionFailure) -> Failure {
        failure.explained(endpoint: endpoint, authorityPath: authorityPath)
    }

    // MARK: Addresses

    static func query(_ parameters: KeyValuePairs<String, String?>) -> String {
        let pairs = parameters.compactMap { name, value in value.map { "\(name)=\(escaped($0))" } }
        return pairs.isEmpty ? "" : "?" + pairs.joined(separator: "&")
    }

    /// RFC 3986 §2.3: all but the unreserved characters.
    static func escaped(_ text: String) -> String {
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                result.unicodeScalars.append(Unicode.Scalar(byte))
            default: result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return result
    }
}

/// The path of one resource of a kind, by name or ID.
func path(_ collection: String, _ reference: String) throws(Failure) -> String {
    // "." and ".." would be taken for steps in the path.
    guard !reference.isEmpty, reference != ".", reference != ".." else {
        throw .usage("'\(reference)' is not a name or an ID")
    }
    return "/v1/\(collection)/\(APIClient.escaped(reference))"
}
