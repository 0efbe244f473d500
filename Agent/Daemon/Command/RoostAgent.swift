import ArgumentParser
import Foundation
import Logging
import ProcessLog
import ProcessSettings

/// `roost-agent`: runs the guests of one host as a manager wants them.
@main
struct RoostAgent: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "roost-agent", abstract: "Runs the guests of one host as a Roost manager wants them.",
        subcommands: [
            JoinCommand.self, RunCommand.self, DevicesCommand.self, LeaveCommand.self, ReturnCommand.self,
            VersionCommand.self,
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
        } catch let problem as CommandFailure {
            complain(problem.sentence)
            return 1
        } catch let problem as SettingsError {
            complain("\(problem)")
            return 2
        } catch {
            let status = exitCode(for: error)
            if status == .success {
                print(fullMessage(for: error))
                return 0
            }
            guard status == .validationFailure else {
                complain("\(error)")
                return 1
            }
            standardError(Array((fullMessage(for: error) + "\n").utf8))
            return 2
        }
    }

    static func complain(_ sentence: String) {
        standardError(Array("roost-agent: \(sentence)\n".utf8))
    }
}

/// A sentence for the person who called.
struct CommandFailure: Error {
    let sentence: String

    init(_ error: any Error) { sentence = "\(error)" }
}

/// Where settings come from, for every command.
struct SettingsOptions: ParsableArguments {
    @Option(name: .long, help: "The configuration file (default: /etc/roost/agent.yaml).")
    var config: String?

    @Option(name: .long, help: "The folder for everything that the agent keeps (default: /var/lib/roost/agent).")
    var data: String?

    @Option(name: .long, help: "Sets one setting, as key=value; may be given several times.")
    var set: [String] = []

    func read() throws -> AgentSettings {
        try AgentSettings(
            flags: SettingsFlags(configuration: config, data: data, assignments: set),
            environment: ProcessInfo.processInfo.environment)
    }
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Prints the version.")

    func run() { print("roost-agent \(AgentVersion.current)") }
}
