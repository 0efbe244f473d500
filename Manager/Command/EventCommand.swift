import ArgumentParser
import RoostClient

struct EventCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "event", abstract: "What happened.", subcommands: [List.self])

    static let columns = [
        Column.number("sequence", "#"), Column("at"), Column("kind"), Column("actor"),
        Column("resource", value: { $0["resource"]["name"] }), Column("detail"),
        Column("changes", value: { .string(changes($0)) }),
    ]

    /// What changed, as a person reads it: `name: web → www`.
    static func changes(_ event: JSON) -> String {
        event["changes"].members.map { field in
            let (before, after) = (field.value["before"].text ?? "–", field.value["after"].text ?? "–")
            return "\(field.key): \(before) → \(after)"
        }.joined(separator: ", ")
    }

    /// Which events are asked for.
    struct Selection: ParsableArguments {
        @Option(name: .long, help: ArgumentHelp("Begin after this event.", valueName: "number")) var after: Int?
        @Option(name: .long, help: ArgumentHelp("Only what this user did.", valueName: "user")) var actor: String?
        @Option(name: .long, help: ArgumentHelp("Only what happened to this, by ID or name.", valueName: "resource"))
        var resource: String?
        @Option(name: .long, help: ArgumentHelp("Only this kind, such as node or node.down.", valueName: "kind"))
        var kind: String?
        @Option(name: .long, help: ArgumentHelp("Only what this request did.", valueName: "id")) var request: String?
        @Option(name: .long, help: ArgumentHelp("Only the events of this operation.", valueName: "id"))
        var operation: String?
        @Option(
            name: .long, help: ArgumentHelp("Only from this time on, such as 2026-11-21.", valueName: "time"))
        var since: String?
        @Option(name: .long, help: ArgumentHelp("Only before this time.", valueName: "time")) var until: String?
        @Option(name: .long, help: ArgumentHelp("Only what was asked for from this address.", valueName: "address"))
        var address: String?
        @Option(
            name: .long,
            help: ArgumentHelp(
                "Only what was done by this session or API key, as the audit calls it.", valueName: "credential"))
        var credential: String?
        @Option(name: .long, help: ArgumentHelp("Only what this user did as another one.", valueName: "user"))
        var impersonator: String?
        @Option(name: .long, help: "Only what was done, or what was refused.") var outcome: Outcome?

        enum Outcome: String, ExpressibleByArgument, CaseIterable {
            case done, refused
        }

        var query: KeyValuePairs<String, String?> {
            [
                "actor": actor, "resource": resource, "kind": kind, "request": request, "operation": operation,
                "since": since, "until": until, "address": address, "credential": credential,
                "impersonator": impersonator, "outcome": outcome?.rawValue,
            ]
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists events, oldest first.",
            discussion: "With --follow and -o json, each event is one line.")
        @Flag(name: .long, help: "Go on with events as they happen, until Ctrl-C.") var follow = false
        @OptionGroup var selection: Selection
        @OptionGroup var columns: ColumnOptions
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard !follow || columns.columns == nil else {
                throw ValidationError("--follow and --columns exclude each other.")
            }
        }

        func run() async throws {
            try await site.withClient { client, printer in
                guard follow else {
                    let events = try await client.list(
                        "/v1/events", selection.query, after: selection.after.map(String.init))
                    return try columns.print(events, EventCommand.columns, printer)
                }
                if printer.format == .csv, printer.headers {
                    printer.line(EventCommand.columns.map(\.key).joined(separator: ","))
                }
                try await client.explaining {
                    let events = client.roost.events.documents(
                        after: selection.after.map { Int64($0) }, ListQuery(selection.query))
                    for try await event in events { printer.line(EventCommand.line(event, printer)) }
                }
            }
        }
    }

    static func line(_ event: JSON, _ printer: Printer) -> String {
        switch printer.format {
        case .json: return JSONWriter.compact(event)
        case .csv:
            return TableWriter(columns: columns, headers: false, isOnTerminal: printer.terminal.outputIsTerminal)
                .csv([event])
        case .table:
            let resource = [event["resource"]["kind"], event["resource"]["name"]].map(Cell.shown).joined(separator: " ")
            let detail = event["detail"].text.flatMap { $0.isEmpty ? nil : ": \($0.printable)" } ?? ""
            return "\(Cell.shown(event["at"]))  \(Cell.shown(event["kind"]))  \(resource)\(detail)"
        }
    }
}
