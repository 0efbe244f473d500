import Testing

@testable import AgentNetwork

@Suite("Is the guest ready?")
struct ReadinessProbeTests {
    private let probe = ReadinessProbe(limit: .seconds(1))

    @Test(
        "ssh is ready when a server says that it is one (IMG-14)",
        arguments: [
            ("SSH-2.0-OpenSSH_9.2\r\n", true), ("HTTP/1.1 400 Bad Request\r\n", false), ("SSH", false), ("", false),
        ])
    func banner(_ text: String, _ isReady: Bool) async throws {
        let server = try LoopbackServer(.says(text))
        defer { server.close() }
        #expect(await probe.sshAnswers(at: "127.0.0.1", port: server.port) == isReady)
        #expect(server.connections == 1)
    }

    @Test("a port that is closed, a server that is silent, and an address that is none are not ready")
    func absent() async throws {
        let silent = try LoopbackServer(.silence)
        defer { silent.close() }
        #expect(await !probe.sshAnswers(at: "127.0.0.1", port: silent.port))
        #expect(await !probe.sshAnswers(at: "127.0.0.1", port: 1))
        for address in ["", "localhost", "127.0.0.1 ", "::1"] {
            #expect(await !probe.sshAnswers(at: address, port: silent.port))
        }
        #expect(silent.connections == 1)
    }

    private static func page(_ status: String, _ more: String = "") -> String {
        "HTTP/1.1 \(status)\r\nContent-Length: 0\r\nConnection: close\r\n\(more)\r\n"
    }

    @Test(
        "a service is ready when its page answers (IMG-13)", arguments: ["200 OK", "404 Not Found", "401 Unauthorized"])
    func page(_ status: String) async throws {
        let server = try LoopbackServer(.page(Self.page(status)))
        defer { server.close() }
        #expect(await probe.pageAnswers("http://{}:\(server.port)/", address: "127.0.0.1"))
        #expect(await probe.pageAnswers("http://{}:\(server.port)", address: "127.0.0.1"))
        #expect(server.connections == 2)
    }

    @Test("a page that never comes, or is no page, is not ready")
    func noPage() async throws {
        let silent = try LoopbackServer(.silence)
        let other = try LoopbackServer(.says("SSH-2.0-OpenSSH_9.2\r\n"))
        defer {
            silent.close()
            other.close()
        }
        #expect(await !probe.pageAnswers("http://{}:\(silent.port)/", address: "127.0.0.1"))
        #expect(await !probe.pageAnswers("http://{}:\(other.port)/", address: "127.0.0.1"))
        #expect(await !probe.pageAnswers("http://{}:1/", address: "127.0.0.1"))
    }

    @Test("no address but the guest's own is ever asked (SEC-16)")
    func otherHosts() async throws {
        let other = try LoopbackServer(.page(Self.page("200 OK")), address: "127.0.0.2")
        let port = other.port
        let redirecting = try LoopbackServer(
            .page(Self.page("302 Found", "Location: http://127.0.0.2:\(port)/\r\n")))
        defer {
            other.close()
            redirecting.close()
        }
        for template in [
            "http://127.0.0.2:\(port)/", "http://127.0.0.2:\(port)/?{}", "http://{}@127.0.0.2:\(port)/",
            "http://{}:x@127.0.0.2:\(port)/", "http://127.0.0.2:\(port)#{}", "ftp://{}:\(port)/", "file:///etc/passwd",
            "unix:/{}", "http://{}.example:\(port)/", "{}", "", "http://", "http+unix://{}/",
        ] {
            #expect(await !probe.pageAnswers(template, address: "127.0.0.1"), "\(template)")
        }
        _ = await probe.pageAnswers("http://{}:\(redirecting.port)/", address: "127.0.0.1")
        #expect(redirecting.connections == 1)
        #expect(other.connections == 0)
    }
}
