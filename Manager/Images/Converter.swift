import Foundation
import Glibc
import ManagerImageHeaders
import Subprocess

/// Runs `qemu-img` on a file that was inspected: format forced, no shell, no network, bounded in memory, processor
/// time, file size and time on the wall.
struct Converter: Sendable {
    static let program = "/usr/bin/qemu-img"
    private static let limiter = "/usr/bin/prlimit"
    private static let namespace = "/usr/bin/unshare"
    private static let addressSpaceBytes = 4 << 30

    /// `qemu-img`'s own words for what is in `source`.
    let format: String
    let source: String
    let target: String
    let virtualSize: Int64

    /// Seconds on the wall: a slow disk writes 20 MB/s.
    var timeLimit: Int64 { 300 + virtualSize / 20_000_000 }

    /// Whether a namespace without network can be made: root can, outside of containers that forbid it.
    static func canIsolate() async -> Bool {
        guard geteuid() == 0, access(namespace, X_OK) == 0 else { return false }
        guard case .succeeded? = try? await execute(namespace, ["--net", "--", "/bin/true"]) else { return false }
        return true
    }

    /// The whole argument vector.
    func commandLine(isolated: Bool) -> [String] {
        let limits = [
            Self.limiter, "--as=\(Self.addressSpaceBytes)", "--cpu=\(timeLimit)", "--core=0",
            // A little more than the raw image: a VHD may be rounded up to whole cylinders.
            "--fsize=\(virtualSize + (64 << 20))", "--",
        ]
        let convert = [
            Self.program, "convert", "-p", "-f", format, "-O", "raw", "-T", "none", "-t", "writeback", source, target,
        ]
        return (isolated ? [Self.namespace, "--net", "--"] : []) + limits + convert
    }

    /// - Parameter progress: is told percents as they grow.
    func run(isolated: Bool, progress: @escaping @Sendable (Int) -> Void) async throws(ImageError) {
        var command = commandLine(isolated: isolated)
        for program in [Self.program, Self.limiter] where access(program, X_OK) != 0 {
            throw .converterMissing(program)
        }
        let executable = command.removeFirst()
        let arguments = command
        let limit = timeLimit
        do {
            let outcome = try await withThrowingTaskGroup(of: Outcome.self) { group in
                group.addTask { try await Self.execute(executable, arguments, progress: progress) }
                group.addTask {
                    try await Task.sleep(for: .seconds(limit))
                    return .timedOut
                }
                let first = try await group.next() ?? .timedOut
                group.cancelAll()
                return first
            }
            try judge(outcome, limit: limit)
        } catch let error as ImageError {
            throw error
        } catch is CancellationError {
            throw .cancelled
        } catch {
            throw Task.isCancelled ? .cancelled : .conversionFailed("\(error)")
        }
    }

    private enum Outcome: Sendable {
        case succeeded
        case failed(String)
        case timedOut
    }

    private func judge(_ outcome: Outcome, limit: Int64) throws(ImageError) {
        switch outcome {
        case .succeeded: return
        case .timedOut: throw .conversionTimedOut(seconds: limit)
        case .failed(let words):
            if words.contains("No space left") { throw .diskFull(path: target) }
            throw .conversionFailed(words)
        }
    }

    private static func execute(
        _ executable: String, _ arguments: [String], progress: @Sendable (Int) -> Void = { _ in }
    ) async throws -> Outcome {
        var options = PlatformOptions()
        // Nothing of value is lost with a conversion, so it ends at once when the import is cancelled.
        options.teardownSequence = [.send(signal: .kill, allowedDurationToNextStep: .zero)]
        let result = try await Subprocess.run(
            .name(URL(fileURLWithPath: executable).lastPathComponent), arguments: Arguments(arguments),
            environment: .custom(["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"]),
            platformOptions: options, input: .none, output: .sequence, error: .string(limit: 64 * 1024)
        ) { execution in
            for try await buffer in execution.standardOutput {
                let words = buffer.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
                if let percent = percent(in: words) { progress(percent) }
            }
        }
        if result.terminationStatus.isSuccess { return .succeeded }
        let words = result.standardError
        let line = words.split(whereSeparator: \.isNewline).prefix(3).joined(separator: "; ")
        return .failed(line.isEmpty ? "qemu-img ended with \(result.terminationStatus)" : String(line.prefix(500)))
    }

    /// The last of `(12.34/100%)` in what `qemu-img -p` wrote; one that was cut in two is left out.
    static func percent(in words: String) -> Int? {
        guard let end = words.range(of: "/100%)", options: .backwards),
            let start = words.range(of: "(", options: .backwards, range: words.startIndex..<end.lowerBound),
            let percent = Double(words[start.upperBound..<end.lowerBound]), (0...100).contains(percent)
        else { return nil }
        return Int(percent)
    }
}

extension ImageFormat {
    /// What `qemu-img` calls the format; `nil` where the file is the raw image already and no program need open it.
    var converterName: String? {
        switch self {
        case .raw, .iso: nil
        case .qcow2: "qcow2"
        case .vmdk: "vmdk"
        case .vhd: "vpc"
        case .vdi: "vdi"
        }
    }
}
