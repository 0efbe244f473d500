import Foundation

/// A real SMTP server for tests (aiosmtpd), which ends with the process that started it.
public final class MailServerProcess: @unchecked Sendable {
    // SAFETY: the answers are read by one test at a time.
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    public struct Message: Decodable, Sendable {
        public var from: String
        public var to: [String]
        public var secure: Bool
        public var user: String?
        public var headers: [String: String]
        public var text: String
    }

    public let folder: String
    public let port: Int
    private let process: Process
    private let commands: FileHandle
    private let answers: FileHandle

    public init(_ kind: String, user: String? = nil, password: String = "") throws {
        folder = NSTemporaryDirectory() + "roost-mail-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        let (input, output) = (Pipe(), Pipe())
        process = Process()
        process.executableURL = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("mail-server")
        process.arguments = [kind, folder] + (user.map { [$0, password] } ?? [])
        process.standardInput = input
        process.standardOutput = output
        commands = input.fileHandleForWriting
        answers = output.fileHandleForReading
        try process.run()
        let words = try Self.line(answers).split(separator: " ")
        guard words.count == 2, words[0] == "ready", let port = Int(words[1]) else {
            throw Failure(description: "no mail server could be started; is python3-aiosmtpd installed?")
        }
        self.port = port
    }

    deinit {
        try? commands.close()
        process.waitUntilExit()
        try? FileManager.default.removeItem(atPath: folder)
    }

    public var authority: String { folder + "/ca.pem" }
    public var stranger: String { folder + "/stranger.pem" }

    /// The next message that the server took. Blocks until there is one.
    public func next() throws -> Message {
        try JSONDecoder().decode(Message.self, from: Data(Self.line(answers).utf8))
    }

    private static func line(_ answers: FileHandle) throws -> String {
        var line = Data()
        while let byte = try answers.read(upToCount: 1), !byte.isEmpty, byte.first != UInt8(ascii: "\n") {
            line += byte
        }
        return String(decoding: line, as: UTF8.self)
    }
}
