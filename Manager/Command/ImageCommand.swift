import ArgumentParser

struct ImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image", abstract: "Disk images.",
        subcommands: [
            Create.self, List.self, Show.self, Update.self, Delete.self, Prefill.self, Pin.self, Unpin.self, Evict.self,
            Policy.self,
        ])

    static let columns = [
        Column("name"), Column("status", colour: Colour.status), Column("format"), Column.bytes("size_bytes", "SIZE"),
        Column("visibility"), Column("owner"),
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
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one image, and which nodes hold it.")
        static let collection = "images"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "image")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Update: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Changes an image's name, properties or visibility.")
        @Argument(help: "Name or ID.") var image: String
        @Option(name: .long, help: "A new name.") var name: String?
        @Option(name: .long, help: ArgumentHelp("Set a property; may be given several times.", valueName: "key=value"))
        var property: [String] = []
        @Option(name: .long, help: ArgumentHelp("Remove a property; may be given several times.", valueName: "key"))
        var unset: [String] = []
        @Option(name: .long, help: ArgumentHelp("Disk that a flavor must have.", valueName: "gib")) var minDisk: Int?
        @Option(name: .long, help: ArgumentHelp("RAM that a flavor must have.", valueName: "mib")) var minRam: Int?
        @Flag(name: .customLong("private"), help: "Only the owner may use it.") var makesPrivate = false
        @Flag(name: .customLong("public"), help: "Everybody may use it (superusers).") var makesPublic = false
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard !(makesPrivate && makesPublic) else {
                throw ValidationError("--private and --public exclude each other.")
            }
        }

        func run() async throws {
            let changes = try KeyValueOptions.object(property) ?? [:]
            let visibility: String? = makesPrivate ? "private" : makesPublic ? "public" : nil
            try await site.withClient { client, printer in
                let target = try path("images", image)
                let (present, tag) = try await client.getTagged(target)
                let properties: JSON? =
                    property.isEmpty && unset.isEmpty ? nil : Self.merged(present["properties"], changes, unset: unset)
                // The API replaces the properties as a whole; the tag sees that nobody else's change gets lost.
                let body = JSON.present([
                    "name": name.map { .string($0) }, "properties": properties,
                    "visibility": visibility.map { .string($0) }, "min_disk_gib": minDisk.map { .whole($0) },
                    "min_ram_mib": minRam.map { .whole($0) },
                ])
                printer.list(try await client.patch(target, body, ifMatch: tag), ImageCommand.columns)
            }
        }

        static func merged(_ present: JSON, _ changes: JSON, unset: [String]) -> JSON {
            var result = JSON.object(present.members.filter { !unset.contains($0.key) })
            for change in changes.members { result = result.setting(change.key, to: change.value) }
            return result
        }
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
