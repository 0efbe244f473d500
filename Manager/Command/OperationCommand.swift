import ArgumentParser

struct OperationCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "operation", abstract: "Requests that take time.", subcommands: [List.self, Show.self, Wait.self])

    static let columns = [
        Column("kind"), Column("resource", value: { $0["resource"]["name"] }),
        Column("status", colour: Colour.status), Column("progress", "%", .number),
        Column("error", value: { $0["error"]["detail"] }), Column("created_at", "CREATED"), Column.id,
    ]

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists operations.")
        static let collection = "operations"
        static let columns = OperationCommand.columns
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one operation.")
        static let collection = "operations"
        @Argument(help: ArgumentHelp("The ID.", valueName: "operation")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Wait: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Returns when operations have ended; exits with 1 if one failed.")
        @Argument(help: ArgumentHelp("IDs.", valueName: "operation")) var operations: [String]
        @Option(name: .long, help: ArgumentHelp("How long to wait.", valueName: "seconds")) var waitTimeout = 3600
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let waiting = OperationWait(client, printer, seconds: waitTimeout)
                var ended: [JSON] = []
                for id in operations { ended.append(try await waiting.end(of: id)) }
                printer.list(ended.count == 1 ? ended[0] : .list(ended), OperationCommand.columns)
                let failed = ended.filter { $0["status"].text == "failed" }
                if !failed.isEmpty { throw Failure.together(failed.map(OperationWait.failure)) }
            }
        }
    }
}
