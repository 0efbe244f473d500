import ArgumentParser
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// Options of every command that talks to a site.
struct SiteOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: "How answers are printed.")
    var output: OutputFormat = .table

    @Option(name: .long, help: "The profile that 'roost login' has kept (environment: ROOST_PROFILE).")
    var profile: String?

    /// Runs `body` with a client of the chosen site.
    func withClient<Result: Sendable>(_ body: (APIClient) async throws -> Result) async throws -> Result {
        let client = try APIClient(profileName: profileName)
        do {
            let result = try await body(client)
            try await client.close()
            return result
        } catch {
            try? await client.close()
            throw error
        }
    }

    var profileName: String { profile ?? ProcessInfo.processInfo.environment["ROOST_PROFILE"] ?? "default" }
}

/// A thin client of the API: paths and JSON in, JSON or a failure out.
final class APIClient {
    private let http: HTTPClient
    private let endpoint: String
    private let profileName: String
    private var token: String?
    private var refreshToken: String?

    init(profileName: String, environment: [String: String] = ProcessInfo.processInfo.environment) throws {
        let profile = ProfileFile(environment: environment).read()[profileName]
        self.profileName = profileName
        let slash = CharacterSet(charactersIn: "/")
        endpoint = (environment["ROOST_ENDPOINT"] ?? profile?.endpoint ?? "https://localhost:7400")
            .trimmingCharacters(in: slash)
        guard endpoint.hasPrefix("https://") else {
            throw Failure(
                "'\(endpoint)' must begin with https://, since a token travels with each request", isUsage: true)
        }
        // The tokens of a profile are for its own site alone.
        let kept = profile?.endpoint == endpoint ? profile : nil
        token = environment["ROOST_TOKEN"] ?? kept?.accessToken
        refreshToken = environment["ROOST_TOKEN"] == nil ? kept?.refreshToken : nil
        var tls = TLSConfiguration.makeClientConfiguration()
        if let path = environment["ROOST_CACERT"] ?? profile?.authorityPath {
            guard let roots = try? NIOSSLCertificate.fromPEMFile(path) else {
                throw Failure("cannot read the CA certificate '\(path)' (ROOST_CACERT)")
            }
            tls.trustRoots = .certificates(roots)
        }
        var configuration = HTTPClient.Configuration(tlsConfiguration: tls)
        configuration.timeout.connect = .seconds(10)
        configuration.redirectConfiguration = .disallow
        http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    func close() async throws { try await http.shutdown() }

    var address: String { endpoint }

    // MARK: Requests

    func get(_ path: String, _ query: [String: String?] = [:]) async throws -> JSON {
        try await send(.GET, path, query: query, body: nil)
    }

    /// All pages of a list, as one.
    func list(_ path: String, _ query: [String: String?] = [:]) async throws -> JSON {
        var items: [JSON] = []
        var query = query
        while true {
            let page = try await get(path, query)
            items += page["items"].items
            guard let next = page["next"].text else { return .object(["items": .array(items), "next": .null]) }
            query["after"] = next
        }
    }

    func post(_ path: String, _ body: [String: JSON?] = [:]) async throws -> JSON {
        try await send(.POST, path, body: body)
    }

    func patch(_ path: String, _ body: [String: JSON?]) async throws -> JSON {
        try await send(.PATCH, path, body: body)
    }

    func delete(_ path: String) async throws -> JSON { try await send(.DELETE, path, body: nil) }

    /// Streams a file; it is never held in memory.
    func upload(_ path: String, file: String, progress: @escaping @Sendable (Int64) -> Void) async throws -> JSON {
        guard let handle = FileHandle(forReadingAtPath: file) else {
            throw Failure("cannot read '\(file)'", isUsage: true)
        }
        let size = Int64(try handle.seekToEnd())
        try handle.seek(toOffset: 0)
        var request = HTTPClientRequest(url: endpoint + path)
        request.method = .PUT
        request.headers.add(name: "content-type", value: "application/octet-stream")
        authorise(&request)
        request.body = .stream(FileBytes(handle: handle, progress: progress), length: .known(size))
        let (status, body) = try await once(request, limit: .hours(24))
        guard (200..<300).contains(status) else { throw Failure(status: status, body: body) }
        return try JSON(bytes: body)
    }

    /// A form, for the token endpoint.
    func form(_ path: String, _ fields: [(String, String)]) async throws -> JSON {
        var request = HTTPClientRequest(url: endpoint + path)
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/x-www-form-urlencoded")
        let text = fields.map { "\($0.0)=\(Self.escaped($0.1))" }.joined(separator: "&")
        request.body = .bytes(ByteBuffer(string: text))
        let (status, body) = try await once(request, limit: .seconds(60))
        guard status == 200 else { throw Failure(status: status, body: body) }
        return body.isEmpty ? .null : try JSON(bytes: body)
    }

    static func escaped(_ text: String) -> String {
        text.addingPercentEncoding(
            withAllowedCharacters: CharacterSet(
                charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"))
            ?? ""
    }

    private func send(
        _ method: HTTPMethod, _ path: String, query: [String: String?] = [:], body: [String: JSON?]?
    ) async throws -> JSON {
        let pairs = query.compactMap { key, value in value.map { "\(key)=\(Self.escaped($0))" } }.sorted()
        var request = HTTPClientRequest(
            url: endpoint + path + (pairs.isEmpty ? "" : "?" + pairs.joined(separator: "&")))
        request.method = method
        // The same key at each attempt: an answer that got lost is given again, nothing is done twice.
        if method == .POST { request.headers.add(name: "idempotency-key", value: UUID().uuidString) }
        if let body {
            request.headers.add(name: "content-type", value: "application/json")
            let present = body.compactMapValues { $0 }
            request.body = .bytes(ByteBuffer(bytes: try JSONEncoder().encode(JSON.object(present))))
        }
        let bare = request
        authorise(&request)
        var (status, answer) = try await persist(request)
        if status == 401, try await refresh() {
            request = bare
            authorise(&request)
            (status, answer) = try await persist(request)
        }
        guard (200..<300).contains(status) else {
            if status == 401 {
                throw Failure(
                    lines: Failure(status: status, body: answer).lines + ["  run 'roost login' (or set ROOST_TOKEN)"])
            }
            throw Failure(status: status, body: answer)
        }
        return answer.isEmpty ? .null : try JSON(bytes: answer)
    }

    private func authorise(_ request: inout HTTPClientRequest) {
        if let token { request.headers.replaceOrAdd(name: "authorization", value: "Bearer \(token)") }
    }

    /// Repeats what failed to reach the manager, or found it unready, a few times.
    private func persist(_ request: HTTPClientRequest) async throws -> (Int, [UInt8]) {
        for wait in [1, 2] {
            do {
                let answer = try await execute(request, limit: .seconds(120))
                if answer.0 != 503 { return answer }
            } catch let failure as Unreachable {
                guard failure.mayRetry, request.method == .GET || request.method == .POST else { throw failure.failure }
            }
            try await Task.sleep(for: .seconds(wait))
        }
        return try await once(request, limit: .seconds(120))
    }

    private func once(_ request: HTTPClientRequest, limit: TimeAmount) async throws -> (Int, [UInt8]) {
        do {
            return try await execute(request, limit: limit)
        } catch let failure as Unreachable {
            throw failure.failure
        }
    }

    private struct Unreachable: Error {
        var failure: Failure
        var mayRetry: Bool
    }

    private func execute(_ request: HTTPClientRequest, limit: TimeAmount) async throws -> (Int, [UInt8]) {
        do {
            let response = try await http.execute(request, timeout: limit)
            let body = try await response.body.collect(upTo: 64 << 20)
            return (Int(response.status.code), Array(body.readableBytesView))
        } catch {
            throw explain(error)
        }
    }

    private func explain(_ error: any Error) -> any Error {
        switch error {
        case let error as HTTPClientError where error == .connectTimeout || error == .deadlineExceeded:
            return Unreachable(failure: Failure("the manager at \(endpoint) did not answer in time"), mayRetry: true)
        case is NIOSSLError, is NIOSSLExtraError:
            return Unreachable(
                failure: Failure(
                    "the certificate of \(endpoint) is not trusted; set ROOST_CACERT to the site's ca.pem (\(error))"),
                mayRetry: false)
        case is NIOConnectionError, is IOError:
            return Unreachable(
                failure: Failure("cannot connect to the manager at \(endpoint); check ROOST_ENDPOINT and that it runs"),
                mayRetry: true)
        default: return Unreachable(failure: Failure("\(endpoint): \(error)"), mayRetry: false)
        }
    }

    /// Exchanges the refresh token once.
    private func refresh() async throws -> Bool {
        guard let refreshToken else { return false }
        self.refreshToken = nil
        guard
            let answer = try? await form(
                "/oauth/token", [("grant_type", "refresh_token"), ("refresh_token", refreshToken)]),
            let access = answer["access_token"].text
        else { return false }
        token = access
        try ProfileFile().update { profiles in
            profiles[profileName]?.accessToken = access
            profiles[profileName]?.refreshToken = answer["refresh_token"].text
        }
        return true
    }
}

/// A file in pieces.
private struct FileBytes: AsyncSequence, Sendable {
    let handle: FileHandle
    let progress: @Sendable (Int64) -> Void

    struct Iterator: AsyncIteratorProtocol {
        let handle: FileHandle
        let progress: @Sendable (Int64) -> Void
        var sent: Int64 = 0

        mutating func next() async throws -> ByteBuffer? {
            guard let data = try handle.read(upToCount: 1 << 20), !data.isEmpty else { return nil }
            sent += Int64(data.count)
            progress(sent)
            return ByteBuffer(bytes: data)
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(handle: handle, progress: progress) }
}
