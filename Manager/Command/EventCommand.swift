import ArgumentParser
import NIOCore

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

        var query: KeyValuePairs<String, String?> {
            [
                "actor": actor, "resource": resource, "kind": kind, "request": request, "operation": operation,
                "since": since,
            ]
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists events, oldest first.",
            discussion: "With --follow and -o json, each event is one line.")
        @Flag(name: .long, help: "Go on with events as they happen, until Ctrl-C.") var follow = false
        @OptionGroup var selection: Selection
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                guard follow else {
                    let events = try await client.list(
                        "/v1/events", selection.query, after: selection.after.map(String.init))
                    return printer.list(events, EventCommand.columns)
                }
                if printer.format == .csv, printer.headers {
                    printer.line(EventCommand.columns.map(\.key).joined(separator: ","))
                }
                let path = "/v1/events" + APIClient.query(selection.query)
                try await EventCommand.follow(client, path, after: selection.after.map(String.init)) {
                    printer.line(EventCommand.line($0, printer))
                }
            }
        }
    }

    /// Connects again, after the last event seen, whenever the stream ends; while the manager restarts, for a minute.
    static func follow(
        _ client: APIClient, _ path: String, after: String?, _ show: (JSON) throws -> Void
    ) async throws {
        var last = after
        var failedSince: ContinuousClock.Instant?
        while true {
            var stream = ServerSentEvents()
            var headers: KeyValuePairs<String, String> = ["accept": "text/event-stream"]
            if let last { headers = ["accept": "text/event-stream", "last-event-id": last] }
            do {
                try await client.stream(path, headers: headers) { chunk in
                    failedSince = nil
                    for event in try stream.feed(chunk.readableBytesView) {
                        try show(try JSONReader.read(Array(event.data.utf8)))
                        if !event.id.isEmpty { last = event.id }
                    }
                }
            } catch let failure as Failure where failure.kind == .unreachable {
                let since = failedSince ?? .now
                failedSince = since
                guard .now - since < OperationWait.patienceWithoutManager else { throw failure }
            }
            try await Task.sleep(for: .seconds(1))
        }
    }

    static func line(_ event: JSON, _ printer: Printer) -> String {
        switch printer.format {
        case .json: return JSONWriter.compact(event)
        case .csv: return TableWriter(columns: columns, headers: false).csv([event])
        case .table:
            let resource = [event["resource"]["kind"], event["resource"]["name"]].map(Cell.shown).joined(separator: " ")
            let detail = event["detail"].text.flatMap { $0.isEmpty ? nil : ": \($0.printable)" } ?? ""
            return "\(Cell.shown(event["at"]))  \(Cell.shown(event["kind"]))  \(resource)\(detail)"
        }
    }
}
