import ArgumentParser
import RoostClient
import Testing

@testable import ManagerCommand

@Suite("Arguments")
struct ArgumentTests {
    @Test(
        "common options may stand anywhere (HLT-03)",
        arguments: [
            ["-o", "json", "node", "list"], ["node", "-o", "json", "list"], ["node", "list", "-o", "json"],
            ["--output=json", "node", "list"], ["-ojson", "node", "list"],
        ])
    func anywhere(arguments: [String]) throws {
        let command = try Roost.parseAsRoot(ArgumentOrder.arrange(arguments, root: Roost.self))
        #expect((command as? NodeCommand.List)?.site.output == .json)
    }

    @Test("what stands behind the verb stays where it is")
    func untouched() {
        #expect(
            ArgumentOrder.arrange(
                ["--quiet", "instance", "create", "node", "--key", "-q", "--", "-o"], root: Roost.self)
                == ["instance", "create", "--quiet", "node", "--key", "-q", "--", "-o"])
        #expect(ArgumentOrder.arrange(["-o"], root: Roost.self) == ["-o"])
        #expect(ArgumentOrder.arrange(["--help"], root: Roost.self) == ["--help"])
    }

    @Test(
        "wrong usage ends with 2, also where the parser says 64",
        arguments: [
            ["nonsense"], ["instance", "nonsense"], ["instance", "list", "-o", "xml"], ["flavor", "create", "x"],
            ["instance", "create", "x", "--flavor", "a", "--image", "b", "--count", "0"], ["instance", "delete"],
            ["instance", "delete", "x", "--for-real"], ["node", "disable", "cn1", "--vm-timeout", "-1"],
            ["image", "create", "x", "--file", "/nowhere"], ["image", "create", "x", "--file", "/"],
        ])
    func wrong(arguments: [String]) async {
        #expect(await Roost.perform(arguments) == 2)
    }

    @Test("every command refuses what it does not know")
    func unknown() async {
        func leaves(_ command: any ParsableCommand.Type, _ path: [String]) -> [[String]] {
            let below = command.configuration.subcommands
            return below.isEmpty ? [path] : below.flatMap { leaves($0, path + [$0._commandName]) }
        }
        let commands = leaves(Roost.self, [])
        #expect(commands.count > 35)
        for path in commands {
            #expect(await Roost.perform(path + ["--no-such-option"]) == 2, "\(path)")
            #expect(await Roost.perform(path + ["a", "b", "c", "--output"]) == 2, "\(path)")
        }
    }

    @Test("help ends with 0, the console with 1")
    func right() async {
        #expect(await Roost.perform(["instance", "--help"]) == 0)
        #expect(await Roost.perform(["version", "-o", "json"]) == 0)
        #expect(await Roost.perform(["instance", "console", "x"]) == 1)
    }

    @Test("waiting is what image create and prefill do unless told otherwise")
    func waiting() throws {
        func create(_ more: [String]) throws -> Bool? {
            (try Roost.parseAsRoot(["image", "create", "x", "--file", "f"] + more) as? ImageCommand.Create)?.wait
        }
        #expect(try create([]) == true)
        #expect(try create(["--wait"]) == true)
        #expect(try create(["--no-wait"]) == false)
    }

    @Test("golden help")
    func help() {
        #expect(
            Roost.helpMessage(for: InstanceCommand.Stop.self, columns: 100) == """
                OVERVIEW: Stops instances; their disks, names and IDs are kept.

                USAGE: roost instance stop <instance> ... [--force] [--wait] [--wait-timeout <seconds>] [--output <output>] [--no-headers] [--quiet] [--no-colors] [--profile <profile>]

                ARGUMENTS:
                  <instance>              Names or IDs.

                OPTIONS:
                  --force                 Cut the power instead of asking the guest.
                  --wait                  Return when it is done; exit with 1 if it failed.
                  --wait-timeout <seconds>
                                          How long to wait. (default: 1800)
                  -o, --output <output>   How answers are printed: table, json or csv; JSON is the API's. (values:
                                          table, json, csv; default: table)
                  --no-headers            Leave out the line of column names.
                  -q, --quiet             No notes and no progress, only answers and errors.
                  --no-colors             No colours; so it is where the output is not a terminal (environment:
                                          NO_COLOR).
                  --profile <profile>     The profile that 'roost login' keeps (environment: ROOST_PROFILE).
                  --version               Show the version.
                  -h, --help              Show help information.

                """)
    }

    @Test("every command and option has a word of help")
    func documented() {
        func visit(_ command: any ParsableCommand.Type) {
            #expect(!command.configuration.abstract.isEmpty, "\(command)")
            command.configuration.subcommands.forEach(visit)
        }
        visit(Roost.self)
    }

    @Test("completion scripts for each shell", arguments: CompletionCommand.Shell.allCases)
    func completion(shell: CompletionCommand.Shell) async {
        #expect(await Roost.perform(["completion", shell.rawValue]) == 0)
    }
}
