import ArgumentParser
import RoostClient

struct AccountCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "account", abstract: "Users who belong together, and who manages them.",
        subcommands: [
            Create.self, List.self, Show.self, Change.self, Enable.self, Disable.self, Delete.self,
        ])

    static let columns = [
        Column("name"), Column("owner"), Column("enabled"), Column.number("user_count", "USERS"),
        Column("description"), Column.id,
    ]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Makes an account (superusers).")
        @Argument(help: "The name, which never changes.") var name: String
        @Option(name: .long, help: "What it is for.") var description: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let body = JSON.present(["name": .string(name), "description": description.map { .string($0) }])
            try await site.withClient { client, printer in
                printer.list(try await client.post("/v1/accounts", body), AccountCommand.columns)
            }
        }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "change", abstract: "Changes an account.", aliases: ["set", "update"])
        @Argument(help: "Name or ID.") var account: String
        @Option(name: .long, help: "What it is for.") var description: String?
        @Option(name: .long, help: ArgumentHelp("One of its users, who manages the others.", valueName: "user"))
        var owner: String?
        @Flag(name: .long, help: "Superusers alone manage it.") var noOwner = false
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard owner == nil || !noOwner else { throw ValidationError("--owner and --no-owner exclude each other.") }
        }

        func run() async throws {
            let body = JSON.present([
                "description": description.map { .string($0) },
                "owner": noOwner ? .null : owner.map { .string($0) },
            ])
            try await ResourceChange(
                collection: "accounts", reference: account, columns: AccountCommand.columns, site: site
            ).send(body)
        }
    }

    struct Enable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets the users of accounts sign in.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "account")) var accounts: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws { try await setEnabled(true, "accounts", accounts, site) }
    }

    struct Disable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets nobody of accounts sign in.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "account")) var accounts: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws { try await setEnabled(false, "accounts", accounts, site) }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists accounts.")
        static let collection = "accounts"
        static let columns = AccountCommand.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one account.")
        static let collection = "accounts"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "account")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Delete: Deleting {
        static let configuration = CommandConfiguration(abstract: "Deletes accounts that nobody is in.")
        static let collection = "accounts"
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "account")) var references: [String]
        @OptionGroup var site: SiteOptions
    }
}
