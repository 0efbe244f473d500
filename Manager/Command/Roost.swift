import ArgumentParser
import Foundation

/// `roost`: the command line of a Roost site, a client of its API alone.
@main
struct Roost: AsyncParsableCommand {
    static let version = "0.1.0"
    static let configuration = CommandConfiguration(
        commandName: "roost", abstract: "Runs virtual machines on a Roost site.",
        discussion: """
            The site is found through ROOST_ENDPOINT and ROOST_CACERT, or what 'roost login' has kept. Shell completions: \
            roost --generate-completion-script bash
            """,
        version: "roost \(version)",
        subcommands: [
            LoginCommand.self, LogoutCommand.self, InstanceCommand.self, ImageCommand.self, FlavorCommand.self,
            NodeCommand.self, KeyCommand.self, UserCommand.self, UsageCommand.self, OperationCommand.self,
            EventCommand.self,
        ])

    /// Exit status: 0 done, 1 failed, 2 wrong usage.
    static func main() async {
        Foundation.exit(await perform())
    }

    private static func perform() async -> Int32 {
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return 0
        } catch let failure as Failure {
            for line in failure.lines { Output.complain(line) }
            return failure.isUsage ? 2 : 1
        } catch {
            let status = exitCode(for: error)
            if status == .success {
                print(fullMessage(for: error))
                return 0
            }
            guard status == .validationFailure else {
                Output.complain("error: \(error)")
                return 1
            }
            Output.complain(fullMessage(for: error))
            return 2
        }
    }
}

/// What went wrong, in lines for the person who called.
struct Failure: Error, Equatable {
    var lines: [String]
    var isUsage = false

    init(_ sentence: String, isUsage: Bool = false) {
        lines = ["error: \(sentence)"]
        self.isUsage = isUsage
    }

    init(lines: [String]) { self.lines = lines }

    /// Reads a problem document (RFC 9457), or an OAuth error (RFC 6749 §5.2).
    init(status: Int, body: [UInt8]) {
        guard let problem = try? JSON(bytes: body) else {
            self.init("the manager answered with HTTP status \(status)")
            return
        }
        let sentence =
            problem["detail"].text ?? problem["error_description"].text ?? problem["title"].text
            ?? "HTTP status \(status)"
        var lines = ["error: \(sentence.printable)"]
        for field in problem["errors"].items {
            lines.append("  \(field["pointer"].text?.printable ?? ""): \(field["detail"].text?.printable ?? "")")
        }
        for (filter, hosts) in problem["removed_by"].members where hosts.number != 0 {
            lines.append("  \(filter.printable) removed \(hosts.shown) nodes")
        }
        self.init(lines: lines)
    }
}
