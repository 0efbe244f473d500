import ArgumentParser
import RoostClient

struct ServerGroupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "server-group", abstract: "Instances that are to be on one host, or on different ones.",
        discussion: """
            An instance is put into a group when it is created (roost instance create --server-group), and is in it until it is \
            deleted.
            """,
        subcommands: [Create.self, List.self, Show.self, Delete.self])

    static let columns = [
        Column("name"), Column("policy"), Column.number("max_per_host"), Column.number("instance_count", "INSTANCES"),
        Column("owner"), Column.id,
    ]

    enum Policy: String, ExpressibleByArgument, CaseIterable {
        case affinity
        case antiAffinity = "anti-affinity"
        case softAffinity = "soft-affinity"
        case softAntiAffinity = "soft-anti-affinity"
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes a group.",
            discussion: """
                With affinity all its instances are on one host, with anti-affinity each is on another; what cannot be placed \
                so is refused. The soft forms are wishes, heeded where that can be.
                """)
        @Argument(help: "The name.") var name: String
        @Option(
            name: .long, help: "affinity, anti-affinity, soft-affinity or soft-anti-affinity.")
        var policy: Policy
        @Option(name: .long, help: "With anti-affinity: how many of it a host may have, instead of one.")
        var maxPerHost: Int?
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard let maxPerHost else { return }
            guard policy == .antiAffinity else {
                throw ValidationError("--max-per-host goes with --policy anti-affinity.")
            }
            guard maxPerHost > 0 else { throw ValidationError("--max-per-host must be at least 1.") }
        }

        var body: JSON {
            JSON.present([
                "name": .string(name), "policy": .string(policy.rawValue),
                "max_per_host": maxPerHost.map { .whole($0) },
            ])
        }

        func run() async throws {
            try await site.withClient { client, printer in
                printer.list(try await client.post("/v1/server-groups", body), ServerGroupCommand.columns)
            }
        }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists groups.")
        static let collection = "server-groups"
        static let columns = ServerGroupCommand.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one group, and where its instances are.")
        static let collection = "server-groups"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "group")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Delete: Deleting {
        static let configuration = CommandConfiguration(abstract: "Deletes groups that have no instances any more.")
        static let collection = "server-groups"
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "group")) var references: [String]
        @OptionGroup var site: SiteOptions
    }
}
