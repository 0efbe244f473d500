import ArgumentParser
import RoostClient

extension ImageCommand {
    struct Policy: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Images that nodes get by themselves, also nodes that come later (superusers).",
            subcommands: [
                Create.self, List.self, Show.self, Update.self, Enable.self, Disable.self, Delete.self,
            ])

        static let columns = [
            Column("name"), Column("image"),
            Column("aggregate", shown: { $0["aggregate"].text.map(\.printable) ?? "all nodes" }),
            Column("state", colour: Colour.status), Column.number("nodes"), Column.number("holding"),
            Column("reason"), Column.id,
        ]
    }
}

extension ImageCommand.Policy {
    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Sends an image to a group of nodes, now and whenever one joins, is enabled or gets into the group.",
            discussion: """
                An image that is named follows its name: when another image gets the name, that one is sent. \
                An ID means that one image.
                """)
        @Argument(help: "Name or ID.") var image: String
        @Option(name: .long, help: "The group of nodes.") var aggregate: String?
        @Flag(name: .long, help: "All enabled nodes.") var all = false
        @Option(name: .long, help: "The policy's name; IMAGE-AGGREGATE or IMAGE-all if left out.") var name: String?
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard (aggregate != nil) != all else {
                throw ValidationError("Give either --aggregate or --all.")
            }
        }

        func run() async throws {
            let body = JSON.present([
                "image": .string(image), "aggregate": aggregate.map { .string($0) }, "name": name.map { .string($0) },
            ])
            try await site.withClient { client, printer in
                printer.list(try await client.post("/v1/image-policies", body), ImageCommand.Policy.columns)
            }
        }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists policies and how far they are.")
        static let collection = "image-policies"
        static let columns = ImageCommand.Policy.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(
            abstract: "Shows one policy, which nodes still lack the image, and why.")
        static let collection = "image-policies"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "policy")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Update: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Changes a policy's name or image.")
        @Argument(help: "Name or ID.") var policy: String
        @Option(name: .long, help: "A new name.") var name: String?
        @Option(name: .long, help: "Another image, by name or ID.") var image: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let body = JSON.present(["name": name.map { .string($0) }, "image": image.map { .string($0) }])
            try await site.withClient { client, printer in
                let answer = try await client.patch(try path("image-policies", policy), body)
                printer.list(answer, ImageCommand.Policy.columns)
            }
        }
    }

    struct Enable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets policies send their images again.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "policy")) var policies: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws { try await ImageCommand.Policy.set(policies, enabled: true, site) }
    }

    struct Disable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lets policies rest: they begin nothing more; what is on its way goes on.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "policy")) var policies: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws { try await ImageCommand.Policy.set(policies, enabled: false, site) }
    }

    private static func set(_ policies: [String], enabled: Bool, _ site: SiteOptions) async throws {
        try await site.withClient { client, printer in
            try await attemptEach(policies) { policy in
                _ = try await client.patch(try path("image-policies", policy), ["enabled": .flag(enabled)])
                printer.note("\(enabled ? "Enabled" : "Disabled") \(policy.printable).")
            }
        }
    }

    struct Delete: Deleting {
        static let configuration = CommandConfiguration(abstract: "Deletes policies; copies that they brought stay.")
        static let collection = "image-policies"
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "policy")) var references: [String]
        @OptionGroup var site: SiteOptions
    }
}
