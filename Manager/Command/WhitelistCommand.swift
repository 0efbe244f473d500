import ArgumentParser
import Foundation
import RoostClient

struct WhitelistCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "whitelist", abstract: "Who may become a user by themselves (superusers).",
        discussion: """
            An entry is an e-mail address, or a user's name in the directory; * stands for any characters, as in \
            '*@example.org'. Quote it, so that the shell leaves the * alone.
            """,
        subcommands: [Add.self, List.self, Show.self, Change.self, Delete.self])

    static let collection = "registration-whitelist"
    static let columns = [Column("pattern"), Column("description"), Column("created_at", "SINCE"), Column.id]

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets somebody register.", aliases: ["create"])
        @Argument(help: "Whom, such as '*@example.org'.") var pattern: String
        @Option(name: .long, help: "Why, or who that is.") var description: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let body = JSON.present(["pattern": .string(pattern), "description": description.map { .string($0) }])
            try await site.withClient { client, printer in
                printer.list(try await client.post("/v1/\(collection)", body), WhitelistCommand.columns)
            }
        }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists who may register.")
        static let collection = WhitelistCommand.collection
        static let columns = WhitelistCommand.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows one entry.")
        @Argument(help: "Its pattern or ID.") var entry: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                printer.resource(try await client.get(try await WhitelistCommand.address(of: entry, client)))
            }
        }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "change", abstract: "Changes whom an entry means, or its description.",
            aliases: ["set", "update"])
        @Argument(help: "Its pattern or ID.") var entry: String
        @Option(name: .long, help: "Whom instead.") var pattern: String?
        @Option(name: .long, help: "Why, or who that is.") var description: String?
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard pattern != nil || description != nil else { throw ValidationError("Say what to change.") }
        }

        func run() async throws {
            let body = JSON.present([
                "pattern": pattern.map { .string($0) }, "description": description.map { .string($0) },
            ])
            try await site.withClient { client, printer in
                let path = try await WhitelistCommand.address(of: entry, client)
                printer.list(try await client.patch(path, body), WhitelistCommand.columns)
            }
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lets somebody register no longer; who has registered stays.", aliases: ["remove"])
        @Argument(help: ArgumentHelp("Patterns or IDs.", valueName: "entry")) var entries: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                try await attemptEach(entries) { entry in
                    _ = try await client.delete(try await WhitelistCommand.address(of: entry, client))
                    printer.note("Deleted \(entry.printable).")
                }
            }
        }
    }

    /// The API knows entries by ID; people know them by what they say.
    private static func address(of reference: String, _ client: APIClient) async throws -> String {
        guard UUID(uuidString: reference) == nil else { return try path(collection, reference) }
        let found = try await client.list("/v1/\(collection)", ["pattern": reference])["items"].items
        guard let id = found.first?["id"].text else {
            throw Failure("there is no entry '\(reference)'; see 'roost whitelist list'")
        }
        return try path(collection, id)
    }
}
