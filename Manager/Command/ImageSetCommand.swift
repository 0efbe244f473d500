import ArgumentParser
import RoostClient

extension ImageCommand {
    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "set", abstract: "Changes an image's name, properties, limits, visibility or protection.",
            aliases: ["update"])
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
        @Flag(name: .long, help: "Refuse to delete it until this is unset.") var protected = false
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard !(makesPrivate && makesPublic) else {
                throw ValidationError("--private and --public exclude each other.")
            }
        }

        func run() async throws {
            let changes = try KeyValueOptions.object(property) ?? [:]
            let visibility: String? = makesPrivate ? "private" : makesPublic ? "public" : nil
            let fields = JSON.present([
                "name": name.map { .string($0) }, "visibility": visibility.map { .string($0) },
                "min_disk_gib": minDisk.map { .whole($0) }, "min_ram_mib": minRam.map { .whole($0) },
                "protected": protected ? .flag(true) : nil,
            ])
            try await site.withClient { client, printer in
                try await ImageChange(image: image, fields: fields, set: changes, unset: unset).run(client, printer)
            }
        }
    }

    struct Unset: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Removes an image's properties, or its protection.")
        @Argument(help: "Name or ID.") var image: String
        @Option(name: .long, help: ArgumentHelp("A property; may be given several times.", valueName: "key"))
        var property: [String] = []
        @Flag(name: .long, help: "It may be deleted again.") var protected = false
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard protected || !property.isEmpty else { throw ValidationError("Say what to unset.") }
        }

        func run() async throws {
            let fields = JSON.present(["protected": protected ? .flag(false) : nil])
            try await site.withClient { client, printer in
                try await ImageChange(image: image, fields: fields, set: [:], unset: property).run(client, printer)
            }
        }
    }

    struct Deactivate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Offers an image to nobody any more; what runs from it goes on.")
        @Argument(help: "Name or ID.") var image: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                printer.list(
                    try await client.post(bare: try path("images", image) + "/deactivate"), ImageCommand.columns)
            }
        }
    }

    struct Reactivate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Offers an image again.")
        @Argument(help: "Name or ID.") var image: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                printer.list(
                    try await client.post(bare: try path("images", image) + "/reactivate"), ImageCommand.columns)
            }
        }
    }

    struct Share: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets the users of an account use an image.")
        @Argument(help: "Name or ID.") var image: String
        @Argument(help: "Name of the account.") var account: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let target = try path("images", image) + "/shares/" + Address.escaped(account)
                printer.list(try await client.put(target), ImageCommand.columns)
            }
        }
    }

    struct Unshare: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shares an image with an account no more.")
        @Argument(help: "Name or ID.") var image: String
        @Argument(help: "Name of the account.") var account: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let target = try path("images", image) + "/shares/" + Address.escaped(account)
                printer.list(try await client.delete(target), ImageCommand.columns)
            }
        }
    }
}

/// A change of an image's fields and properties.
struct ImageChange {
    let image: String
    let fields: JSON
    let set: JSON
    let unset: [String]

    func run(_ client: APIClient, _ printer: Printer) async throws {
        let target = try path("images", image)
        guard !set.members.isEmpty || !unset.isEmpty else {
            return printer.list(try await client.patch(target, fields), ImageCommand.columns)
        }
        // The tag sees that nobody else's change gets lost.
        let (present, tag) = try await client.getTagged(target)
        let body = fields.setting("properties", to: Self.merged(present["properties"], set, unset: unset))
        printer.list(try await client.patch(target, body, ifMatch: tag), ImageCommand.columns)
    }

    static func merged(_ present: JSON, _ changes: JSON, unset: [String]) -> JSON {
        var result = present
        for key in unset { result = result.setting(key, to: .null) }
        for change in changes.members { result = result.setting(change.key, to: change.value) }
        return result
    }
}
