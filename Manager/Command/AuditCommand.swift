import ArgumentParser
import Foundation
import RoostClient

struct AuditCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Who did what to what, from where, and how it ended.",
        discussion: "You see what concerns your own things, an account's owner those of the account, a superuser all.",
        subcommands: [List.self, Export.self])

    static let columns = [
        Column.number("sequence", "#"), Column("at"), Column("actor"), Column("impersonator", "REALLY"),
        Column("address"),
        Column("credential"), Column("outcome", colour: outcome), Column("kind"),
        Column("resource", shown: subject, value: { .string(subject($0)) }), Column("detail"),
        Column("changes", value: { .string(EventCommand.changes($0)) }),
    ]

    @Sendable static func outcome(_ word: String) -> Colour? { word == "refused" ? .bad : nil }

    @Sendable static func subject(_ event: JSON) -> String {
        [event["resource"]["kind"], event["resource"]["name"]].map(Cell.shown).joined(separator: " ")
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists what was done, oldest first.")
        @OptionGroup var selection: EventCommand.Selection
        @OptionGroup var columns: ColumnOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let events = try await client.list(
                    "/v1/events", selection.query, after: selection.after.map(String.init))
                try columns.print(events, AuditCommand.columns, printer)
            }
        }
    }

    struct Export: AsyncParsableCommand {
        enum Format: String, ExpressibleByArgument, CaseIterable {
            case jsonl, csv
        }

        static let configuration = CommandConfiguration(
            abstract: "Writes what was done, one event a line, as the API says it or as CSV.",
            discussion:
                "However much there is, it is written page by page. An export goes on with --after and the last number."
        )
        @Option(name: .long, help: "jsonl or csv.") var format = Format.jsonl
        @Option(
            name: .long,
            help: ArgumentHelp("A new file, for you alone to read; by default standard output.", valueName: "file"))
        var file: String?
        @OptionGroup var selection: EventCommand.Selection
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let output = try ExportFile(file)
            try await site.withClient { client, printer in
                let writer = TableWriter(
                    columns: AuditCommand.columns, headers: false,
                    isOnTerminal: file == nil && printer.terminal.outputIsTerminal)
                if format == .csv, printer.headers {
                    try output.line(AuditCommand.columns.map(\.key).joined(separator: ","))
                }
                var count = 0
                do {
                    try await client.pages("/v1/events", selection.query, after: selection.after.map(String.init)) {
                        page in
                        for event in page.items {
                            try output.line(format == .csv ? writer.csv([event]) : JSONWriter.compact(event))
                        }
                        count += page.items.count
                        printer.progress("\(count) events")
                    }
                    try output.finish()
                } catch {
                    printer.endProgress()
                    output.discard()
                    throw error
                }
                printer.endProgress()
                if let file { printer.note("Wrote \(count) event\(count == 1 ? "" : "s") to \(file.printable).") }
            }
        }
    }
}

/// Lines to standard output, or to a file that is there as a whole or not at all.
final class ExportFile {
    private let path: String?
    private let handle: FileHandle?

    init(_ path: String?) throws(Failure) {
        self.path = path
        guard let path else {
            handle = nil
            return
        }
        guard access(path, F_OK) != 0 else { throw .usage("'\(path)' is there already") }
        // Made anew: one that is there already may be another's, who would read along.
        unlink(path + ".partial")
        let number = open(path + ".partial", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard number >= 0 else { throw .usage("cannot write '\(path)': \(String(cString: strerror(errno)))") }
        handle = FileHandle(fileDescriptor: number, closeOnDealloc: true)
    }

    func line(_ text: String) throws {
        guard let path, let handle else { return Terminal.writeOutput(text + "\n") }
        do {
            try handle.write(contentsOf: Data((text + "\n").utf8))
        } catch {
            throw Failure("cannot write '\(path)': \(String(cString: strerror(errno)))")
        }
    }

    func finish() throws {
        guard let path, let handle else { return }
        try handle.synchronize()
        // Unlike a rename, a link replaces nothing that has appeared under the name meanwhile.
        guard link(path + ".partial", path) == 0 || hasNoLinks && rename(path + ".partial", path) == 0 else {
            guard errno != EEXIST else { throw Failure("'\(path)' has appeared meanwhile; it stays as it is") }
            throw Failure("cannot write '\(path)': \(String(cString: strerror(errno)))")
        }
        unlink(path + ".partial")
    }

    /// Whether what failed is that the file system knows no links, as that of a memory stick.
    private var hasNoLinks: Bool { [EPERM, EOPNOTSUPP].contains(errno) && path.map { access($0, F_OK) } != 0 }

    func discard() { if let path { unlink(path + ".partial") } }
}
