import CZlib
import HTTPTypes
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI
@testable import ManagerIdentity

/// What the door does to all requests and answers alike.
@Suite("The door")
struct DoorTests {
    // MARK: Compression

    @Test(
        "gzip is used where the client reads it",
        arguments: [
            ("gzip", true), ("GZIP", true), ("deflate, gzip;q=0.5", true), ("*", true), ("br;q=1, *;q=0.1", true),
            ("x-gzip", true), ("", false), ("identity", false), ("gzip;q=0", false), ("gzip; q=0.000", false),
            ("*;q=0", false), ("gzip;q=0, *", false), ("deflate", false), ("gzipped", false),
        ])
    func accepts(header: String, wanted: Bool) {
        #expect(Gzip.isAccepted(by: header) == wanted)
    }

    @Test("what is compressed says so, and is what was said")
    func compressed() async throws {
        let site = try await TestSite()
        let (plain, gzip, tagged) = try await site.test { client in
            (
                try await client.get("/v1/openapi.json"),
                try await client.get("/v1/openapi.json", headers: ["Accept-Encoding": "gzip"]),
                try await client.get("/v1/users/me", as: "ann", headers: ["Accept-Encoding": "gzip"])
            )
        }
        #expect(plain.header("Content-Encoding") == nil)
        #expect(plain.header("Vary") == "Accept-Encoding")
        #expect(gzip.header("Content-Encoding") == "gzip")
        #expect(gzip.header("Vary") == "Accept-Encoding")
        #expect(gzip.bytes.count < plain.bytes.count / 4)
        #expect(gzip.bytes.starts(with: [0x1F, 0x8B]))
        #expect(try Self.inflated(gzip.bytes) == plain.bytes)
        // A strong tag stands for its bytes.
        #expect(tagged.header("Content-Encoding") == nil && tagged.header("ETag") != nil)
    }

    @Test("nothing is compressed that becomes no shorter")
    func incompressible() {
        var random = SystemRandomNumberGenerator()
        #expect(Gzip.compress((0..<4096).map { _ in UInt8.random(in: 0...255, using: &random) }) == nil)
        #expect(Gzip.compress([]) == nil)
    }

    private static func inflated(_ bytes: [UInt8]) throws -> [UInt8] {
        var stream = z_stream()
        try #require(inflateInit2_(&stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK)
        defer { inflateEnd(&stream) }
        var input = bytes
        return [UInt8](unsafeUninitializedCapacity: 4 << 20) { output, count in
            input.withUnsafeMutableBufferPointer { input in
                stream.next_in = input.baseAddress
                stream.avail_in = UInt32(input.count)
                stream.next_out = output.baseAddress
                stream.avail_out = UInt32(output.count)
                if inflate(&stream, Z_FINISH) == Z_STREAM_END { count = Int(stream.total_out) }
            }
        }
    }

    // MARK: Other origins

    @Test("no page of another origin may read the API unless the site says so")
    func crossOriginOff() async throws {
        let site = try await TestSite()
        let replies = try await site.test { client in
            [
                try await client.get("/healthz", headers: ["Origin": "https://evil.example"]),
                try await client.send(
                    .options, "/v1/flavors",
                    headers: ["Origin": "https://evil.example", "Access-Control-Request-Method": "GET"]),
            ]
        }
        for reply in replies {
            #expect(reply.headers.allSatisfy { !$0.name.canonicalName.hasPrefix("access-control-") })
            #expect(reply.header("Vary") == nil)
        }
    }

    @Test("pages of named origins may, and others not")
    func crossOrigin() throws {
        let some = try #require(CrossOrigin(["https://portal.example.org", "http://localhost:3000"]))
        #expect(some.headers(for: "https://portal.example.org")[0].value == "https://portal.example.org")
        for other in ["https://portal.example.org.evil.example", "http://portal.example.org", "null", "*"] {
            #expect(some.headers(for: other).isEmpty)
            #expect(some.preflight(for: other, methods: "GET").isEmpty)
        }
        #expect(some.headers(for: nil).isEmpty)
        #expect(some.preflight(for: "http://localhost:3000", methods: "GET, POST")[0].value == "GET, POST")
        #expect(CrossOrigin(["*"])?.headers(for: "https://any.example")[0].value == "*")
        for wrong in [
            "portal.example.org", "https://portal.example.org/", "ftp://x", "https://", "https://a b", "null",
        ] {
            #expect(CrossOrigin([wrong]) == nil)
        }
    }

    // MARK: How much a user may ask

