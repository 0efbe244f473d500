import AsyncHTTPClient
import Foundation
import Glibc
import NIOCore
import NIOHTTP1
import NIOSSL
import Synchronization
import Testing
import TestsSupportStore

/// Three managers on one database behind a real HAProxy with the configuration that is shipped, all on loopback.
final class ManagerCluster: Sendable {
    struct Member: Sendable {
        let name: String
        let folder: String
        let api: Int
        let agents: Int
        let chunks: Int
        var logPath: String { folder + ".log" }
    }

    let folder: String
    let members: [Member]
    /// The proxy's ports.
    let api: Int
    let agents: Int
    let password: String
    private let server: MariaDBServer
    private let url: String
    private let processes = Mutex<[String: Process]>([:])
    private let http: HTTPClient

    static let program = ManagerProcess.program

    init() throws {
        server = try MariaDBServer()
        let database = try server.makeDatabase()
        url = "mariadb://\(MariaDBServer.user)@127.0.0.1:\(server.port)/\(database)?tls=unverified"
        let folder = NSTemporaryDirectory() + "roost-cluster-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        self.folder = folder
        let ports = try ManagerProcess.freePorts(11)
        members = (0..<3).map { index in
            Member(
                name: "m\(index + 1)", folder: folder + "/m\(index + 1)", api: ports[3 * index],
                agents: ports[3 * index + 1], chunks: ports[3 * index + 2])
        }
        (api, agents) = (ports[9], ports[10])
        let first = members[0]
        try Self.run(["init", "--data", first.folder, "--set", "store.url=\(url)"])
        password = try String(contentsOfFile: first.folder + "/admin-password", encoding: .utf8)
            .trimmingCharacters(in: .whitespacesAndNewlines)
        for member in members.dropFirst() {
            try Self.run(["init", "--data", member.folder, "--from", first.folder, "--set", "store.url=\(url)"])
        }
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(first.folder + "/ca.pem")
        var configuration = HTTPClient.Configuration(tlsConfiguration: tls)
        // A connection that is kept would go on with the manager that it was made to.
        configuration.connectionPool.idleTimeout = .milliseconds(1)
        // One that is dead is asked once, not for as long as the library likes.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.timeout.connect = .seconds(1)
        http = HTTPClient(configuration: configuration)
    }

    func end() async throws {
        try await http.shutdown()
        for process in processes.withLock({ $0.values }) where process.isRunning {
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        try? FileManager.default.removeItem(atPath: folder)
    }

    private static var environment: [String: String] {
        ProcessInfo.processInfo.environment.merging(["ROOST_STORE_PASSWORD": MariaDBServer.password]) { $1 }
    }

    /// Runs the program to its end.
    @discardableResult
    static func run(_ arguments: [String]) throws -> String {
        let (process, output) = (Process(), Pipe())
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.environment = environment
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw ManagerProcess.Failure("\(arguments): \(text)") }
        return text
    }

    /// A command on one manager's host.
    func command(_ words: String..., on member: Member) throws -> String {
        try Self.run(words + ["--data", member.folder, "--set", "store.url=\(url)"])
    }

    func start(_ member: Member) throws {
        let settings = [
            "store.url=\(url)", "manager.name=\(member.name)", "api.host=127.0.0.1", "agents.host=127.0.0.1",
            "chunks.host=127.0.0.1", "api.port=\(member.api)", "agents.port=\(member.agents)",
            "chunks.port=\(member.chunks)", "api.advertise=127.0.0.1:\(member.api)",
            "agents.advertise=127.0.0.1:\(member.agents)", "chunks.advertise=127.0.0.1:\(member.chunks)",
            "agents.heartbeat_interval_ms=500",
        ]
        try launch(
            member.name, Self.program, ["run", "--data", member.folder] + settings.flatMap { ["--set", $0] },
            log: member.logPath)
    }

    func startAll() throws { for member in members { try start(member) } }

    private func launch(_ name: String, _ program: String, _ arguments: [String], log path: String) throws {
        if !FileManager.default.fileExists(atPath: path) {
            _ = FileManager.default.createFile(atPath: path, contents: nil)
        }
        let log = try #require(FileHandle(forWritingAtPath: path))
        try log.seekToEnd()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.environment = Self.environment
        process.standardOutput = log
        process.standardError = log
        try process.run()
        processes.withLock { $0[name] = process }
    }

