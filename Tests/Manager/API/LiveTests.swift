import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import NIOCore
import ProtocolModel
import Synchronization
import Testing

@testable import ManagerAPI

/// What only shows on a real connection: streams, cut uploads, garbage instead of HTTP.
@Suite("Live connections")
struct LiveTests {
    /// A blocking connection to loopback, on a thread of its own where a test waits for it.
    final class Connection: Sendable {
        private let descriptor: Int32

        init(port: Int) throws {
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(UInt16(port).bigEndian)
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            guard result == 0 else { throw POSIXError(.ECONNREFUSED) }
            var limit = timeval(tv_sec: 10, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        }

        func write(_ text: String) { write(Array(text.utf8)) }

        func write(_ bytes: [UInt8]) {
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
                guard count > 0 else { return }
                rest = rest.dropFirst(count)
            }
        }

        /// Reads until the text holds `needle`, the peer closes, or 10 s pass.
        func read(until needle: String) -> String {
            var text: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65_536)
            while true {
                let count = recv(descriptor, &buffer, buffer.count, 0)
                guard count > 0 else { break }
                text += buffer.prefix(count)
                if String(decoding: text, as: UTF8.self).contains(needle) { break }
            }
            return String(decoding: text, as: UTF8.self)
        }

        func close() { shutdown(descriptor, Int32(SHUT_RDWR)) }