    @Test("a budget allows so many at once, and then evenly as many in each window")
    func budget() {
        let limit = RateLimit(requests: 10, window: .seconds(10))
        let start = Uptime(sinceStart: .seconds(100))
        var budget = RequestBudget(at: start)
        for used in 1...10 {
            #expect(
                budget.take(limit, at: start) == .init(isAllowed: true, remaining: 10 - used, wait: .seconds(used)))
        }
        #expect(budget.take(limit, at: start) == .init(isAllowed: false, remaining: 0, wait: .seconds(1)))
        // What is refused costs nothing.
        #expect(budget.take(limit, at: start + .milliseconds(999)).isAllowed == false)
        #expect(budget.take(limit, at: start + .seconds(1)) == .init(isAllowed: true, remaining: 0, wait: .seconds(10)))
        #expect(budget.take(limit, at: start + .seconds(1)).isAllowed == false)
        #expect(budget.take(limit, at: start + .seconds(100)).remaining == 9)
    }

    @Test("each user has a budget of their own, and superusers none")
    func limiter() {
        let limiter = RateLimiter(RateLimit(requests: 1, window: .seconds(60)))
        let now = Uptime(sinceStart: .seconds(1))
        let (ann, bob) = (
            UserID.generate(at: Timestamp(milliseconds: 1)), UserID.generate(at: Timestamp(milliseconds: 2))
        )
        #expect(limiter.take(ann, isPrivileged: false, at: now)?.standing.isAllowed == true)
        #expect(limiter.take(ann, isPrivileged: false, at: now)?.standing.isAllowed == false)
        #expect(limiter.take(bob, isPrivileged: false, at: now)?.standing.isAllowed == true)
        #expect(limiter.take(ann, isPrivileged: true, at: now) == nil)
        #expect(RateLimiter(nil).take(ann, isPrivileged: false, at: now) == nil)
        let all = RateLimiter(RateLimit(requests: 1, window: .seconds(60), holdsForAll: true))
        #expect(all.take(ann, isPrivileged: true, at: now) != nil)
    }

    @Test("the answer says what is left, and 429 when to go on")
    func limited() async throws {
        let site = try await TestSite(rateLimit: RateLimit(requests: 2, window: .seconds(3600)))
        let replies = try await site.test { client in
            [
                try await client.get("/v1/users/me", as: "ann"), try await client.get("/v1/nothing", as: "ann"),
                try await client.get("/v1/instances/none", as: "ann"), try await client.get("/v1/users/me", as: "ann"),
                try await client.get("/v1/users/me", as: "bob"), try await client.get("/v1/users/me", as: "root"),
            ]
        }
        #expect(replies.map(\.status) == [200, 404, 404, 429, 200, 200])
        #expect(replies[0].header("RateLimit-Policy") == "\"user\";q=2;w=3600")
        // However long the requests take here, an hour is not over.
        #expect(replies[0].header("RateLimit") == "\"user\";r=1;t=1800")
        #expect(replies[2].header("RateLimit")?.hasPrefix("\"user\";r=0;t=3") == true)
        #expect(replies[3].code == "rate_limited")
        let wait = replies[3].header("Retry-After").flatMap { Int($0) } ?? 0
        #expect((1...1800).contains(wait))
        #expect(replies[5].header("RateLimit") == nil)
    }

    @Test(
        "a superuser or a service is one by any token; a role of the site's own is none; acting as another counts as oneself"
    )
    func privileged() async throws {
        let site = try await TestSite()
        try await site.store.write { sql in
            try sql.roles.insert(
                RoleDefinition(
                    name: "watcher", rights: Rights([.eventRead: .all]),
                    createdAt: SystemTime().timestamp))
        }
        try await site.add("billing", roles: ["accountant_service"], account: "default")
        try await site.add("watcher", roles: ["user", "watcher"], account: "default")
        let tokens = site.services.tokens
        for (name, isPrivileged) in [("root", true), ("billing", true), ("ann", false), ("watcher", false)] {
            #expect(try await tokens.verify(bearer: site.token(name)).isPrivileged == isPrivileged, "\(name)")
        }
        let narrow = try await tokens.signIn(
            name: "root", password: TestSite.password, address: "127.0.0.1", scope: try TokenScope("flavors:read"))
        #expect(try await tokens.verify(bearer: narrow.access).isPrivileged)
        let root = try await tokens.verify(bearer: site.token("root"))
        let acting = try await tokens.masquerade(
            as: try #require(site.users["ann"]), by: root, actor: root.actor(request: nil, from: nil))
        let principal = try await tokens.verify(bearer: acting.access)
        #expect(principal.isPrivileged && principal.sender == root.userID && principal.name == "ann")
    }

    // MARK: Changes

    @Test("a change is a merge patch by either name of its type")
    func mergePatch() async throws {
        let site = try await TestSite()
        try await site.test { client in
            let made = try await client.post(
                "/v1/aggregates", ["name": "gpu", "metadata": ["a": "1", "b": "2"]], as: "root")
            #expect(made.status == 201)
            let change: JSONValue = ["metadata": ["a": nil, "c": "3"]]
            let merged = try await client.send(
                .patch, "/v1/aggregates/gpu", as: "root", body: change.bytes, type: "application/merge-patch+json")
            #expect(merged.status == 200)
            #expect(merged.json["metadata"] == ["b": "2", "c": "3"])
            let emptied = try await client.patch("/v1/aggregates/gpu", ["metadata": nil], as: "root")
            #expect(emptied.json["metadata"] == [:])
            let other = try await client.send(
                .patch, "/v1/aggregates/gpu", as: "root", body: change.bytes, type: "application/json-patch+json")
            #expect(other.status == 415)
            #expect(other.header("Accept-Patch") == "application/json, application/merge-patch+json")
            let posted = try await client.send(
                .post, "/v1/aggregates", as: "root", body: change.bytes, type: "application/merge-patch+json")
            #expect(posted.status == 415)
        }
    }

    // MARK: Names of requests

    @Test("every answer names its request, an error's document too")
    func requestIDs() async throws {
        let site = try await TestSite()
        let replies = try await site.test { client in
            [
                try await client.get("/healthz"), try await client.get("/nowhere"),
                try await client.get("/v1/users/me", as: "ann", headers: ["X-Request-ID": "abcdefgh-1"]),
                try await client.get("/v1/flavors", headers: ["X-Request-ID": "short"]),
            ]
        }
        for reply in replies { #expect(reply.header("X-Request-ID")?.isEmpty == false) }
        #expect(replies[2].header("X-Request-ID") == "abcdefgh-1")
        #expect(replies[3].header("X-Request-ID") != "short")
        #expect(replies[1].json["instance"]?.string == "urn:roost:request:\(replies[1].header("X-Request-ID") ?? "")")
    }
}
