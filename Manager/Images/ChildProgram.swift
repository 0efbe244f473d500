import Foundation
import Glibc
import Subprocess

/// Runs a program by its argument vector, with nothing of the manager's environment.
enum ChildProgram {
    enum Outcome: Sendable {
        case succeeded
        /// What it said of it.
        case failed(String)
        case timedOut
    }

    /// - Parameter progress: hears the percents that `qemu-img -p` writes.
    static func run(
        _ executable: String, _ arguments: [String], progress: @Sendable (Int) -> Void = { _ in }
    ) async throws -> Outcome {
        var options = PlatformOptions()
        // Nothing of value is lost, so it ends at once when it is cancelled.
        options.teardownSequence = [.send(signal: .kill, allowedDurationToNextStep: .zero)]
        let result = try await Subprocess.run(
            .name(URL(fileURLWithPath: executable).lastPathComponent), arguments: Arguments(arguments),
            environment: .custom(["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"]),
            platformOptions: options, input: .none, output: .sequence, error: .string(limit: 64 * 1024)
        ) { execution in
            for try await buffer in execution.standardOutput {
                let words = buffer.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
                if let percent = Converter.percent(in: words) { progress(percent) }
            }
        }
        if result.terminationStatus.isSuccess { return .succeeded }
        let words = result.standardError
        let line = words.split(whereSeparator: \.isNewline).prefix(3).joined(separator: "; ")
        let name = arguments.contains(Converter.program) ? "qemu-img" : executable
        return .failed(line.isEmpty ? "\(name) ended with \(result.terminationStatus)" : String(line.prefix(500)))
    }
}
