import AsyncHTTPClient
import Foundation
import ManagerModel
import NIOHTTP1
import NIOSSL
import ProtocolModel
import Synchronization
import Testing

@testable import ManagerImageSources

@Suite("Fetching images", .timeLimit(.minutes(2)))
struct ImageFetcherTests {
    private static let file = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7 >> 3) }

    private func fetcher(
        _ names: [String: [String]] = [:], allowed: Set<String> = ["files.test", "other.test"],
        change: (inout ImageFetcher.Settings) -> Void = { _ in }
    ) throws -> ImageFetcher {
        var settings = ImageFetcher.Settings()
        settings.allowedHosts = allowed
        settings.backoff = Backoff(first: .milliseconds(1), maximum: .milliseconds(2))
        change(&settings)
        var all = ["files.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]]
        all.merge(names) { $1 }
        return try ImageFetcher(settings, resolver: Names(all))
    }

    private func address(
        _ server: FileServer, _ path: String = "/image", host: String = "files.test"
    ) throws -> ImageAddress {
        try ImageAddress("http://\(host):\(server.port)\(path)")
    }

    /// Serves the file, and parts of it, under a tag.
    @Sendable private static func serve(_ request: FileServer.Request, breaksOffAt: Int? = nil) -> FileServer.Reply {
        var reply = FileServer.Reply(headers: ["etag": "\"one\""], body: file, breaksOffAt: breaksOffAt)
        let range = request.headers.first(name: "range")
        if let range, request.headers.first(name: "if-range") == "\"one\"",
            let first = Int(range.dropFirst(6).dropLast()), first < file.count
        {
            reply.status = .partialContent
            reply.headers.add(name: "content-range", value: "bytes \(first)-\(file.count - 1)/\(file.count)")
            reply.body = Array(file[first...])
        }
        return reply
    }

    @Test("a file comes whole, with its size and its tag, and unpacked by nobody")
    func whole() async throws {
        let server = try await FileServer { Self.serve($0) }
        let sink = MemorySink()
        try await fetcher().fetch(try address(server), into: sink)
        #expect(await sink.bytes == Self.file)
        #expect(await sink.expected == 300_000)
        #expect(await sink.tag == "\"one\"")
        #expect(server.requests[0].headers.first(name: "accept-encoding") == "identity")
        #expect(server.requests[0].headers.first(name: "host")?.hasPrefix("files.test") == true)
        await server.close()
    }

    @Test("what breaks off is gone on with, as often as it takes while bytes come")
    func resumes() async throws {
        let server = try await FileServer { Self.serve($0, breaksOffAt: $0.number < 10 ? 30_000 : nil) }
        let sink = MemorySink()
        try await fetcher().fetch(try address(server), into: sink)
        #expect(await sink.bytes == Self.file)
        #expect(server.requests.count == 10)
        #expect(server.requests[9].headers.first(name: "range") == "bytes=270000-")
        #expect(await sink.restarts == 0)
        await server.close()
    }

    @Test("after a restart the tag is enough; without one, or where the file has changed, it comes from its start")
    func resumesAfterARestart() async throws {
        for (tag, restarts, requests) in [("\"one\"", 0, 1), (nil, 1, 1), ("\"another\"", 1, 1)]
            as [(String?, Int, Int)]
        {
            let server = try await FileServer { Self.serve($0) }
            let sink = MemorySink(tag == "\"one\"" ? Array(Self.file[..<100_000]) : [1, 2, 3])
            try await fetcher().fetch(try address(server), entityTag: tag, into: sink)
            #expect(await sink.bytes == Self.file, "\(tag ?? "none")")
            #expect(await sink.restarts == restarts)
            #expect(server.requests.count == requests)
            await server.close()
        }
    }

    @Test("a server that never gets on is given up on")
    func givesUp() async throws {
        let server = try await FileServer { _ in .init(status: .serviceUnavailable) }
        let place = try address(server)
        await refused(.status) { try await fetcher().fetch(place, into: MemorySink()) }
        #expect(server.requests.count == 6)
        await server.close()
        // Nobody listens any more.
        await refused(.unreachable) { try await fetcher().fetch(place, into: MemorySink()) }
    }

    @Test("a server that stalls is asked again, and one that takes too long is left")
    func stalls() async throws {
        let server = try await FileServer { request in
            request.number == 1
                ? .init(headers: ["etag": "\"one\""], body: Array(Self.file[..<1000]), stalls: true)
                : Self.serve(request)
        }
        let sink = MemorySink()
        try await fetcher { $0.stallLimit = .milliseconds(300) }.fetch(try address(server), into: sink)
        #expect(await sink.bytes == Self.file)
        await server.close()
        let silent = try await FileServer { _ in .init(body: [1], stalls: true) }
        await refused(.timedOut) {
            try await fetcher { $0.timeLimit = .milliseconds(200) }.fetch(try address(silent), into: MemorySink())
        }
        await silent.close()
    }

    @Test("a host of which one address does not answer is asked at the next")
    func nextAddress() async throws {
        let server = try await FileServer { Self.serve($0) }
        let sink = MemorySink()
        try await fetcher(["files.test": ["::1", "127.0.0.1"]]).fetch(try address(server), into: sink)
        #expect(await sink.bytes == Self.file)
        #expect(server.requests.count == 1)
        await server.close()
    }

    @Test("errors of the server end it at once", arguments: [400, 401, 403, 404, 410, 451])
    func errors(status: Int) async throws {
        let server = try await FileServer { _ in .init(status: .init(statusCode: status)) }
        await refused(.status) { try await fetcher().fetch(try address(server), into: MemorySink()) }
        #expect(server.requests.count == 1)
        await server.close()
    }

    @Test("an answer that is packed for the way, or another part than was asked for, is refused")
    func oddAnswers() async throws {
        let packed = try await FileServer { _ in .init(headers: ["content-encoding": "gzip"], body: [1]) }
        await refused(.encoding) { try await fetcher().fetch(try address(packed), into: MemorySink()) }
        await packed.close()
        let shifted = try await FileServer { _ in
            .init(status: .partialContent, headers: ["content-range": "bytes 0-9/10"], body: Array(0..<10))
        }
        await refused(.changed) {
            try await fetcher().fetch(try address(shifted), entityTag: "\"x\"", into: MemorySink([1, 2]))
        }
        await shifted.close()
    }

    // MARK: SEC-04

    @Test(
        "SEC-04 hosts that are not on the public Internet are not asked",
        arguments: [
            "127.0.0.1", "::1", "10.0.0.1", "192.168.0.1", "169.254.169.254", "::ffff:127.0.0.1", "fd00::1", "0.0.0.0",
        ])
    func privateAddresses(address text: String) async throws {
        let server = try await FileServer { Self.serve($0) }
        let fetcher = try fetcher(["files.test": [text], text: [text]], allowed: [])
        await refused(.addressRefused) { try await fetcher.fetch(try address(server), into: MemorySink()) }
        // The address itself, in place of a name for it.
        let literal = text.contains(":") ? "[\(text)]" : text
        await refused(.addressRefused) {
            try await fetcher.fetch(try address(server, host: literal), into: MemorySink())
        }
        #expect(server.requests.isEmpty)
        await server.close()
    }

    @Test(
        "SEC-04 odd ways to write an address mean what the resolver says they do",
        arguments: ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost"])
    func oddAddresses(host: String) async throws {
        let server = try await FileServer { Self.serve($0) }
        let fetcher = try ImageFetcher(ImageFetcher.Settings(), resolver: SystemResolver())
        await refused(.addressRefused) {
            try await fetcher.fetch(try address(server, host: host), into: MemorySink())
        }
        #expect(server.requests.isEmpty)
        await server.close()
    }

    @Test("SEC-04 a redirect is judged as the first address was")
    func redirects() async throws {
        let inner = try await FileServer { Self.serve($0) }
        for target in [
            "http://inner.test:\(inner.port)/x", "http://127.0.0.1:\(inner.port)/x", "//inner.test:\(inner.port)/x",
        ] {
            let server = try await FileServer { _ in .init(status: .found, headers: ["location": target]) }
            let fetcher = try fetcher(["inner.test": ["127.0.0.1"], "127.0.0.1": ["127.0.0.1"]])
            await refused(.addressRefused) { try await fetcher.fetch(try address(server), into: MemorySink()) }
            await server.close()
        }
        for target in ["file:///etc/shadow", "ftp://other.test/x", "http://a:b@other.test/", ""] {
            let server = try await FileServer { _ in .init(status: .found, headers: ["location": target]) }
            await #expect(throws: FetchError.self) {
                try await fetcher().fetch(try address(server, target.isEmpty ? "/loop" : "/image"), into: MemorySink())
            }
            await server.close()
        }
        #expect(inner.requests.isEmpty)
        // A redirect to where one may go is followed.
        let server = try await FileServer { request in
            request.path == "/image"
                ? .init(status: .movedPermanently, headers: ["location": "next#part"]) : Self.serve(request)
        }
        let sink = MemorySink()
        try await fetcher().fetch(try address(server), into: sink)
        #expect(await sink.bytes == Self.file)
        #expect(server.requests.map(\.path) == ["/image", "/next"])
        await server.close()
        await inner.close()
    }

    @Test("SEC-04 a name is resolved once: that it means another host later changes nothing")
    func rebinding() async throws {
        let server = try await FileServer { Self.serve($0) }
        // Public at first, this host the next time anybody asks; and one that is both at once.
        let names = Names(["evil.test": ["93.184.216.34"], "both.test": ["127.0.0.1", "93.184.216.34"]])
        names.then["evil.test"] = ["127.0.0.1"]
        let fetcher = try ImageFetcher(ImageFetcher.Settings(), resolver: names)
        let (evil, both) = (try address(server, host: "evil.test"), try address(server, host: "both.test"))
        let public_ = NetworkAddress("93.184.216.34")
        #expect(try await fetcher.permitted(evil) == [public_])
        #expect(fetcher.configuration(evil, try #require(public_)).dnsOverride == ["evil.test": "93.184.216.34"])
        #expect(try await fetcher.permitted(both) == [public_])
        await refused(.addressRefused) { try await fetcher.fetch(evil, into: MemorySink()) }
        #expect(server.requests.isEmpty)
        // And the address that was judged is the one that is used: only this resolver knows the name at all, and what it
        // would say next is not asked.
        let once = Names(["only-here.test": ["127.0.0.1"]])
        once.then["only-here.test"] = ["127.0.0.2"]
        var settings = ImageFetcher.Settings()
        settings.allowedHosts = ["only-here.test"]
        let sink = MemorySink()
        try await ImageFetcher(settings, resolver: once).fetch(try address(server, host: "only-here.test"), into: sink)
        #expect(await sink.bytes == Self.file)
        #expect(server.requests.count == 1)
        await server.close()
    }

    @Test("the setting for private addresses opens all of them")
    func allowed() async throws {
        let server = try await FileServer { Self.serve($0) }
        let fetcher = try fetcher(["lan.test": ["127.0.0.1"]], allowed: []) { $0.allowsPrivateAddresses = true }
        let sink = MemorySink()
        try await fetcher.fetch(try address(server, host: "lan.test"), into: sink)
        #expect(await sink.bytes == Self.file)
        await refused(.unresolved) {
            try await fetcher.fetch(try address(server, host: "nowhere.test"), into: MemorySink())
        }
        await server.close()
    }

    // MARK: Certificates

    @Test("certificates are verified, also their names; https does not become http")
    func certificates() async throws {
        let authority = try TestAuthority()
        let server = try await FileServer(tls: try authority.context(for: "files.test")) { request in
            request.path == "/down"
                ? .init(status: .found, headers: ["location": "http://other.test/x"]) : Self.serve(request)
        }
        func https(_ host: String, _ path: String = "/image") throws -> ImageAddress {
            try ImageAddress("https://\(host):\(server.port)\(path)")
        }
        await refused(.certificate) { try await fetcher().fetch(try https("files.test"), into: MemorySink()) }
        let pem = Array(try authority.certificatePEM.utf8)
        let trusting = try fetcher { $0.authorityPEM = pem }
        let sink = MemorySink()
        try await trusting.fetch(try https("files.test"), into: sink)
        #expect(await sink.bytes == Self.file)
        await refused(.certificate) { try await trusting.fetch(try https("other.test"), into: MemorySink()) }
        await refused(.redirect) { try await trusting.fetch(try https("files.test", "/down"), into: MemorySink()) }
        await server.close()
    }

    private func refused(
        _ code: FetchError.Code, at location: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
    ) async {
        let error = await #expect(throws: FetchError.self, sourceLocation: location) { try await body() }
        #expect(error?.code == code, "\(error?.sentence ?? "-")", sourceLocation: location)
        #expect((error?.sentence.count ?? 0) > 15, sourceLocation: location)
    }
}

/// Keeps what is fetched.
actor MemorySink: FetchSink {
    private(set) var bytes: [UInt8]
    private(set) var tag: String?
    private(set) var expected: Int64?
    private(set) var restarts = 0

    init(_ bytes: [UInt8] = []) { self.bytes = bytes }

    var byteCount: Int64 { Int64(bytes.count) }

    func restart() {
        bytes = []
        restarts += 1
    }

    func append(_ new: [UInt8]) { bytes += new }

    func learn(entityTag: String?, expectedBytes: Int64?) {
        tag = entityTag
        expected = expectedBytes
    }
}

/// Knows a few names; what `then` says of one holds from the second question on.
final class Names: HostResolver {
    private let state: Mutex<(names: [String: [String]], later: [String: [String]])>

    init(_ names: [String: [String]]) { state = Mutex((names, [:])) }

    var then: [String: [String]] {
        get { state.withLock { $0.later } }
        set { state.withLock { $0.later = newValue } }
    }

    func addresses(of host: String) async throws -> [NetworkAddress] {
        state.withLock { state in
            defer { if let later = state.later.removeValue(forKey: host) { state.names[host] = later } }
            return (state.names[host] ?? []).compactMap { NetworkAddress($0) }
        }
    }
}
