import ArgumentParser
import RoostClient

struct CompletionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "completion", abstract: "Prints a script that completes roost's words in a shell.",
        discussion: "For bash: roost completion bash > /etc/bash_completion.d/roost")

    enum Shell: String, ExpressibleByArgument, CaseIterable {
        case bash, zsh, fish
    }

    @Argument(help: "bash, zsh or fish.") var shell: Shell

    func run() throws {
        let kind: CompletionShell =
            switch shell {
            case .bash: .bash
            case .zsh: .zsh
            case .fish: .fish
            }
        Terminal.writeOutput(Roost.completionScript(for: kind) + "\n")
    }
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Prints this program's version.")
    @OptionGroup var site: SiteOptions

    func run() throws {
        let printer = site.printer
        guard printer.format == .table else { return printer.resource(["version": .string(Roost.version)]) }
        printer.line("roost \(Roost.version)")
    }
}
