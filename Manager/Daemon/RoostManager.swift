import ArgumentParser
import Foundation
import ManagerStore
import ProcessSettings

/// `roost-manager`: holds a site's record and serves its API and its agents.
@main
struct RoostManager: AsyncParsableCommand {
    static let version = "0.1.0"
    static let configuration = CommandConfiguration(
        commandName: "roost-manager", abstract: "Holds a Roost site's record and serves its API and its agents.",
        subcommands: [
            InitCommand.self, RunCommand.self, StatusCommand.self, StepDownCommand.self,
            ForgetCommand.self, UserCommand.self, TokenKeyCommand.self, StoreCommand.self, SettingsCommand.self,
            VersionCommand.self,
        ])

    /// Exit status: 0 done, 1 failed, 2 wrong usage or configuration.
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
        } catch let problem as SettingsError {
            return complain("\(problem)", 2)
        } catch is StoreNotWell {
            return 1
        } catch StoreError.badLocation(let problem) {
            return complain(problem, 2)
        } catch let problem as SiteError {
            return complain("\(problem)", 1)
        } catch {
            let status = exitCode(for: error)
            if status == .success {
                print(fullMessage(for: error))
                return 0
            }
            guard status == .validationFailure else { return complain("\(error)", 1) }
            FileHandle.standardError.write(Data((fullMessage(for: error) + "\n").utf8))
            return 2
        }
    }

    private static func complain(_ sentence: String, _ status: Int32) -> Int32 {
        FileHandle.standardError.write(Data("roost-manager: \(sentence)\n".utf8))
        return status
    }
}

/// Where settings come from, for every command.
struct SettingsOptions: ParsableArguments {
    @Option(name: .long, help: "The configuration file (default: /etc/roost/manager.yaml).")
    var config: String?

    @Option(name: .long, help: "The folder for everything that the manager keeps (default: /var/lib/roost/manager).")
    var data: String?

    @Option(name: .long, help: "Sets one setting, as key=value; may be given several times.")
    var set: [String] = []

    func read() throws -> ManagerSettings {
        try ManagerSettings(
            flags: SettingsFlags(configuration: config, data: data, assignments: set),
            environment: ProcessInfo.processInfo.environment)
    }
}

struct SettingsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "settings", abstract: "Prints an example configuration file with every setting and its default.")

    func run() { print(ManagerSettings.schema.exampleFile) }
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Prints the version.")

    func run() { print("roost-manager \(RoostManager.version)") }
}
