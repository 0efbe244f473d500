import ArgumentParser
import Foundation
import ManagerStore

/// `roost-manager store`: looks after the record itself, without the API.
struct StoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store", abstract: "Looks after the record: health, check, backup, restore, move.",
        subcommands: [
            StoreStatusCommand.self, StoreCheckCommand.self, StoreBackupCommand.self, StoreRestoreCommand.self,
            StoreCopyCommand.self,
        ])
}

enum StoreOutput: String, ExpressibleByArgument, CaseIterable {
    case text, json
}

struct StoreOutputOption: ParsableArguments {
    @Option(name: .shortAndLong, help: "text or json.")
    var output = StoreOutput.text

    /// JSON as the API writes it: keys in snake case, times as in RFC 3339.
    func printJSON(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        print(String(decoding: try encoder.encode(value), as: UTF8.self))
    }
}

/// Ended with status 1, with all that there is to say already printed.
struct StoreNotWell: Error {}

struct StoreStatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Shows the record's health; exit status 1 where something is wrong.")

    @OptionGroup var options: SettingsOptions
    @OptionGroup var output: StoreOutputOption

    func run() throws {
        let settings = try options.read()
        let report = StoreReport.of(try settings.storeLocation())
        switch output.output {
        case .json: try output.printJSON(report)
        case .text: print(StoreStatusText.text(of: report))
        }
        if report.verdict != .healthy { throw StoreNotWell() }
    }
}

struct StoreCheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Looks through the whole record for what cannot be; exit status 1 where there is any.",
        discussion: """
            It changes nothing, and the manager may go on meanwhile. With --repair-quotas, for which the manager must be stopped, it \
            first counts anew what limits are compared with, where that is wrong.
            """)

    @Flag(help: "Set counters of limits right that have drifted from what there is.") var repairQuotas = false
    @OptionGroup var options: SettingsOptions
    @OptionGroup var output: StoreOutputOption

    private struct Answer: Encodable {
        var findings: [StoreFinding]
        /// What was wrong before.
        var repaired: [StoreFinding]
    }

    func run() throws {
        let settings = try options.read()
        let location = try settings.storeLocation()
        let repaired = repairQuotas ? try StoreMaintenance().recountQuotas(location) : []
        let findings = try StoreCheck.run(location)
        switch output.output {
        case .json: try output.printJSON(Answer(findings: findings, repaired: repaired))
        case .text:
            for finding in repaired { print("repaired: \(Self.line(finding))") }
            for finding in findings { print(Self.line(finding)) }
            print(findings.isEmpty ? "nothing is wrong with the record" : "\(findings.count) findings")
            if findings.contains(where: { $0.kind == StoreCheck.quotaKind }) {
                print("roost-manager store check --repair-quotas counts quotas anew, once the manager is stopped")
            }
        }
        if !findings.isEmpty { throw StoreNotWell() }
    }

    private static func line(_ finding: StoreFinding) -> String {
        "\(finding.kind): \(finding.subject): \(finding.sentence)"
    }
}

struct StoreBackupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Writes the record into a new file, while the manager goes on.",
        discussion: """
            The file is an SQLite database, whichever engine holds the record. It holds password hashes and guests' user data, and \
            is readable by its owner alone. The site's keys are not in it: back up the data folder's *.pem files and secrets as well.
            """)

    @OptionGroup var options: SettingsOptions
    @Argument(help: "A file that does not exist yet.") var file: String

    func run() throws {
        let settings = try options.read()
        let sums = try StoreProgress.maintenance { try $0.backup(try settings.storeLocation(), to: file) }
        print("\(file): \(StoreProgress.total(sums)), read back and compared")
    }
}

struct StoreRestoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Puts a backup where the record is. The manager must be stopped.")

    @OptionGroup var options: SettingsOptions
    @Flag(help: "Replaces a record that is there; an SQLite file is set aside, a database is emptied.") var force =
        false
    @Argument(help: "What 'store backup' wrote.") var file: String

    func run() throws {
        let settings = try options.read()
        let location = try settings.storeLocation()
        let (sums, setAside) = try StoreProgress.maintenance {
            try $0.restore(file, into: location, force: force)
        }
        print("\(location): \(StoreProgress.total(sums)), read back and compared")
        if let setAside { print("the former record is kept as \(setAside)") }
    }
}

struct StoreCopyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "copy", abstract: "Copies the record to another place, to move the site there.",
        discussion: """
            The target is a path or \(MariaDBAddress.form), and must hold no record. Its password is read as that of store.url: from \
            store.password_file or ROOST_STORE_PASSWORD. The manager must be stopped. Afterwards set store.url to the target.
            """)

    @OptionGroup var options: SettingsOptions
    @Option(name: .customLong("to"), help: "Where to copy to.") var target: String
    @Flag(help: "A trial copy while the manager goes on; what it writes meanwhile is not in the copy.") var online =
        false

    func run() throws {
        let settings = try options.read()
        let (source, target) = (try settings.storeLocation(), try settings.location(target))
        let sums = try StoreProgress.maintenance { try $0.copy(source, to: target, online: online) }
        print("\(target): \(StoreProgress.total(sums)), read back and compared")
        if !online {
            print("to use it, set store.url to it (or put the file where the record was) and start the manager")
        }
    }
}
