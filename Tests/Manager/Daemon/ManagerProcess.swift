import AsyncHTTPClient
import Foundation
import Glibc
import NIOCore
import NIOHTTP1
import NIOSSL
import Testing

/// The program `roost-manager` as it was built, on a folder and on ports of its own.
final class ManagerProcess: Sendable {
    struct Answer: Sendable {
        var status: Int
        var headers: String
        var body: String

        /// A member of the answer's top object.
        subscript(name: String) -> String? {
            let object = try? JSONSerialization.jsonObject(with: Data(body.utf8)) as? [String: Any]
            return object?[name] as? String
        }
    }

    let folder: String
    /// What `init` printed.
    let greeting: String
    let logPath: String
    private let http: HTTPClient
    /// Of the API, of agents, of chunks.
    let ports: [Int]
    private var port: Int { ports[0] }
    private let process: Process

    /// Makes a site and starts its manager, which logs all that it can.
    static func start(logLevel: String = "trace", settings: [String] = []) async throws -> ManagerProcess {
        let folder = NSTemporaryDirectory() + "roost-daemon-\(UUID().uuidString)"
        let data = folder + "/data"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let greeting = try run(["init", "--data", data])
        return try await start(in: folder, greeting: greeting, logLevel: logLevel, settings: settings)
    }

    private static func start(
        in folder: String, greeting: String, logLevel: String, settings: [String]
    ) async throws -> ManagerProcess {
        for _ in 0..<5 {
            if let manager = try await ManagerProcess(
                folder: folder, greeting: greeting, logLevel: logLevel, settings: settings)
            {
                return manager
            }
        }
        throw Failure("the manager did not start: \(try String(contentsOfFile: folder + "/log", encoding: .utf8))")
    }

    struct Failure: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    static let program: String = {
        let tests = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        // swift-testing may run in a helper: then the bundle is named among its arguments.
        let candidates = [tests] + CommandLine.arguments
        let folders = candidates.map { URL(fileURLWithPath: $0).deletingLastPathComponent().path }
        return folders.map { $0 + "/roost-manager" }.first { FileManager.default.isExecutableFile(atPath: $0) } ?? ""
    }()

