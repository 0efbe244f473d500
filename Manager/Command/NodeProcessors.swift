import ArgumentParser
import RoostClient

extension NodeCommand {
    struct Processors: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "cpus", abstract: "Says which processors of nodes guests may have alone.",
            discussion: """
                Flavors with hw:cpu_policy=dedicated are given them one by one; all other guests keep off them from their next \
                start on. What an instance has alone stays its own, whatever is said here. Without an option, shows them.
                """)
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @Option(name: .long, help: ArgumentHelp("Such as 4-31,36-63; 'none': none.", valueName: "list"))
        var dedicated: String?
        @OptionGroup var site: SiteOptions

        private static let columns = [
            Column("node"), Column.number("number"), Column.number("memory_mib"), Column("cpus", "CPUS"),
            Column("dedicated_cpus_free", "FREE TO BE DEDICATED"),
            Column(
                "huge_pages", "HUGE PAGES FREE",
                shown: { cell in
                    cell["huge_pages"].items.map { pages in
                        "\(Cell.shown(pages["free"]))/\(Cell.shown(pages["total"])) of \(Cell.shown(pages["size_kib"])) KiB"
                    }.joined(separator: ", ")
                }),
        ]

        func run() async throws {
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                if let dedicated {
                    let body: JSON = ["dedicated_cpus": dedicated == "none" ? .null : .string(dedicated)]
                    try await attemptEach(resolution.nodes) { node in
                        _ = try await client.patch(try path("nodes", node), body)
                        printer.note("Changed \(node.printable).")
                    }
                } else {
                    var rows: [JSON] = []
                    for node in resolution.nodes {
                        let shown = try await client.get(try path("nodes", node))
                        rows += shown["numa_nodes"].items.map { $0.setting("node", to: .string(node)) }
                    }
                    printer.list(.list(rows), Self.columns)
                }
                if !resolution.unknown.isEmpty { throw Failure.together(resolution.failures) }
            }
        }
    }
}
