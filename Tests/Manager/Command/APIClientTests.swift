import AsyncHTTPClient
import Foundation
import NIOHTTP1
import RoostClient
import Synchronization
import Testing
import TestsSupportHTTP

@testable import ManagerCommand

@Suite("The client, over a socket")
struct APIClientTests {
    static func site(_ endpoint: String, _ credentials: Site.Credentials = .fixed("t")) -> Site {
        // Made by hand: `Site.resolve` accepts no address without TLS.
        Site(endpoint: endpoint, authorityPath: nil, credentials: credentials, profileName: "default")
    }

    /// A server and a client of it, both closed afterwards.
    static func run(
        credentials: Site.Credentials = .fixed("t"), file: ProfileFile = ProfileFile(path: "/nowhere/config.json"),
        _ answer: @escaping @Sendable (LoopbackServer.Request, Int) -> LoopbackServer.Reply,
        _ body: (APIClient, LoopbackServer) async throws -> Void
    ) async throws {
        let server = try await LoopbackServer(answer)
        try await APIClient.with(
            site(server.endpoint, credentials), file: file, retries: .init(pauses: [.zero, .zero, .zero])
        ) {
            client in
            try await body(client, server)
        }
        try await server.close()
    }

    @Test("POST carries one idempotency key through all attempts, and none of another request")
    func idempotency() async throws {
        try await Self.run({ _, count in
            switch count {
            case 1: .init(status: .serviceUnavailable)
            case 2: .init(hangsUp: true)
            default: .init(body: #"{"id":"1"}"#)
            }
        }) { client, server in
            #expect(try await client.post("/v1/instances", ["name": .string("a")]) == ["id": .string("1")])
            _ = try await client.post("/v1/instances", ["name": .string("b")])
            let keys = server.requests.map { $0.headers.first(name: "idempotency-key") }
            #expect(keys.count == 4)
            #expect(Set(keys[0...2]).count == 1 && keys[0] != nil && keys[3] != keys[0])
            #expect(server.requests[0].text == #"{"name":"a"}"#)
            #expect(server.requests.allSatisfy { $0.headers.first(name: "authorization") == "Bearer t" })
        }
    }

    @Test("a request whose path says all has no body, and a key all the same")
    func bare() async throws {
        try await Self.run({ _, _ in .init() }) { client, server in
            _ = try await client.post(bare: "/v1/images/1/deactivate")
            _ = try await client.put("/v1/images/1/shares/a")
            #expect(server.requests.allSatisfy { $0.body.isEmpty && $0.headers["content-type"].isEmpty })
            #expect(server.requests[0].headers.first(name: "idempotency-key") != nil)
        }
    }

    @Test("DELETE is not sent again when its answer was lost")
    func deletion() async throws {
        try await Self.run({ _, _ in .init(hangsUp: true) }) { client, server in
            let failure = await #expect(throws: Failure.self) { _ = try await client.delete("/v1/keypairs/a") }
            #expect(failure?.kind == .unreachable)
            #expect(server.requests.count == 1)
        }
    }

    @Test("a manager that is never ready is given up on")
    func unready() async throws {
        try await Self.run({ _, _ in .init(status: .serviceUnavailable, body: #"{"detail":"starting"}"#) }) {
            client, server in
            let failure = await #expect(throws: Failure.self) { _ = try await client.get("/v1/nodes") }
            #expect(failure?.sentence == "starting")
            #expect(server.requests.count == 4)
        }
    }

    @Test("all pages become one list")
    func pages() async throws {
        try await Self.run({ request, _ in
            request.path.contains("after=c%2F1")
                ? .init(body: #"{"items":[3],"next":null}"#) : .init(body: #"{"items":[1,2],"next":"c/1"}"#)
        }) { client, server in
            let list = try await client.list("/v1/instances", ["status": "ERROR", "node": nil])
            #expect(list == .list([.whole(1), .whole(2), .whole(3)]))
            #expect(
                server.requests.map(\.path) == [
                    "/v1/instances?status=ERROR&limit=1000", "/v1/instances?status=ERROR&limit=1000&after=c%2F1",
                ])
        }
    }

    @Test("a cursor that stands still ends the list")
    func standstill() async throws {
        try await Self.run({ _, _ in .init(body: #"{"items":[1],"next":"x"}"#) }) { client, server in
            _ = try await client.list("/v1/instances")
            #expect(server.requests.count == 2)
        }
    }

    @Test("an expired token is renewed once, kept, and the request sent again")
    func renewal() async throws {
        let folder = ScratchFolder()
        let answer: @Sendable (LoopbackServer.Request, Int) -> LoopbackServer.Reply = { request, _ in
            if request.path == "/oauth/token" { return .init(body: #"{"access_token":"new","refresh_token":"r2"}"#) }
            return request.headers.first(name: "authorization") == "Bearer new"
                ? .init() : .init(status: .unauthorized, body: #"{"detail":"expired"}"#)
        }
        try await Self.run(credentials: .kept(access: "old"), file: folder.file, answer) { client, server in
            let profile = Profile(endpoint: server.endpoint, accessToken: "old", refreshToken: "r/1")
            try await folder.file.locked { file in try file.write(["default": profile]) }
            _ = try await client.post("/v1/flavors")
            #expect(server.requests.map(\.path) == ["/v1/flavors", "/oauth/token", "/v1/flavors"])
            #expect(server.requests[1].text == "grant_type=refresh_token&refresh_token=r%2F1&client_id=roost")
            #expect(server.requests[1].headers.first(name: "authorization") == nil)
            #expect(try folder.file.read()["default"]?.accessToken == "new")
        }
    }

    @Test("a token from the environment is not renewed; the person is told to sign in")
    func fixed() async throws {
        try await Self.run({ _, _ in .init(status: .unauthorized, body: #"{"detail":"expired"}"#) }) { client, server in
            let failure = await #expect(throws: Failure.self) { _ = try await client.get("/v1/nodes") }
            #expect(failure?.kind == .unauthorised)
            #expect(server.requests.count == 1)
        }
    }

    @Test("a file is streamed whole, with its length and its progress")
    func upload() async throws {
        let folder = ScratchFolder()
        try FileManager.default.createDirectory(atPath: folder.path, withIntermediateDirectories: true)
        let content = (0..<(FileUpload.pieceBytes * 2 + 17)).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        try Data(content).write(to: URL(fileURLWithPath: folder.path + "/image"))
        try await Self.run({ _, _ in .init(status: .accepted, body: #"{"operation_id":"o"}"#) }) { client, server in
            let seen = Mutex<[Int64]>([])
            let upload = try FileUpload(folder.path + "/image") { sent in seen.withLock { $0.append(sent) } }
            let answer = try await client.upload(
                "/v1/images/1/file",
                RoostClient.FilePart(
                    body: .stream(upload, length: .known(upload.length)), offset: 0, total: upload.length))
            #expect(answer["operation_id"].text == "o")
            #expect(server.requests[0].body == content)
            #expect(server.requests[0].headers.first(name: "content-length") == "\(content.count)")
            #expect(server.requests[0].headers.first(name: "content-type") == "application/octet-stream")
            #expect(server.requests[0].headers.first(name: "upload-offset") == "0")
            #expect(server.requests[0].headers.first(name: "upload-complete") == "?1")
            #expect(server.requests[0].headers.first(name: "upload-length") == "\(content.count)")
            let expected = [FileUpload.pieceBytes, FileUpload.pieceBytes * 2, content.count].map(Int64.init)
            #expect(seen.withLock { $0 } == expected)
        }
    }

    @Test("nobody listening is said at once")
    func refused() async throws {
        let server = try await LoopbackServer { _, _ in .init() }
        let endpoint = server.endpoint
        try await server.close()
        try await APIClient.with(Self.site(endpoint), file: ProfileFile(path: "/nowhere"), retries: .never) { client in
            let failure = await #expect(throws: Failure.self) { _ = try await client.get("/v1/nodes") }
            #expect(failure == Failure(.connection(.refused, .init(endpoint: endpoint))))
        }
    }

    @Test("an operation is waited for until it ends; a restart of the manager in between does not matter")
    func waiting() async throws {
        try await Self.run({ _, count in
            switch count {
            case 1: .init(body: #"{"id":"o","status":"running","progress":10}"#)
            case 2...6: .init(hangsUp: true)
            default: .init(body: #"{"id":"o","status":"failed","error":{"code":"x","detail":"no disk left"}}"#)
            }
        }) { client, server in
            let wait = OperationWait(client, TableTests.printer(.table), seconds: 60)
            let failure = await #expect(throws: Failure.self) { try await wait.success(of: "o") }
            #expect(failure?.sentence == "no disk left")
            #expect(server.requests[0].path == "/v1/operations/o?wait=30")
        }
    }

    @Test("references are escaped, and cannot leave their collection")
    func references() throws {
        #expect(try path("images", "a/../b?c#d é") == "/v1/images/a%2F..%2Fb%3Fc%23d%20%C3%A9")
        for wrong in ["", ".", ".."] { #expect(throws: Failure.self) { _ = try path("images", wrong) } }
    }
}