    /// The shipped configuration, with this test's addresses in place of the documentation's.
    func startProxy() throws {
        let shipped = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../../packaging/haproxy/haproxy.cfg")
        var text = try String(contentsOf: shipped, encoding: .utf8)
        func replace(_ old: String, _ new: String) throws {
            try #require(text.contains(old), "the configuration has no '\(old)' any more")
            text = text.replacingOccurrences(of: old, with: new)
        }
        // A proxy wants to be allowed so many files, which a test's process may not be.
        try replace("maxconn 60000", "maxconn 1000")
        try replace("bind :7400", "bind 127.0.0.1:\(api)")
        try replace("bind :7401", "bind 127.0.0.1:\(agents)")
        try replace("/etc/haproxy/roost-ca.pem", members[0].folder + "/ca.pem")
        for (index, member) in members.enumerated() {
            try replace("192.0.2.1\(index + 1):7401 port 7400", "127.0.0.1:\(member.agents) port \(member.api)")
            try replace("192.0.2.1\(index + 1):7400", "127.0.0.1:\(member.api)")
        }
        try text.write(toFile: folder + "/haproxy.cfg", atomically: true, encoding: .utf8)
        try launch(
            "proxy", "/usr/sbin/haproxy", ["-db", "-f", folder + "/haproxy.cfg"], log: folder + "/haproxy.log")
    }

    func send(_ signal: Int32, to name: String) {
        guard let process = processes.withLock({ $0[name] }) else { return }
        kill(process.processIdentifier, signal)
        if signal == SIGKILL { process.waitUntilExit() }
    }

    func waitForEnd(of name: String) -> Int32 {
        guard let process = processes.withLock({ $0[name] }) else { return -1 }
        process.waitUntilExit()
        return process.terminationStatus
    }

    /// A request through the proxy, or to one manager.
    func request(
        _ method: String, _ path: String, _ body: String? = nil, token: String? = nil, to member: Member? = nil,
        type: String = "application/json"
    ) async throws -> ManagerProcess.Answer {
        var request = HTTPClientRequest(url: "https://localhost:\(member?.api ?? api)\(path)")
        request.method = .init(rawValue: method)
        if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        if let body {
            request.headers.add(name: "Content-Type", value: type)
            request.body = .bytes(ByteBuffer(string: body))
        }
        let response = try await http.execute(request, timeout: .seconds(10))
        let bytes = try await response.body.collect(upTo: 16 << 20)
        return ManagerProcess.Answer(
            status: Int(response.status.code), headers: "\(response.headers)", body: String(buffer: bytes))
    }

    /// Reads an event stream of one manager until a text comes, having done something once the stream is open.
    func follow(
        _ path: String, of member: Member, token: String, until text: String, within limit: Duration,
        _ body: () async throws -> Void
    ) async throws -> String {
        var request = HTTPClientRequest(url: "https://localhost:\(member.api)\(path)")
        request.headers.add(name: "Authorization", value: "Bearer \(token)")
        request.headers.add(name: "Accept", value: "text/event-stream")
        let response = try await http.execute(
            request, deadline: .now() + .nanoseconds(Int64(limit / .nanoseconds(1))))
        try await body()
        var heard = ""
        for try await part in response.body {
            heard += String(buffer: part)
            if heard.contains(text) { break }
        }
        return heard
    }

    func signIn() async throws -> String {
        let answer = try await request(
            "POST", "/oauth/token", "grant_type=password&username=admin&password=\(password)",
            type: "application/x-www-form-urlencoded")
        return try #require(answer["access_token"], "\(answer)")
    }

    /// The manager whose own word is that it leads.
    func leader() async -> Member? {
        for member in members {
            if (try? await request("GET", "/readyz?role=leader", to: member))?.status == 200 { return member }
        }
        return nil
    }

    /// Waits for a level.
    ///
    /// - Returns: how long it took.
    @discardableResult
    func eventually(
        _ what: String, within limit: Duration, _ condition: () async throws -> Bool
    ) async throws -> Duration {
        let start = ContinuousClock.now
        while ContinuousClock.now - start < limit {
            if (try? await condition()) == true { return ContinuousClock.now - start }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw ManagerProcess.Failure("not within \(limit): \(what)\n\(logs)")
    }

    private var logs: String {
        (members.map(\.logPath) + [folder + "/haproxy.log"]).map { path in
            "== \(path)\n" + ((try? String(contentsOfFile: path, encoding: .utf8)) ?? "").suffix(3000)
        }.joined(separator: "\n")
    }
}
