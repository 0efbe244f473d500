import ArgumentParser
import RoostClient

struct ImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image", abstract: "Disk images.",
        subcommands: [
            Create.self, List.self, Show.self, Change.self, Unset.self, Replace.self, Deactivate.self, Reactivate.self,
            Share.self, Unshare.self, Delete.self, Prefill.self, Pin.self, Unpin.self, Evict.self, Policy.self,
        ])

    static let columns = [
        Column("name"), Column("status", colour: Colour.status), Column("format"), Column.bytes("size_bytes", "SIZE"),
        Column("progress", "DONE %", .number), Column("visibility"), Column("owner"),
        Column(
            "nodes", "HELD BY", .number,
            shown: { image in
                String(image["nodes"].items.filter { $0["state"].text == "held" }.count)
            },
            value: { image in
                .array(image["nodes"].items.filter { $0["state"].text == "held" }.map { $0["node"] })
            }),
        Column.id,
    ]

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists images.")
        static let collection = "images"
        static let columns = ImageCommand.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one image, and which nodes hold it.")
        static let collection = "images"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "image")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Deletes images that no instance uses.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "image")) var images: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                try await attemptEach(images) { image in
                    let answer = try await client.delete(try path("images", image))
                    if let operation = answer["operation_id"].text {
                        try await OperationWait(client, printer, seconds: 600).success(of: operation)
                    }
                    printer.note("Deleted \(image.printable).")
                }
            }
        }
    }
}
