import Foundation
import Glibc
import ManagerLifecycle
import Subprocess

/// The site's own program that makes sure that a host runs nothing: an argument vector, run without a shell and with nothing of
/// the manager's environment.
struct FencingCommand: Sendable, Equatable {
    private let program: String
    private let arguments: [String]
    private let after: Duration
    private let timeLimit: Duration
    private let mostAtOnce: Int

    private static let mostSaid = 4096

    /// `nil` for an empty vector.
    init?(arguments vector: [String], after: Duration, timeLimit: Duration, mostAtOnce: Int = 3) {
        guard let program = vector.first else { return nil }
        self.program = program
        arguments = Array(vector.dropFirst())
        self.after = after
        self.timeLimit = timeLimit
        self.mostAtOnce = mostAtOnce
    }

    /// - Throws: `SiteError` where the program could not be run.
    func checked() throws(SiteError) -> FencingCommand {
        guard program.hasPrefix("/"), access(program, X_OK) == 0 else {
            throw .files("fencing.command begins with '\(program)', which is not the whole path of a program")
        }
        return self
    }

    var rules: FencingRules {
        FencingRules(
            command: URL(fileURLWithPath: program).lastPathComponent, after: after, timeLimit: timeLimit,
            mostAtOnce: mostAtOnce)
    }

    /// What the placeholders stand for.
    static func filled(_ argument: String, for order: FencingOrder) -> String {
        argument.replacing("{node}", with: order.name).replacing("{id}", with: "\(order.node)")
            .replacing("{address}", with: order.address)
    }

    /// Runs it to its end or its time limit, whichever comes first; then, and where it is cancelled, it is killed.
    func run(_ order: FencingOrder) async -> FencingOutcome {
        await withTaskGroup(of: FencingOutcome.self) { group in
            group.addTask { await execute(order) }
            group.addTask {
                try? await Task.sleep(for: timeLimit)
                return .failed("it took longer than \(timeLimit.components.seconds) s and was ended")
            }
            let first = await group.next() ?? .failed("it was not run")
            group.cancelAll()
            return first
        }
    }

    private func execute(_ order: FencingOrder) async -> FencingOutcome {
        var options = PlatformOptions()
        // It may start others, which end with it.
        options.createSession = true
        options.teardownSequence = [
            .send(signal: .kill, toProcessGroup: true, allowedDurationToNextStep: .zero)
        ]
        // Found in its own folder first, and so there.
        let folder = URL(fileURLWithPath: program).deletingLastPathComponent().path
        do {
            let result = try await Subprocess.run(
                .name(rules.command), arguments: Arguments(arguments.map { Self.filled($0, for: order) }),
                environment: .custom(["PATH": "\(folder):/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"]),
                platformOptions: options, input: .none, output: .sequence, error: .combinedWithOutput
            ) { execution in
                // All of it is read, so that it never waits for that; the beginning is for people.
                var said: [UInt8] = []
                for try await buffer in execution.standardOutput where said.count < Self.mostSaid {
                    buffer.withUnsafeBytes { said += $0.prefix(Self.mostSaid - said.count) }
                }
                return said
            }
            if result.terminationStatus.isSuccess { return .fenced }
            let words = String(decoding: result.closureResult, as: UTF8.self).split(whereSeparator: \.isNewline).prefix(
                3
            )
            .joined(separator: "; ")
            return .failed(
                "it ended with \(result.terminationStatus)" + (words.isEmpty ? "" : ": \(words.prefix(300))"))
        } catch {
            return .failed("it could not be run: \(error)".prefix(300).description)
        }
    }
}
