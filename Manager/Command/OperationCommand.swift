import ArgumentParser
import RoostClient

struct OperationCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "operation", abstract: "Requests that take time.",
        subcommands: [List.self, Show.self, Wait.self, Pause.self, Resume.self, Cancel.self])

    static let columns = [
        Column("kind"), Column("resource", value: { $0["resource"]["name"] }),
        Column(
            "status", colour: Colour.status,
            shown: { $0["paused"].isTrue ? "paused" : Cell.shown($0["status"]) }), Column("progress", "%", .number),
        Column("error", value: { $0["error"]["detail"] }), Column("created_at", "CREATED"), Column.id,
    ]

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists operations.")
        static let collection = "operations"
        static let columns = OperationCommand.columns
        @OptionGroup var list: ListOptions
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
                let failed = ended.filter(OperationWait.hasFailed)
                if !failed.isEmpty { throw Failure.together(failed.map(OperationWait.failure)) }
            }
        }
    }

    struct Pause: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lets prefills stand still; what came is kept.",
            discussion: "What an instance waits for goes on. A pause outlives restarts of the manager and the agents.")
        @Argument(help: ArgumentHelp("IDs.", valueName: "operation")) var operations: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws { try await OperationCommand.change(operations, "pause", "Paused", nil, site) }
    }

    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets paused prefills go on from where they stood.")
        @Argument(help: ArgumentHelp("IDs.", valueName: "operation")) var operations: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws { try await OperationCommand.change(operations, "resume", "Resumed", nil, site) }
    }

    struct Cancel: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ends prefills before they are done.",
            discussion: "Hosts that hold the image keep it, and so does a host where an instance waits for it.")
        @Argument(help: ArgumentHelp("IDs.", valueName: "operation")) var operations: [String]
        @Flag(name: .long, help: "Remove what came so far; otherwise a later prefill goes on from there.")
        var drop = false
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await OperationCommand.change(operations, "cancel", "Cancelled", ["drop": .flag(drop)], site)
        }
    }

    private static func change(
        _ operations: [String], _ verb: String, _ done: String, _ body: JSON?, _ site: SiteOptions
    ) async throws {
        try await site.withClient { client, printer in
            try await attemptEach(operations) { id in
                _ = try await client.post("\(try path("operations", id))/\(verb)", body)
                printer.note("\(done) \(id.printable).")
            }
        }
    }
}
