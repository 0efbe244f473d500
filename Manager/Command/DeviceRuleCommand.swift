import ArgumentParser
import Foundation
import RoostClient

extension DeviceCommand {
    struct Rule: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Which devices guests may be given, and by what alias.",
            discussion: """
                alias: devices that fit can be asked for by the alias, in a flavor's property pci_passthrough:alias. \
                allow: where there is such a rule, only devices that fit one are given to guests. deny: devices that fit \
                never are. All that a rule names must hold; in patterns * stands for any characters (quote it, so that the \
                shell leaves it alone).
                """,
            subcommands: [Create.self, List.self, Show.self, Change.self, Delete.self])

        static let collection = "device-rules"
        static let columns = [
            Column("action"), Column("alias"), Column("match"), Column("description"), Column.id,
        ]

        enum Action: String, ExpressibleByArgument, CaseIterable { case alias, allow, deny }
    }
}

/// Which devices a rule is about.
struct DeviceMatchOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp("Short for --vendor and --product, as lspci -n prints them.", valueName: "10de:11bf"))
    var id: String?
    @Option(name: .long, help: "The vendor's number, such as 10de.") var vendor: String?
    @Option(name: .long, help: "The product's number, such as 11bf.") var product: String?
    @Option(name: .long, help: "Of whoever built the card.") var subsystemVendor: String?
    @Option(name: .long, help: "Of the card.") var subsystemProduct: String?
    @Option(
        name: .customLong("class"),
        help: ArgumentHelp("The beginning of the class, such as 03 or 0302.", valueName: "class"))
    var deviceClass: String?
    @Option(name: .long, help: "A pattern, such as '0000:3b:*'.") var address: String?
    @Option(name: .long, help: "A pattern for vendor and product, such as '*GRID K2*'.") var name: String?
    @Option(name: .long, help: "A pattern for the node's name, such as 'cn4*'.") var node: String?

    func validate() throws {
        guard let id else { return }
        guard vendor == nil, product == nil else { throw ValidationError("--id says vendor and product already.") }
        guard id.split(separator: ":", omittingEmptySubsequences: false).count == 2 else {
            throw ValidationError("--id must be VENDOR:PRODUCT, such as 10de:11bf.")
        }
    }

    /// The API's names of what an option is about.
    static let members = [
        "vendor": "vendor_id", "product": "product_id", "subsystem-vendor": "subsystem_vendor_id",
        "subsystem-product": "subsystem_product_id", "class": "class", "address": "address", "name": "name",
        "node": "node",
    ]

    /// What was named, as the API has it.
    var match: JSON {
        let parts = id?.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        let named: KeyValuePairs<String, String?> = [
            "vendor_id": parts?[0] ?? vendor, "product_id": parts?[1] ?? product,
            "subsystem_vendor_id": subsystemVendor,
            "subsystem_product_id": subsystemProduct, "class": deviceClass, "address": address, "name": name,
            "node": node,
        ]
        return named.reduce(into: JSON.object([])) { match, pair in
            if let value = pair.value { match = match.setting(pair.key, to: .string(value)) }
        }
    }
}

extension DeviceCommand.Rule {
    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes a rule; it counts at once.", aliases: ["add"])
        @Argument(help: "alias, allow or deny.") var action: Action
        @Argument(help: "With alias: the name that flavors ask for, such as K2_Grid.") var alias: String?
        @OptionGroup var options: DeviceMatchOptions
        @Option(name: .long, help: "What it is for.") var description: String?
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard (action == .alias) == (alias != nil) else {
                throw ValidationError(
                    action == .alias ? "Say which alias, such as K2_Grid." : "Only a rule that is an alias has a name.")
            }
            guard !options.match.members.isEmpty else {
                throw ValidationError("Say which devices, such as --id 10de:11bf.")
            }
        }

        func run() async throws {
            let body = JSON.present([
                "action": .string(action.rawValue), "alias": alias.map { .string($0) }, "match": options.match,
                "description": description.map { .string($0) },
            ])
            try await site.withClient { client, printer in
                printer.list(
                    try await client.post("/v1/\(DeviceCommand.Rule.collection)", body), DeviceCommand.Rule.columns)
            }
        }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists rules.")
        static let collection = DeviceCommand.Rule.collection
        static let columns = DeviceCommand.Rule.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows one rule.")
        @Argument(help: "Its ID, or its alias where no other rule has it.") var rule: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                printer.resource(try await client.get(try await DeviceCommand.Rule.location(of: rule, client)))
            }
        }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "change", abstract: "Changes a rule's alias, devices or description.",
            aliases: ["set", "update"])
        @Argument(help: "Its ID, or its alias where no other rule has it.") var rule: String
        @Option(name: .long, help: "Another alias.") var alias: String?
        @OptionGroup var options: DeviceMatchOptions
        @Option(
            name: .long,
            help: ArgumentHelp("Look at this no longer, such as node; may be given several times.", valueName: "option")
        )
        var unset: [String] = []
        @Option(name: .long, help: "What it is for.") var description: String?
        @OptionGroup var site: SiteOptions

        func validate() throws {
            for name in unset where DeviceMatchOptions.members[name] == nil {
                throw ValidationError(
                    "--unset takes one of \(DeviceMatchOptions.members.keys.sorted().joined(separator: ", ")).")
            }
            guard !body.members.isEmpty else { throw ValidationError("Say what to change.") }
        }

        var body: JSON {
            let match = unset.reduce(into: options.match) { match, name in
                if let member = DeviceMatchOptions.members[name] { match = match.setting(member, to: .null) }
            }
            return JSON.present([
                "alias": alias.map { .string($0) }, "match": match.members.isEmpty ? nil : match,
                "description": description.map { .string($0) },
            ])
        }

        func run() async throws {
            try await site.withClient { client, printer in
                let path = try await DeviceCommand.Rule.location(of: rule, client)
                printer.list(try await client.patch(path, body), DeviceCommand.Rule.columns)
            }
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Deletes rules; the last one of an alias stays while a flavor asks for it.", aliases: ["remove"])
        @Argument(help: ArgumentHelp("IDs, or aliases that no other rule has.", valueName: "rule")) var rules: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                try await attemptEach(rules) { rule in
                    _ = try await client.delete(try await DeviceCommand.Rule.location(of: rule, client))
                    printer.note("Deleted \(rule.printable).")
                }
            }
        }
    }

    /// The API knows rules by ID; people know those that give an alias by it.
    private static func location(of reference: String, _ client: APIClient) async throws -> String {
        guard UUID(uuidString: reference) == nil else { return try path(collection, reference) }
        let found = try await client.list("/v1/\(collection)", ["alias": reference])["items"].items
        guard found.count <= 1 else {
            throw Failure(
                "\(found.count) rules give the alias '\(reference.printable)'; name one by its ID, see 'roost device rule list'"
            )
        }
        guard let id = found.first?["id"].text else {
            throw Failure("there is no rule '\(reference.printable)'; see 'roost device rule list'")
        }
        return try path(collection, id)
    }
}