        deinit { _ = Foundation.close(descriptor) }
    }

    private func live<Value: Sendable>(
        _ site: TestSite, _ body: @escaping @Sendable (Client, Int) async throws -> Value
    ) async throws -> Value {
        try await site.application.test(.live) { client in
            let port = try #require(client.port)
            return try await body(Client(site: site, client: client), port)
        }
    }

    /// Runs blocking work off the cooperative pool.
    private func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
        }
    }

    @Test("events arrive as they happen, resume where they stopped, and show a user only their own")
    func events() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await live(site) { client, port in
            let token = site.token("ann")
            let connection = try Connection(port: port)
            connection.write(
                "GET /v1/events?after=0 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
                    + "Authorization: Bearer \(token)\r\n\r\n"
            )
            let first = try await blocking { connection.read(until: "instance.created") }
            #expect(first.contains("200 OK"))
            #expect(
                first.contains("content-type: text/event-stream") || first.contains("Content-Type: text/event-stream"))
            #expect(first.contains("event: user.created"))
            #expect(!first.contains("\"name\":\"bob\""))
            _ = try await client.post(
                "/v1/keypairs", ["name": "of-bob", "public_key": .string(Fixtures.ed25519)], as: "bob")
            _ = try await client.post(
                "/v1/keypairs", ["name": "of-ann", "public_key": .string(Fixtures.ed25519)], as: "ann")
            let next = try await blocking { connection.read(until: "of-ann") }
            #expect(next.contains("event: keypair.created"))
            #expect(!next.contains("of-bob"))
            connection.close()

            let sequence = try await site.store.read { try $0.events.lastSequence() }
            let again = try Connection(port: port)
            again.write(
                "GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nLast-Event-ID: \(sequence - 1)\r\n"
                    + "Authorization: Bearer \(token)\r\n\r\n")
            let resumed = try await blocking { again.read(until: "of-ann") }
            #expect(resumed.contains("id: \(sequence)\n"))
            #expect(!resumed.contains("instance.created"))
            again.close()
        }
        #expect(site.services.streams.count == 0)
    }

    @Test(
        "a stream ends when its reader may read no more",
        arguments: [
            ["enabled": false], ["role": "accountant_service"], ["password": "another password"],
        ] as [JSONValue])
    func streamRights(_ change: JSONValue) async throws {
        let site = try await TestSite()
        try await live(site) { client, port in
            let connection = try Connection(port: port)
            connection.write(
                "GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
                    + "Authorization: Bearer \(site.token("ann"))\r\n\r\n"
            )
            _ = try await blocking { connection.read(until: "roost events") }
            #expect(try await client.patch("/v1/users/ann", change, as: "root").status == 200)
            let rest = try await blocking { connection.read(until: "0\r\n\r\n") }
            #expect(rest.hasSuffix("0\r\n\r\n"))
            #expect(!rest.contains("user.changed"))
            connection.close()
        }
    }

    /// What a token can end by.
    enum Ending: CaseIterable {
        case revoked, sessionEnded, keyDeleted, expired, keysDiscarded, impersonatorDisabled
    }

    @Test("a stream ends with the token that it was asked for with", arguments: Ending.allCases)
    func streamToken(_ ending: Ending) async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await live(site) { client, port in
            let tokens = site.services.tokens
            let ann = try #require(site.users["ann"])
            let session = try await tokens.signIn(name: "ann", password: TestSite.password, address: "127.0.0.1")
            var token = session.access
            var key = ""
            switch ending {
            case .keyDeleted:
                let made = try await client.post("/v1/api-keys", ["name": "follower"], as: "ann").json
                key = made["id"]?.string ?? ""
                token = try await tokens.issue(key: key, secret: made["secret"]?.string ?? "", address: "").access
            case .impersonatorDisabled:
                try await site.add("boss", roles: ["superuser"], account: "default")
                let boss = try await tokens.verify(bearer: site.token("boss"))
                token = try await tokens.masquerade(
                    as: ann, by: boss, actor: boss.actor(request: nil, from: nil)
                ).access
            default: break
            }
            let newest = try await site.store.read { try $0.events.lastSequence() }
            let connection = try Connection(port: port)
            connection.write(
                "GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
                    + "Authorization: Bearer \(token)\r\n\r\n")
            let head = try await blocking { connection.read(until: "roost events") }
            #expect(head.contains("id: \(newest)\n: roost events"), "whoever comes back goes on from here")
            switch ending {
            case .revoked: try await tokens.revoke(token)
            case .sessionEnded: try await tokens.revoke(session.refresh ?? "")
            case .keyDeleted: #expect(try await client.delete("/v1/api-keys/\(key)", as: "ann").status == 204)
            case .expired: site.clock.advance(by: .seconds(901))
            case .keysDiscarded:
                let reply = try await client.post("/v1/signing-keys/rotate", ["discard_old": true], as: "root")
                #expect(reply.status == 201)
            case .impersonatorDisabled:
                #expect(try await client.patch("/v1/users/boss", ["enabled": false], as: "root").status == 200)
            }
            let now = site.clock.timestamp
            _ = try await site.store.write { sql in
                try sql.events.append(
                    "test.after", actor: .manager, owner: ann.id, resource: ResourceReference(fixtures.node), at: now)
            }
            let rest = try await blocking { connection.read(until: "0\r\n\r\n") }
            #expect(rest.hasSuffix("0\r\n\r\n"))
            #expect(!rest.contains("test.after"))
            connection.close()
        }
    }

    @Test("an upload that is cut waits for its rest, and passes for nothing until then (P7)", arguments: [true, false])
    func cutUpload(chunked: Bool) async throws {
        let site = try await TestSite()
        try await live(site) { client, port in
            let made = try await client.post("/v1/images", ["name": "cut"], as: "ann")
            let id = try #require(made.json["id"]?.string.flatMap { ImageID($0) })
            let connection = try Connection(port: port)
            let length = chunked ? "Transfer-Encoding: chunked" : "Content-Length: 1000000"
            connection.write(
                "PUT /v1/images/cut/file HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
                    + "Authorization: Bearer \(site.token("ann"))\r\n\(length)\r\n\r\n")
            connection.write(chunked ? "5\r\nhello\r\n" : "hello")
            while site.uploads.state.withLock({ $0.bytes[id]?.count }) != 5 { await Task.yield() }
            connection.close()
            // It waits for its rest, and passes for nothing until that has come.
            let waits: JSONValue = "waiting for the rest of the file"
            while try await client.get("/v1/images/cut", as: "ann").json["status_reason"] != waits {
                await Task.yield()
            }
            let cut = try await client.get("/v1/images/cut", as: "ann").json
            #expect(cut["status"] == "saving" && cut["upload_bytes"] == 5)
            site.uploads.state.withLock { state in
                #expect(state.bytes[id] == Array("hello".utf8))
                #expect(state.cancelled.isEmpty && state.finished.isEmpty)
            }
        }
    }

    @Test("what is not HTTP, or too much of it, is refused without harm to others")
    func garbage() async throws {
        let site = try await TestSite()
        let attacks = [
            "\u{16}\u{3}\u{1}garbage\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
            "GET /v1/users HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /v1/users HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            "GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + String(repeating: "a", count: 200_000) + "\r\n\r\n",
            "GET /" + String(repeating: "a", count: 200_000) + " HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /healthz HTTP/1.1\r\nHost: x\r\n" + String(repeating: "A: b\r\n", count: 5000) + "\r\n",
            "POST /oauth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        ]
        try await live(site) { client, port in
            for attack in attacks {
                let connection = try Connection(port: port)
                connection.write(attack)
                let answer = try await blocking { connection.read(until: "\r\n\r\n") }
                #expect(answer.isEmpty || answer.contains(" 4"), "\(attack.prefix(40)) \(answer.prefix(200))")
                connection.close()
            }
            #expect(try await client.get("/healthz").status == 200)
        }
    }

    @Test("a body that is much too large is answered and the connection closed")
    func flood() async throws {
        let site = try await TestSite()
        try await live(site) { client, port in
            let connection = try Connection(port: port)
            connection.write(
                "POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    + "Authorization: Bearer \(site.token("root"))\r\nContent-Length: 1000000000\r\n\r\n")
            let answer = try await blocking {
                let part = [UInt8](repeating: 0x20, count: 1 << 20)
                for _ in 0..<12 { connection.write(part) }
                return connection.read(until: "body_too_large")
            }
            #expect(answer.contains("413"))
            connection.close()
            #expect(try await client.get("/healthz").status == 200)
        }
    }
}
