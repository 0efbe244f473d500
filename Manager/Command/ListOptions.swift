import ArgumentParser
import RoostClient

/// Which columns a command prints.
struct ColumnOptions: ParsableArguments {
    @Option(
        name: [.long, .customLong("fields")],
        help: ArgumentHelp(
            "Only these, in this order; also members of the JSON that are no columns.", valueName: "name,..."))
    var columns: String?

    private var names: [String]? { columns?.split(separator: ",").map(String.init) }

    /// The columns to print of those that a command usually prints.
    func chosen(from usual: [Column], in answer: JSON) throws(Failure) -> [Column] {
        guard let names else { return usual }
        let items = answer["items"].items
        var chosen: [Column] = []
        for name in names {
            let isMember = items.contains { $0.members.contains { $0.key == name } }
            if let column = usual.first(where: { $0.key == name }) {
                chosen.append(column)
            } else if isMember || items.isEmpty {
                chosen.append(Column(name))
            } else {
                throw Self.unknown(name, among: usual.map(\.key) + (items.first?.members.map(\.key) ?? []))
            }
        }
        guard !chosen.isEmpty else { throw .usage("--columns names no column") }
        return chosen
    }

    /// The answer with those members alone of its items.
    func cut(_ answer: JSON) -> JSON {
        guard let names else { return answer }
        let items = answer["items"].items.map { item in JSON.object(item.members.filter { names.contains($0.key) }) }
        return answer.setting("items", to: .array(items))
    }

    /// Prints a list.
    func print(_ answer: JSON, _ usual: [Column], _ printer: Printer) throws(Failure) {
        let columns = try chosen(from: usual, in: answer)
        printer.list(printer.format == .json ? cut(answer) : answer, columns)
    }

    private static func unknown(_ name: String, among known: [String]) -> Failure {
        let names = known.reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
        let meant = Nearness.nearest(to: name, among: names).map { "; did you mean '\($0)'?" } ?? ""
        return Failure(
            lines: [
                "error: there is no column '\(name.printable)'\(meant)",
                "  there are \(names.map(\.printable).joined(separator: ", "))",
            ], kind: .usage)
    }
}

/// Options of every command that lists what the site has: which of it, in which order, and what of each.
struct ListOptions: ParsableArguments {
    @Option(
        name: .long, parsing: .unconditional,
        help: ArgumentHelp("Order by these, such as name,-created_at; '-' turns one round.", valueName: "name,..."))
    var sort: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Only what has this value, such as account=physics; may be given several times.", valueName: "name=value"))
    var filter: [String] = []

    @OptionGroup var columns: ColumnOptions

    /// - Parameter parameters: what the command's own options ask for; a filter of the same name goes before.
    func query(_ parameters: KeyValuePairs<String, String?> = [:]) throws(Failure) -> ListQuery {
        let filters = try KeyValueOptions.object(filter)?.members ?? []
        var query = ListQuery(parameters)
        query.parameters.removeAll { own in filters.contains { $0.key == own.name } }
        query.parameters += filters.map { ($0.key, $0.value.text) }
        query.sort = (sort ?? "").split(separator: ",").map(String.init)
        return query
    }

    /// Prints all of a list.
    func print(
        _ path: String, _ usual: [Column], _ site: SiteOptions, with parameters: KeyValuePairs<String, String?> = [:]
    ) async throws {
        let query = try query(parameters)
        try await site.withClient { client, printer in
            try columns.print(try await client.list(path, matching: query), usual, printer)
        }
    }
}
