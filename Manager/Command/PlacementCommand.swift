import ArgumentParser
import RoostClient

struct PlacementCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "placement", abstract: "Why instances go where they go (superusers).", subcommands: [Explain.self])

    struct Explain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows which nodes each filter removes, and what the others weigh.",
            discussion: """
                A node counts for the first filter that removes it. The instance would go to the node with the greatest \
                weight: the sum of room (the share of the scarcer of vCPUs and RAM that stays free; that is used, where \
                an aggregate says placement:policy=pack), image (it is there already), host (what aggregates say, and \
                whether the node may be taken back), group and devices. Nothing is claimed.
                """)
        @Option(name: .long, help: "The size, by name or ID.") var flavor: String
        @Option(name: .long, help: "The image, by name or ID.") var image: String?
        @Option(name: .long, help: "Only on nodes of this availability zone.") var zone: String?
        @Option(name: .long, help: ArgumentHelp("As one of this server group.", valueName: "group"))
        var serverGroup: String?
        @Option(name: .long, help: ArgumentHelp("Only these; may be given several times.", valueName: "node"))
        var node: [String] = []
        @Option(name: .long, help: ArgumentHelp("Not these; may be given several times.", valueName: "node"))
        var excludeNode: [String] = []
        @Option(name: .long, help: ArgumentHelp("With which it would wait in the queue.", valueName: "number"))
        var priority: Int?
        @Flag(name: .long, help: "As one that yields to others.") var preemptible = false
        @Option(name: .long, help: "Names for each filter, and nodes in the ranking.") var limit = 20
        @OptionGroup var site: SiteOptions

        static let filters = [Column("filter"), Column.number("removed"), Column("nodes")]
        static let ranking =
            [Column("node")]
            + ["weight", "room", "image", "host", "group", "devices"].map { Column.number($0) }

        func validate() throws {
            guard (1...1000).contains(limit) else { throw ValidationError("--limit must be from 1 to 1000.") }
            guard (-100...100).contains(priority ?? 0) else {
                throw ValidationError("--priority must be from -100 to 100.")
            }
        }

        func run() async throws {
            try await site.withClient { client, printer in
                let report = Self.report(try await ask(client), printer)
                printer.line(report.text)
                if let note = report.note { printer.note(note) }
            }
        }

        func ask(_ client: APIClient) async throws -> JSON {
            func names(_ names: [String]) -> JSON? { names.isEmpty ? nil : .texts(names) }
            let question = JSON.present([
                "flavor": .string(flavor), "image": image.map { .string($0) },
                "availability_zone": zone.map { .string($0) }, "server_group": serverGroup.map { .string($0) },
                "nodes": names(node), "exclude_nodes": names(excludeNode), "limit": .whole(limit),
                "priority": priority.map { .whole($0) }, "preemptible": preemptible ? .flag(true) : nil,
            ])
            return try await client.post("/v1/placement/explain", question)
        }

        /// What is printed of its answer, and the note behind it. A table leaves out the filters that removed nobody; CSV is
        /// the ranking alone.
        static func report(_ answer: JSON, _ printer: Printer) -> (text: String, note: String?) {
            let candidates = JSON.list(answer["ranking"].items)
            switch printer.format {
            case .json: return (printer.shown(answer), nil)
            case .csv: return (printer.listed(candidates, ranking), nil)
            case .table: break
            }
            let removed = answer["filters"].items.filter { $0["removed"].integer ?? 0 > 0 }
            let tables = [(removed, filters), (candidates["items"].items, ranking)].filter { !$0.0.isEmpty }
                .map { printer.listed(.list($0), $1) }
            let (all, fit) = (answer["nodes"].integer ?? 0, answer["candidates"].integer ?? 0)
            return (
                tables.joined(separator: "\n\n"),
                fit == 0
                    ? "Of \(all) nodes none can take the instance." + outlook(answer)
                    : "\(fit) of \(all) nodes can take the instance."
            )
        }

        /// What would become of it: who would yield to it, or where it would stand among those that wait.
        private static func outlook(_ answer: JSON) -> String {
            let yielding = answer["yielding"]
            if let node = yielding["node"].text {
                let names = yielding["instances"].items.compactMap(\.text).joined(separator: ", ")
                return " On \(node), \(names) would be asked to yield."
            }
            if let position = answer["queue_position"].integer {
                return " With --queue it would be number \(position) of \((answer["queue_length"].integer ?? 0) + 1)."
            }
            return answer["possible"] == .flag(false) ? " Not even an empty one could." : ""
        }
    }
}
