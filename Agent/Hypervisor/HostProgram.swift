import Foundation
import Subprocess

/// Runs a program of the host with an argument vector; no shell sees any of it (SEC-03).
enum HostProgram {
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    /// Ends the program after `limit`.
    static func run(_ name: String, _ arguments: [String], limit: Duration = .seconds(60)) async throws {
        let status = try await exitStatus(name, arguments, limit: limit)
        guard status.code == 0 else {
            let reason = status.words.split(whereSeparator: \.isNewline).prefix(3).joined(separator: "; ")
            throw Failure(
                description: "\(name) failed: \(reason.isEmpty ? "exit status \(status.code ?? -1)" : reason)")
        }
    }

    /// The exit code, `nil` where a signal or the limit ended it, and what it wrote to its error stream.
    static func exitStatus(
        _ name: String, _ arguments: [String], limit: Duration
    ) async throws -> (code: Int32?, words: String) {
        let (program, path) = try located(name)
        return try await withThrowingTaskGroup(of: (Int32?, String)?.self) { group in
            group.addTask {
                var options = PlatformOptions()
                options.teardownSequence = [.send(signal: .kill, allowedDurationToNextStep: .zero)]
                let result = try await Subprocess.run(
                    .name(program), arguments: Arguments(arguments),
                    environment: .custom(["PATH": path, "LC_ALL": "C"]),
                    platformOptions: options, output: .discarded, error: .string(limit: 64 * 1024))
                if case .exited(let code) = result.terminationStatus { return (code, result.standardError) }
                return (nil, result.standardError)
            }
            group.addTask {
                try await Task.sleep(for: limit)
                return nil
            }
            defer { group.cancelAll() }
            let first = try await group.next() ?? nil
            return first ?? (nil, "\(name) took longer than \(limit)")
        }
    }

    /// An absolute path is told as a name and the folder to look into first: subprocess takes paths only in a type of a
    /// package that nothing else here needs.
    private static func located(_ name: String) throws -> (program: String, path: String) {
        let path = "/usr/sbin:/usr/bin:/sbin:/bin"
        guard let slash = name.lastIndex(of: "/") else { return (name, path) }
        guard name.hasPrefix("/"), !name[..<slash].contains(":"), access(name, X_OK) == 0 else {
            throw Failure(description: "'\(name)' is not the absolute path of a program that can be run")
        }
        return (String(name[name.index(after: slash)...]), name[..<slash] + ":" + path)
    }
}
