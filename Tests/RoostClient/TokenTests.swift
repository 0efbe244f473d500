import NIOHTTP1
import Synchronization
import Testing
import TestsSupportHTTP

@testable import RoostClient

@Suite("Tokens")
struct TokenTests {
    private static func problem(_ status: Int, _ code: String) -> ClientError {
        .problem(Problem(status: status, body: Array(#"{"error":"\#(code)"}"#.utf8)))
    }

    @Test("of requests that are refused at once only one trades the refresh token")
    func session() async throws {
        let kept = Mutex<[OAuthTokens]>([])
        let trades = Mutex(0)
        let session = Session(OAuthTokens(accessToken: "old", refreshToken: "r1")) { fresh in
            kept.withLock { $0.append(fresh) }
        }
        let exchange = TokenExchange { fields in
            trades.withLock { $0 += 1 }
            await Task.yield()
            #expect(fields.contains { $0 == ("refresh_token", "r1") })
            return OAuthTokens(accessToken: "new", refreshToken: "r2")
        }
        try await withThrowingTaskGroup { group in
            for _ in 0..<8 {
                group.addTask {
                    let token = try await session.renewed(after: "old", exchange)
                    #expect(token == "new")
                }
            }
            try await group.waitForAll()
        }
        #expect(trades.withLock { $0 } == 1)
        #expect(kept.withLock { $0.map(\.refreshToken) } == ["r2"])
        #expect(try await session.token(exchange) == "new")
    }

    @Test("a session that has ended is not asked for again; a manager that is away is")
    func ended() async throws {
        let session = Session(OAuthTokens(accessToken: "old", refreshToken: "r"))
        let away = TokenExchange { _ in throw Self.problem(503, "busy") }
        await #expect(throws: ClientError.self) { try await session.renewed(after: "old", away) }
        let ended = TokenExchange { _ in throw Self.problem(400, "invalid_grant") }
        #expect(try await session.renewed(after: "old", ended) == nil)
        let unasked = TokenExchange { _ in
            Issue.record("asked again")
            return OAuthTokens(accessToken: "x")
        }
        #expect(try await session.renewed(after: "old", unasked) == nil)
    }

    @Test("an API key signs in when it is used, and again shortly before the token's end")
    func apiKey() async throws {
        let now = Mutex(ContinuousClock.now)
        let count = Mutex(0)
        let tokens = APIKeyTokens(id: "k", secret: "s", now: { now.withLock { $0 } })
        let exchange = TokenExchange { fields in
            #expect(fields.contains { $0 == ("grant_type", "client_credentials") })
            let number = count.withLock {
                $0 += 1
                return $0
            }
            return OAuthTokens(accessToken: "t\(number)", lifetime: .seconds(900))
        }
        #expect(try await tokens.token(exchange) == "t1")
        now.withLock { $0 += .seconds(880) }
        #expect(try await tokens.token(exchange) == "t1")
        now.withLock { $0 += .seconds(10) }
        #expect(try await tokens.token(exchange) == "t2")
        #expect(try await tokens.renewed(after: "t1", exchange) == "t2")
        #expect(try await tokens.renewed(after: "t2", exchange) == "t3")
    }

    @Test("a device asks at the pace that it is told, and until the code runs out")
    func polling() throws {
        var polling = DevicePolling(
            DeviceAuthorization(deviceCode: "d", userCode: "u", verificationAddress: "a", lifetime: .seconds(30)))
        #expect(polling.pause() == .seconds(5))
        try polling.handle(Self.problem(400, "authorization_pending"))
        #expect(polling.pause() == .seconds(5))
        try polling.handle(Self.problem(400, "slow_down"))
        #expect(polling.pause() == .seconds(10))
        try polling.handle(.connection(.timeout, .init(endpoint: "x")))
        #expect(polling.pause() == .seconds(20))
        #expect(polling.pause() == nil)
        #expect(throws: DeviceRefusal.denied) { try polling.handle(Self.problem(400, "access_denied")) }
        #expect(throws: DeviceRefusal.expired) { try polling.handle(Self.problem(400, "expired_token")) }
        #expect(throws: ClientError.self) { try polling.handle(Self.problem(400, "invalid_client")) }
        #expect(throws: ClientError.self) { try polling.handle(.connection(.untrusted, .init(endpoint: "x"))) }
    }

    @Test("the whole device flow, over a socket")
    func device() async throws {
        try await withServer({ request, count in
            switch count {
            case 1:
                .init(
                    body: """
                        {"device_code":"d/1","user_code":"ABCD-EFGH","verification_uri":"https://m/oauth/device",
                         "expires_in":600,"interval":5}
                        """)
            case 2: .init(status: .badRequest, body: #"{"error":"authorization_pending"}"#)
            default: .init(body: #"{"access_token":"a","refresh_token":"r","expires_in":900}"#)
            }
        }) { client, server in
            let authorization = try await client.oauth.authorizeDevice()
            #expect(authorization.userCode == "ABCD-EFGH" && authorization.completeAddress == nil)
            let tokens = try await client.oauth.wait(for: authorization, sleep: { _ in })
            #expect(tokens == OAuthTokens(accessToken: "a", refreshToken: "r", lifetime: .seconds(900)))
            #expect(server.requests[2].text.contains("device_code=d%2F1"))
            #expect(server.requests.allSatisfy { $0.text.contains("client_id=roost") })
        }
    }

    @Test("too many attempts to sign in are said at once, not repeated")
    func limited() async throws {
        let reply = LoopbackServer.Reply(
            status: .tooManyRequests, body: #"{"error":"x"}"#, headers: [("retry-after", "1")])
        try await withServer({ _, _ in reply }) { client, server in
            await #expect(throws: ClientError.self) { _ = try await client.oauth.signIn(name: "a", password: "b") }
            #expect(server.requests.count == 1)
        }
    }
}

/// A server that answers as told, and a client of it that never pauses.
func withServer(
    _ answer: @escaping @Sendable (LoopbackServer.Request, Int) -> LoopbackServer.Reply,
    tokens: any TokenSource = NoToken(), _ body: (RoostClient, LoopbackServer) async throws -> Void
) async throws {
    let server = try await LoopbackServer(answer)
    var configuration = RoostClient.Configuration(endpoint: server.endpoint, tokens: tokens)
    configuration.retries = RetryPolicy(pauses: [.zero, .zero, .zero])
    try await RoostClient.with(configuration) { try await body($0, server) }
    try await server.close()
}
