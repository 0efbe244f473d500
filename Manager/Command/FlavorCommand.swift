import ArgumentParser
import RoostClient

struct FlavorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flavor", abstract: "Sizes of instances.",
        subcommands: [Create.self, List.self, Show.self, Change.self, Delete.self])

    static let columns = [
        Column("name"), Column.number("vcpus"), Column.number("ram_mib"), Column.number("disk_gib"),
        Column("properties"), Column.id,
    ]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Makes a flavor (superusers).")
        @Argument(help: "The name.") var name: String
        @Option(name: .long, help: "Virtual CPUs.") var vcpus: Int
        @Option(name: .long, help: ArgumentHelp("RAM in MiB.", valueName: "mib")) var ram: Int
        @Option(name: .long, help: ArgumentHelp("Disk in GiB.", valueName: "gib")) var disk: Int
        @Option(name: .long, help: ArgumentHelp("May be given several times.", valueName: "key=value"))
        var property: [String] = []
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let body = JSON.present([
                "name": .string(name), "vcpus": .whole(vcpus), "ram_mib": .whole(ram), "disk_gib": .whole(disk),
                "properties": try KeyValueOptions.object(property),
            ])
            try await site.withClient { client, printer in
                printer.list(try await client.post("/v1/flavors", body), FlavorCommand.columns)
            }
        }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "change", abstract: "Renames a flavor, or changes its properties (superusers).",
            aliases: ["set", "update"])
        @Argument(help: "Name or ID.") var flavor: String
        @Option(name: .long, help: "A new name.") var name: String?
        @Option(name: .long, help: ArgumentHelp("Set a property; may be given several times.", valueName: "key=value"))
        var property: [String] = []
        @Option(name: .long, help: ArgumentHelp("Remove a property; may be given several times.", valueName: "key"))
        var unset: [String] = []
        @OptionGroup var site: SiteOptions

        func run() async throws {
            var properties = try KeyValueOptions.object(property) ?? [:]
            for key in unset { properties = properties.setting(key, to: .null) }
            let body = JSON.present([
                "name": name.map { .string($0) }, "properties": properties.members.isEmpty ? nil : properties,
            ])
            try await ResourceChange(
                collection: "flavors", reference: flavor, columns: FlavorCommand.columns, site: site
            ).send(body)
        }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists flavors.")
        static let collection = "flavors"
        static let columns = FlavorCommand.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one flavor.")
        static let collection = "flavors"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "flavor")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Delete: Deleting {
        static let configuration = CommandConfiguration(abstract: "Deletes flavors that no instance has.")
        static let collection = "flavors"
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "flavor")) var references: [String]
        @OptionGroup var site: SiteOptions
    }
}
