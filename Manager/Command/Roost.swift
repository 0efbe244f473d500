import ArgumentParser
import Foundation

/// `roost`: the command line of a Roost site, a client of its API alone.
@main
struct Roost: AsyncParsableCommand {
    static let version = "0.1.0"
    static let configuration = CommandConfiguration(
        commandName: "roost", abstract: "Runs virtual machines on a Roost site.",
        discussion: """
            The site is found through ROOST_ENDPOINT, ROOST_CACERT and ROOST_TOKEN, or through what 'roost login' has \
            kept under the profile that ROOST_PROFILE or --profile names. The options -o, --no-headers, --quiet, \
            --no-colors and --profile may stand anywhere.

            Exit status: 0 done, 1 failed, 2 wrong usage.
            """,
        version: "roost \(version)",
        subcommands: [
            LoginCommand.self, LogoutCommand.self, WhoAmICommand.self, InstanceCommand.self, ImageCommand.self,
            FlavorCommand.self,
            NodeCommand.self, AggregateCommand.self, DeviceCommand.self, PlacementCommand.self, SiteCommand.self,
            ManagerCommand.self,
            ServerGroupCommand.self, KeyCommand.self,
            UserCommand.self, AccountCommand.self, GroupCommand.self, RoleCommand.self, APIKeyCommand.self,
            WhitelistCommand.self,
            QuotaCommand.self, UsageCommand.self, OperationCommand.self, EventCommand.self, AuditCommand.self,
            ProfileCommand.self, CompletionCommand.self, VersionCommand.self,
        ])

    static func main() async {
        let arguments = ArgumentOrder.arrange(Array(CommandLine.arguments.dropFirst()), root: Self.self)
        let work = Task { await perform(arguments) }
        Interruption.watch { work.cancel() }
        Foundation.exit(await work.value)
    }

    /// Runs the command that the arguments name and says how it ended.
    static func perform(_ arguments: [String]) async -> Int32 {
        do {
            if let unknown = UnknownCommand(arguments, root: Self.self) { throw unknown.failure }
            var command = try parseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return 0
        } catch let failure as Failure {
            for line in failure.lines { Terminal.writeError(line + "\n") }
            return failure.exitStatus
        } catch is CancellationError {
            return Interruption.exitStatus
        } catch {
            return report(error)
        }
    }

    private static func report(_ error: any Error) -> Int32 {
        let status = exitCode(for: error)
        if status == .success {
            Terminal.writeOutput(fullMessage(for: error) + "\n")
            return 0
        }
        guard status == .validationFailure else {
            Terminal.writeError("error: \("\(error)".printable)\n")
            return 1
        }
        Terminal.writeError(fullMessage(for: error) + "\n")
        return 2
    }
}
