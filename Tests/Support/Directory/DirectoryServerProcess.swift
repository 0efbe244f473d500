import Foundation

/// A real slapd for tests with the people of `people.ldif`, which ends with the process that started it.
public final class DirectoryServerProcess: Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    public static let people = "ou=people,dc=example,dc=org"
    public static let reader = "cn=reader,dc=example,dc=org"

    /// The server that tests share which do not stop it.
    public static func shared() throws -> DirectoryServerProcess { try sharedResult.get() }
    private static let sharedResult = Result { try DirectoryServerProcess() }

    /// Where its certificates are.
    public let folder: String
    public let port: Int
    public let tlsPort: Int
    private let process: Process
    private let commands: FileHandle
    private let answers: FileHandle

    public init() throws {
        let (input, output) = (Pipe(), Pipe())
        process = Process()
        process.executableURL = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("directory-server")
        process.standardInput = input
        process.standardOutput = output
        commands = input.fileHandleForWriting
        answers = output.fileHandleForReading
        try process.run()
        let words = try Self.line(answers).split(separator: " ").map(String.init)
        guard words.count == 4, words[0] == "ready", let port = Int(words[2]), let tlsPort = Int(words[3]) else {
            throw Failure(description: "no directory could be started; are slapd and ldap-utils installed?")
        }
        folder = words[1]
        self.port = port
        self.tlsPort = tlsPort
    }

    deinit {
        try? commands.close()
        process.waitUntilExit()
    }

    public var authority: String { folder + "/ca.pem" }
    /// An authority that signed nothing here.
    public var stranger: String { folder + "/stranger.pem" }
    public var authorities: String { folder + "/authorities" }

    /// Ends the server; returns when nobody answers any more.
    public func stop() throws {
        try commands.write(contentsOf: Data("stop\n".utf8))
        guard try Self.line(answers) == "stopped" else { throw Failure(description: "slapd could not be stopped") }
    }

    /// Starts the server that `stop` ended, on the same ports.
    public func start() throws {
        try commands.write(contentsOf: Data("start\n".utf8))
        guard try Self.line(answers).hasPrefix("ready") else {
            throw Failure(description: "slapd could not be started")
        }
    }

    private static func line(_ answers: FileHandle) throws -> String {
        var line = Data()
        while let byte = try answers.read(upToCount: 1), !byte.isEmpty, byte.first != UInt8(ascii: "\n") {
            line += byte
        }
        return String(decoding: line, as: UTF8.self)
    }
}
