import ArgumentParser
import RoostClient

struct AggregateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "aggregate", abstract: "Groups of nodes with metadata (superusers).",
        discussion: "Host lists: cn[43-45,47], comma lists, @file with # comments; quote brackets against the shell.",
        subcommands: [
            Create.self, List.self, Show.self, Update.self, AddNode.self, RemoveNode.self, Delete.self,
        ])

    static let columns = [Column("name"), Column("metadata"), Column("nodes"), Column.id]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Makes a group.")
        @Argument(help: "The name.") var name: String
        @Option(
            name: .long, help: ArgumentHelp("Such as gpu=true; may be given several times.", valueName: "key=value"))
        var metadata: [String] = []
        @Option(name: .long, help: ArgumentHelp("Short for --metadata availability_zone=ZONE.", valueName: "zone"))
        var zone: String?
        @Option(name: .long, help: ArgumentHelp("Hosts to put in at once.", valueName: "hosts")) var nodes: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let pairs = metadata + (zone.map { ["availability_zone=\($0)"] } ?? [])
            let values = try KeyValueOptions.object(pairs)
            try await site.withClient { client, printer in
                let resolution = try await nodes.mapAsync { try await HostResolution.of($0, client, printer) }
                if let resolution, !resolution.unknown.isEmpty { throw Failure.together(resolution.failures) }
                let body = JSON.present([
                    "name": .string(name), "metadata": values, "nodes": resolution.map { .texts($0.nodes) },
                ])
                printer.list(try await client.post("/v1/aggregates", body), AggregateCommand.columns)
            }
        }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists groups and their nodes.")
        static let collection = "aggregates"
        static let columns = AggregateCommand.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one group.")
        static let collection = "aggregates"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "aggregate")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Update: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Changes a group's name or metadata.")
        @Argument(help: "Name or ID.") var aggregate: String
        @Option(name: .long, help: "A new name.") var name: String?
        @Option(name: .long, help: ArgumentHelp("Set metadata; may be given several times.", valueName: "key=value"))
        var metadata: [String] = []
        @Option(name: .long, help: ArgumentHelp("Remove metadata; may be given several times.", valueName: "key"))
        var unset: [String] = []
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let changes = try KeyValueOptions.object(metadata) ?? [:]
            try await site.withClient { client, printer in
                let target = try path("aggregates", aggregate)
                let (present, tag) = try await client.getTagged(target)
                let merged: JSON? =
                    metadata.isEmpty && unset.isEmpty
                    ? nil : ImageChange.merged(present["metadata"], changes, unset: unset)
                let body = JSON.present(["name": name.map { .string($0) }, "metadata": merged])
                printer.list(try await client.patch(target, body, ifMatch: tag), AggregateCommand.columns)
            }
        }
    }

    struct AddNode: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "add-node", abstract: "Puts nodes into a group.")
        @Argument(help: "Name or ID.") var aggregate: String
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                if !resolution.nodes.isEmpty {
                    let answer = try await client.post(
                        path("aggregates", aggregate) + "/nodes", ["nodes": .texts(resolution.nodes)])
                    printer.list(answer, AggregateCommand.columns)
                }
                if !resolution.unknown.isEmpty { throw Failure.together(resolution.failures) }
            }
        }
    }

    struct RemoveNode: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "remove-node", abstract: "Takes nodes out of a group.")
        @Argument(help: "Name or ID.") var aggregate: String
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                let target = try path("aggregates", aggregate)
                try await attemptEach(resolution.nodes) { node in
                    _ = try await client.delete("\(target)/nodes/\(Address.escaped(node))")
                    printer.note("Removed \(node.printable).")
                }
                if !resolution.unknown.isEmpty { throw Failure.together(resolution.failures) }
            }
        }
    }

    struct Delete: Deleting {
        static let configuration = CommandConfiguration(abstract: "Deletes groups; their nodes stay.")
        static let collection = "aggregates"
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "aggregate")) var references: [String]
        @OptionGroup var site: SiteOptions
    }
}

extension Optional {
    /// `map` with a body that waits.
    func mapAsync<Value>(_ body: (Wrapped) async throws -> Value) async rethrows -> Value? {
        guard let self else { return nil }
        return try await body(self)
    }
}
