import ArgumentParser
import Foundation
import RoostClient

extension NodeCommand {
    struct Fill: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Starts as many instances as fit on the enabled nodes.",
            discussion: "A dry run unless --for-real: it says how many, and starts none. None is left in ERROR.")
        @Option(name: .long, help: "Of the instances.") var flavor: String
        @Option(name: .long, help: "Of the instances.") var image: String
        @Option(name: .long, help: "Their group, kept in their metadata; they are named GROUP-1 and on.")
        var group = "worker"
        @Option(
            name: .long,
            help: ArgumentHelp("One of yours, whose policy says how many a node gets.", valueName: "server group"))
        var serverGroup: String?
        @Option(name: [.long, .customLong("key-name")], help: "An ssh key of yours.") var key: String?
        @Option(name: .long, help: ArgumentHelp("First-boot data.", valueName: "file")) var userData: String?
        @Option(name: .long, help: "No more than this.") var limit: Int?
        @Flag(name: .long, help: "Do it.") var forReal = false
        @OptionGroup var site: SiteOptions

        /// In one request, so that nobody else's waits for long.
        private static let batch = 1000

        func validate() throws {
            if let limit, limit < 1 { throw ValidationError("--limit must be at least 1.") }
        }

        func run() async throws {
            let data = try userData.map { path in
                guard let data = FileManager.default.contents(atPath: path) else {
                    throw Failure.usage("cannot read '\(path)'")
                }
                return data.base64EncodedString()
            }
            try await site.withClient { client, printer in
                var count = 0
                var answer = JSON.null
                repeat {
                    let wanted = min(Self.batch, (limit ?? .max) - count)
                    let body = JSON.present([
                        "flavor": .string(flavor), "image": .string(image), "name": .string(group),
                        "key_name": key.map { .string($0) }, "user_data": data.map { .string($0) },
                        "server_group": serverGroup.map { .string($0) },
                        "metadata": ["role": .string("worker"), "group": .string(group)], "limit": .whole(wanted),
                        "dry_run": .flag(!forReal),
                    ])
                    answer = try await client.post("/v1/nodes/fill", body)
                    count += Int(answer["count"].integer ?? 0)
                } while forReal && answer["stopped_by"].text == "limit" && count < limit ?? .max
                show(count, answer, printer)
            }
        }

        private func show(_ count: Int, _ answer: JSON, _ printer: Printer) {
            guard printer.format == .table else {
                return printer.resource(answer.setting("count", to: .whole(count)))
            }
            let report = NodeReport(printer)
            let what = "\(count) instance\(count == 1 ? "" : "s") of flavor \(flavor)"
            let more = answer["stopped_by"].text == "limit" && !forReal ? "at least " : ""
            if forReal { report.ok("Starting \(what)") } else { report.dry("Starting \(more)\(what)") }
            if answer["stopped_by"].text != "limit" { printer.note(Cell.shown(answer["detail"])) }
            if !forReal { report.dry("Nothing was changed; repeat with --for-real.") }
        }
    }

    struct Stats: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Counts instances by state and by host.")
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let nodes = try await client.list("/v1/nodes")["items"].items.compactMap { $0["name"].text }
                let instances = try await client.list("/v1/instances", ["all": "true"])["items"].items
                let (rows, columns) = Self.table(nodes: nodes, instances: instances)
                printer.list(.list(rows), columns)
            }
        }

        /// A row for each node and one for all; a column for each state that there is.
        static func table(nodes: [String], instances: [JSON]) -> (rows: [JSON], columns: [Column]) {
            var counts: [String: [String: Int]] = [:]
            for instance in instances {
                let status = instance["status"].text ?? "?"
                for row in [instance["node"].text ?? "-", total] { counts[row, default: [:]][status, default: 0] += 1 }
            }
            let states = (counts[total] ?? [:]).keys.sorted()
            let others = Swift.Set(counts.keys).subtracting(nodes).subtracting([total]).sorted()
            let rows = (nodes.sorted() + others + [total]).map { name in
                let count = counts[name] ?? [:]
                let row: JSON = ["node": .string(name), "all": .whole(count.values.reduce(0, +))]
                return states.reduce(row) { $0.setting($1, to: .whole(count[$1] ?? 0)) }
            }
            return (rows, [Column("node"), Column.number("all")] + states.map { Column.number($0) })
        }

        static let total = "(all)"
    }
}
