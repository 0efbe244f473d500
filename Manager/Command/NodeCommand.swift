import ArgumentParser
import RoostClient

struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node", abstract: "Hosts of the fleet (superusers).",
        discussion: "Host lists: cn[43-45,47], comma lists, @file with # comments; quote brackets against the shell.",
        subcommands: [
            List.self, Status.self, Show.self, Cache.self, Enable.self, Disable.self, Drain.self, Window.self,
            Fill.self, ConfirmDown.self, Stats.self, Remove.self, Limit.self, Processors.self, Token.self,
        ])

    static let columns = [
        Column("name"), Column("enabled"), Column("alive", colour: Colour.status), Column.number("instances"),
        used("vcpus", "VCPUS", of: "vcpus", "vcpus_used"), used("ram_mib", "RAM MIB", of: "ram_mib", "ram_used_mib"),
        used("disk_gib", "DISK GIB", of: "disk_gib", "disk_used_gib"), Column("accelerator"), Column.id,
    ]

    /// For people used and all there is in one column; for programs what there is.
    private static func used(_ key: String, _ title: String, of total: String, _ used: String) -> Column {
        Column(key, title, .number, shown: { "\(Cell.shown($0[used]))/\(Cell.shown($0[total]))" })
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists nodes and how full they are.")
        static let collection = "nodes"
        static let columns = NodeCommand.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one node.")
        static let collection = "nodes"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "node")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows which nodes run instances, and their addresses.")
        @Argument(help: "Hosts, such as cn[43-45,47]; all if left out.") var hosts: String?
        @OptionGroup var site: SiteOptions

        /// The table that operators know (HLT-09).
        static let columns = [
            Column("name", "Hypervisor"), Column("enabled", "Runs VMs?"),
            Column("alive", "Alive?", colour: Colour.status, shown: { life($0["alive"]) }),
            Column("instances", "#VMs", .number), Column("addresses", "VMs"),
        ]

        private static func life(_ alive: JSON) -> String {
            switch alive.text {
            case "down", "never": "dead"
            default: Cell.shown(alive)
            }
        }

        func run() async throws {
            try await site.withClient { client, printer in
                var answer = try await client.list("/v1/nodes")
                var failures: [Failure] = []
                if let hosts {
                    let known = answer["items"].items.map { (id: $0["id"].text ?? "", name: $0["name"].text ?? "") }
                    let resolution = HostResolution(try HostList.expand(hosts), among: known)
                    failures = resolution.failures
                    answer = .list(
                        resolution.nodes.flatMap { name in answer["items"].items.filter { $0["name"].text == name } })
                }
                let isHeld = answer["items"].items.contains { NodeSchedule.words($0) != nil }
                let isLost = answer["items"].items.contains { $0["lost"] != .null }
                printer.list(
                    answer, Self.columns + (isLost ? [NodeLoss.column] : []) + (isHeld ? [NodeSchedule.column] : []))
                if !failures.isEmpty { throw Failure.together(failures) }
            }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Forgets nodes that hold no instance, and refuses their certificates.",
            discussion: "A dry run unless --for-real: nothing is changed, and every line says so.")
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @Flag(name: .long, help: "Do it.") var forReal = false
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                let report = NodeReport(printer)
                var failed = report.unknown(resolution, isDryRun: !forReal)
                for node in resolution.nodes {
                    do {
                        if forReal {
                            _ = try await client.delete(try path("nodes", node))
                            report.ok("Removing node \(node)")
                        } else {
                            let record = try await client.get(try path("nodes", node))
                            report.dry(
                                "Removing node \(node), which holds \(Cell.shown(record["instances"])) instances")
                        }
                    } catch let failure as Failure {
                        report.failed("Removing node \(node): \(failure.sentence)", isDryRun: !forReal)
                        failed.append(node)
                    }
                }
                if !forReal { report.dry("Nothing was changed; repeat with --for-real.") }
                try report.end(failed)
            }
        }
    }
}
