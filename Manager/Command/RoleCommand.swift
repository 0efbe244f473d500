import ArgumentParser
import RoostClient

struct RoleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "role", abstract: "What users may do.",
        discussion: """
            A permission reaches 'own' things, those of the 'account', or 'all'. 'roost role show superuser' names every \
            permission.
            """,
        subcommands: [Create.self, List.self, Show.self, Change.self, Delete.self])

    static let columns = [
        Column("name"), Column("built_in", "BUILT IN"),
        Column("permissions", shown: { "\($0["permissions"].members.count)" }), Column("description"),
    ]

    struct PermissionOptions: ParsableArguments {
        @Option(
            name: .long,
            help: ArgumentHelp(
                "Such as instanceRead=account; may be given several times.", valueName: "permission=reach"))
        var permission: [String] = []

        func pairs() throws(Failure) -> JSON? {
            let pairs = try KeyValueOptions.object(permission)
            for pair in pairs?.members ?? [] where !["own", "account", "all"].contains(pair.value.text) {
                throw .usage("'\(pair.key)' must reach own, account or all")
            }
            return pairs
        }
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Defines a role of the site (superusers).")
        @Argument(help: "The name.") var name: String
        @OptionGroup var permissions: PermissionOptions
        @Option(name: .long, help: "What it is for.") var description: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let body = JSON.present([
                "name": .string(name), "description": description.map { .string($0) },
                "permissions": try permissions.pairs() ?? [:],
            ])
            try await site.withClient { client, printer in
                printer.list(try await client.post("/v1/roles", body), RoleCommand.columns)
            }
        }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "change", abstract: "Changes what a role allows; it counts at once.",
            aliases: ["set", "update"])
        @Argument(help: "The name.") var role: String
        @OptionGroup var permissions: PermissionOptions
        @Option(name: .long, help: ArgumentHelp("Take away; may be given several times.", valueName: "permission"))
        var unset: [String] = []
        @Option(name: .long, help: "What it is for.") var description: String?
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard !permissions.permission.isEmpty || !unset.isEmpty || description != nil else {
                throw ValidationError("Say what to change.")
            }
        }

        func run() async throws {
            let changes = try permissions.pairs() ?? [:]
            try await site.withClient { client, printer in
                var body = JSON.present(["description": description.map { .string($0) }])
                var tag: String?
                if !changes.members.isEmpty || !unset.isEmpty {
                    // The API takes all of them anew: only as they were seen.
                    let present = try await client.getTagged(try path("roles", role))
                    tag = present.tag
                    let all = try Self.changed(present.body["permissions"], changes, unset, of: role)
                    body = body.setting("permissions", to: all)
                }
                let answer = try await client.patch(try path("roles", role), body, ifMatch: tag)
                printer.list(answer, RoleCommand.columns)
            }
        }

        static func changed(
            _ present: JSON, _ changes: JSON, _ unset: [String], of role: String
        ) throws(Failure) -> JSON {
            for name in unset where present[name] == .null {
                throw .usage("role '\(role)' does not have the permission '\(name)'")
            }
            let kept = JSON.object(present.members.filter { !unset.contains($0.key) })
            return changes.members.reduce(kept) { $0.setting($1.key, to: $1.value) }
        }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists roles: the system's own, and the site's.")
        static let collection = "roles"
        static let columns = RoleCommand.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows what a role allows.")
        @Argument(help: "The name.") var role: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let role = try await client.get(try path("roles", role))
                guard printer.format == .table else { return printer.resource(role) }
                printer.resource(.object(role.members.filter { $0.key != "permissions" }))
                let rows = role["permissions"].members.map { member -> JSON in
                    ["permission": .string(member.key), "reach": member.value]
                }
                printer.list(.list(rows), [Column("permission"), Column("reach")])
            }
        }
    }

    struct Delete: Deleting {
        static let configuration = CommandConfiguration(abstract: "Deletes roles that nobody has.")
        static let collection = "roles"
        @Argument(help: ArgumentHelp("Names.", valueName: "role")) var references: [String]
        @OptionGroup var site: SiteOptions
    }
}
