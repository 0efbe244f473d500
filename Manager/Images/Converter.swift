import Foundation
import Glibc
import ManagerImageHeaders

/// Runs `qemu-img` on a file that was inspected: format forced, no shell, in a sandbox, bounded in memory, processor
/// time, file size and time on the wall.
struct Converter: Sendable {
    static let program = "/usr/bin/qemu-img"
    /// What the file is called in the folder, and what comes of it. Plain names, which no program takes for a protocol.
    static let source = "source"
    static let target = "raw"
    private static let folderSetter = "/usr/bin/env"
    private static let addressSpaceBytes = 4 << 30

    /// `qemu-img`'s own words for what is in the source.
    let format: String
    /// Holds the source and gets the target. It is the working directory, so that the program need not be able to pass
    /// the folders above, which are the manager's own.
    let folder: String
    let virtualSize: Int64

    /// Seconds on the wall: a slow disk writes 20 MB/s.
    var timeLimit: Int64 { 300 + virtualSize / 20_000_000 }

    /// The whole argument vector.
    func commandLine(in sandbox: ConverterSandbox) -> [String] {
        let limits = [
            ConverterSandbox.limiter, "--as=\(Self.addressSpaceBytes)", "--cpu=\(timeLimit)", "--core=0", "--nofile=64",
            // A little more than the raw image: a VHD may be rounded up to whole cylinders.
            "--fsize=\(virtualSize + (64 << 20))", "--",
        ]
        // Written from the beginning to the end (no -W), since it is read behind; and not flushed, since after a crash it is
        // made anew.
        let convert = [
            Self.program, "convert", "-p", "-f", format, "-O", "raw", "-T", "none", "-t", "unsafe", Self.source,
            Self.target,
        ]
        return [Self.folderSetter, "--chdir=\(folder)"] + sandbox.namespaces + limits + sandbox.credentials + convert
    }

    /// - Parameter progress: is told percents as they grow.
    func run(
        in sandbox: ConverterSandbox, progress: @escaping @Sendable (Int) -> Void
    ) async throws(ImageError) {
        var command = commandLine(in: sandbox)
        for program in [Self.program, ConverterSandbox.limiter] where access(program, X_OK) != 0 {
            throw .converterMissing(program)
        }
        let executable = command.removeFirst()
        let arguments = command
        let limit = timeLimit
        do {
            let outcome = try await withThrowingTaskGroup(of: ChildProgram.Outcome.self) { group in
                group.addTask { try await ChildProgram.run(executable, arguments, progress: progress) }
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

    private func judge(_ outcome: ChildProgram.Outcome, limit: Int64) throws(ImageError) {
        switch outcome {
        case .succeeded: return
        case .timedOut: throw .conversionTimedOut(seconds: limit)
        case .failed(let words):
            if words.contains("No space left") { throw .diskFull(path: folder) }
            throw .conversionFailed(words)
        }
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
