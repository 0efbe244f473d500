import ArgumentParser
import RoostClient

struct GroupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "group", abstract: "Users of one account under one name.",
        subcommands: [
            Create.self, List.self, Show.self, Change.self, Add.self, Remove.self, Delete.self,
        ])

    static let columns = [
        Column("name"), Column("account"), Column("members"), Column("description"), Column.id,
    ]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Makes a group.")
        @Argument(help: "The name.") var name: String
        @Option(name: .long, help: "The account; your own if left out.") var account: String?
        @Option(name: .long, help: "What it is for.") var description: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let body = JSON.present([
                "name": .string(name), "account": account.map { .string($0) },
                "description": description.map { .string($0) },
            ])
            try await site.withClient { client, printer in
                printer.list(try await client.post("/v1/groups", body), GroupCommand.columns)
            }
        }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "change", abstract: "Renames a group, or changes its description.", aliases: ["set", "update"])
        @Argument(help: "Name or ID.") var group: String
        @Option(name: .long, help: "A new name.") var name: String?
        @Option(name: .long, help: "What it is for.") var description: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let body = JSON.present(["name": name.map { .string($0) }, "description": description.map { .string($0) }])
            try await ResourceChange(
                collection: "groups", reference: group, columns: GroupCommand.columns, site: site
            ).send(body)
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Puts users of the same account into a group.")
        @Argument(help: "Name or ID.") var group: String
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "user")) var users: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await GroupCommand.members(group, users, "Added", site) { client, path in
                _ = try await client.put(path)
            }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Takes users out of a group.")
        @Argument(help: "Name or ID.") var group: String
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "user")) var users: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await GroupCommand.members(group, users, "Removed", site) { client, path in
                _ = try await client.delete(path)
            }
        }
    }

    private static func members(
        _ group: String, _ users: [String], _ done: String, _ site: SiteOptions,
        _ change: (APIClient, String) async throws -> Void
    ) async throws {
        try await site.withClient { client, printer in
            try await attemptEach(users) { user in
                try await change(client, try path("groups", group, "members", user))
                printer.note("\(done) \(user.printable).")
            }
        }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists groups.")
        static let collection = "groups"
        static let columns = GroupCommand.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one group.")
        static let collection = "groups"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "group")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Delete: Deleting {
        static let configuration = CommandConfiguration(abstract: "Deletes groups; their members stay.")
        static let collection = "groups"
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "group")) var references: [String]
        @OptionGroup var site: SiteOptions
    }
}