    private static func run(_ arguments: [String]) throws -> String {
        let (process, output) = (Process(), Pipe())
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure("\(arguments): \(process.terminationStatus)") }
        return text
    }

    /// `nil` where a port was taken meanwhile.
    private init?(folder: String, greeting: String, logLevel: String, settings more: [String]) async throws {
        self.folder = folder
        self.greeting = greeting
        logPath = folder + "/log"
        ports = try Self.freePorts(3)
        _ = FileManager.default.createFile(atPath: logPath, contents: nil)
        let log = try #require(FileHandle(forWritingAtPath: logPath))
        process = Process()
        process.executableURL = URL(fileURLWithPath: Self.program)
        process.arguments = ["run", "--data", folder + "/data"]
        let settings =
            [
                "api.host=127.0.0.1", "agents.host=127.0.0.1", "chunks.host=127.0.0.1", "api.port=\(ports[0])",
                "agents.port=\(ports[1])", "chunks.port=\(ports[2])", "log.level=\(logLevel)",
            ] + more.map { $0.replacingOccurrences(of: "FOLDER", with: folder) }
        process.arguments? += settings.flatMap { ["--set", $0] }
        process.standardOutput = log
        process.standardError = log
        try process.run()
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(folder + "/data/ca.pem")
        http = HTTPClient(configuration: .init(tlsConfiguration: tls))
        let end = ContinuousClock.now + .seconds(30)
        while process.isRunning, ContinuousClock.now < end {
            if (try? await send("GET", "/readyz"))?.status == 200 { return }
            try await Task.sleep(for: .milliseconds(50))
        }
        try await http.shutdown()
        if process.isRunning { process.terminate() }
        process.waitUntilExit()
        return nil
    }

    static func freePorts(_ count: Int) throws -> [Int] {
        var sockets: [Int32] = []
        defer { for socket in sockets { close(socket) } }
        return try (0..<count).map { _ in
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            sockets.append(descriptor)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let isBound = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
                }
            }
            guard isBound else { throw Failure("no free port") }
            return Int(UInt16(bigEndian: address.sin_port))
        }
    }

    func send(
        _ method: String, _ path: String, _ body: String? = nil, type: String = "application/json",
        token: String? = nil, headers: [String: String] = [:]
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: "https://localhost:\(port)\(path)")
        request.method = .init(rawValue: method)
        if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body {
            request.headers.add(name: "Content-Type", value: type)
            request.body = .bytes(ByteBuffer(string: body))
        }
        let response = try await http.execute(request, timeout: .seconds(20))
        let bytes = try await response.body.collect(upTo: 16 << 20)
        return Answer(
            status: Int(response.status.code), headers: "\(response.headers)", body: String(buffer: bytes))
    }

    func form(_ path: String, _ body: String) async throws -> Answer {
        try await send("POST", path, body, type: "application/x-www-form-urlencoded")
    }

    /// What every user of the host can read of the process, and its environment.
    func processTable() throws -> String {
        try ["cmdline", "environ", "comm", "status"].map { name in
            String(
                decoding: try Data(contentsOf: URL(fileURLWithPath: "/proc/\(process.processIdentifier)/\(name)")),
                as: UTF8.self)
        }.joined(separator: "\n")
    }

    struct Holdings: Sendable {
        var descriptors: Int
        var threads: Int
        /// Resident memory of its own, without that of files.
        var memoryBytes: Int
    }

    func holdings() throws -> Holdings {
        let folder = "/proc/\(process.processIdentifier)"
        let status = try String(contentsOfFile: folder + "/status", encoding: .utf8)
        let line = status.split(separator: "\n").first { $0.hasPrefix("RssAnon:") }
        return Holdings(
            descriptors: try FileManager.default.contentsOfDirectory(atPath: folder + "/fd").count,
            threads: try FileManager.default.contentsOfDirectory(atPath: folder + "/task").count,
            memoryBytes: try #require(line?.split(separator: " ").dropFirst().first.flatMap { Int($0) }) * 1024)
    }

    var log: String { get throws { try String(contentsOfFile: logPath, encoding: .utf8) } }

    func file(_ name: String) throws -> String { try String(contentsOfFile: folder + "/data/" + name, encoding: .utf8) }

    /// The files of the record, whose bytes hold all that it keeps.
    func record() -> Data {
        ["", "-wal"].reduce(into: Data()) { all, suffix in
            all += (try? Data(contentsOf: URL(fileURLWithPath: folder + "/data/roost.sqlite" + suffix))) ?? Data()
        }
    }

    /// Asks the manager to stop, and waits for it.
    ///
    /// - Returns: its exit status, and how long it took.
    func stop() async throws -> (status: Int32, after: Duration) {
        try await http.shutdown()
        let start = ContinuousClock.now
        process.terminate()
        let end = start + .seconds(30)
        while process.isRunning, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(20)) }
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
        return (process.terminationStatus, ContinuousClock.now - start)
    }

    /// Kills the manager in the middle of whatever it does, and starts another on the same folder.
    func killed() async throws -> ManagerProcess {
        try await http.shutdown()
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        return try await again()
    }

    /// Starts another on the folder of this one, which has ended.
    func again() async throws -> ManagerProcess {
        try await Self.start(in: folder, greeting: greeting, logLevel: "info", settings: [])
    }

    /// A token of the first superuser.
    func signIn() async throws -> String {
        let password = try file("admin-password").trimmingCharacters(in: .whitespacesAndNewlines)
        let tokens = try await form("/oauth/token", "grant_type=password&username=admin&password=\(password)")
        return try #require(tokens["access_token"], "\(tokens)")
    }

    /// Where its API is.
    var address: String { "https://localhost:\(ports[0])" }

    func remove() { try? FileManager.default.removeItem(atPath: folder) }
}
