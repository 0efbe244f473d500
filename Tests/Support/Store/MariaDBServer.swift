import Foundation
public import ManagerStore
import Synchronization

/// A real MariaDB server for tests, which ends with the process that started it.
public final class MariaDBServer: Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    public static let user = "roost"
    public static let password = "a password"

    /// The server that tests share which do not harm it.
    public static func shared() throws -> MariaDBServer { try sharedResult.get() }
    private static let sharedResult = Result { try MariaDBServer() }

    /// Where the server keeps its data, its socket and its certificates.
    public let folder: String
    public let port: Int
    private let process: Process
    private let commands: FileHandle
    private let answers: FileHandle
    private let databases = Mutex(0)

    /// Starts a server; takes some seconds.
    ///
    /// - Parameter base: the folder in which its own is made.
    public init(_ options: [String] = [], in base: String? = nil) throws {
        let (input, output) = (Pipe(), Pipe())
        process = Process()
        process.executableURL = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("mariadb-server")
        process.arguments = options
        if let base {
            process.environment = ProcessInfo.processInfo.environment.merging(["ROOST_TEST_MARIADB_BASE": base]) { $1 }
        }
        process.standardInput = input
        process.standardOutput = output
        commands = input.fileHandleForWriting
        answers = output.fileHandleForReading
        try process.run()
        let words = try Self.ready(answers)
        folder = words.folder
        port = words.port
        _ = try administer(
            """
            CREATE USER '\(Self.user)'@'%' IDENTIFIED BY '\(Self.password)';
            GRANT ALL ON `roost\\_%`.* TO '\(Self.user)'@'%'
            """)
    }

    deinit {
        try? commands.close()
        process.waitUntilExit()
    }

    private static func ready(_ answers: FileHandle) throws -> (folder: String, port: Int) {
        var line = Data()
        while let byte = try answers.read(upToCount: 1), !byte.isEmpty, byte.first != UInt8(ascii: "\n") {
            line += byte
        }
        let words = String(decoding: line, as: UTF8.self).split(separator: " ").map(String.init)
        guard words.count == 3, words[0] == "ready", let port = Int(words[2]) else {
            throw Failure(description: "no MariaDB server could be started; is mariadb-server installed?")
        }
        return (words[1], port)
    }

    /// Ends the server as a crash would.
    public func kill() throws {
        try commands.write(contentsOf: Data("kill\n".utf8))
        // The socket's owner is gone once nobody answers.
        while (try? administer("SELECT 1")) != nil {}
    }

    /// Starts the server that `kill` ended, on the same port.
    public func start() throws {
        try commands.write(contentsOf: Data("start\n".utf8))
        _ = try Self.ready(answers)
    }

    /// Runs SQL as the server's root.
    ///
    /// - Returns: the rows, as `mariadb` prints them.
    @discardableResult
    public func administer(_ sql: String) throws -> String {
        let (client, output) = (Process(), Pipe())
        client.executableURL = URL(fileURLWithPath: "/usr/bin/mariadb")
        client.arguments = ["--no-defaults", "-N", "-B", "-u", "root", "-S", folder + "/socket", "-e", sql]
        client.standardOutput = output
        client.standardError = output
        try client.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        client.waitUntilExit()
        guard client.terminationStatus == 0 else { throw Failure(description: text) }
        return text
    }

    /// A new, empty database.
    public func makeDatabase() throws -> String {
        let number = databases.withLock { count in
            count += 1
            return count
        }
        let name = "roost_test_\(number)"
        try administer("CREATE DATABASE \(name)")
        return name
    }

    /// - Parameter hosts: as in the URL; by default this server alone.
    public func location(
        of database: String, hosts: String? = nil, options: String = "", password: String = MariaDBServer.password
    ) throws -> StoreLocation {
        try StoreLocation(
            "mariadb://\(Self.user)@\(hosts ?? "127.0.0.1:\(port)")/\(database)\(options)",
            password: StoreSecret(password))
    }
}
