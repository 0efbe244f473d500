import ArgumentParser
import RoostClient

struct InstanceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "instance", abstract: "Virtual machines.",
        subcommands: [
            Create.self, List.self, Show.self, Start.self, Stop.self, Reboot.self, Set.self, Delete.self,
            Console.self,
        ])

    static let columns = [
        Column("name"), Column("status", colour: Colour.status), Column("node"), Column("addresses"), Column("flavor"),
        Column("image"), Column("owner"), Column.id,
    ]

    struct WaitOptions: ParsableArguments {
        @Flag(name: .long, help: "Return when it is done; exit with 1 if it failed.") var wait = false
        @Option(name: .long, help: ArgumentHelp("How long to wait.", valueName: "seconds")) var waitTimeout = 1800
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists instances.")
        @Flag(name: .long, help: "Everybody's (superusers).") var all = false
        @Option(name: .long, help: "Only those in this status, such as ERROR.") var status: String?
        @Option(name: .long, help: "Only those on this node.") var node: String?
        @Option(name: .long, help: "Only this user's (superusers).") var owner: String?
        @Flag(name: .long, help: "Deleted ones too.") var deleted = false
        @Flag(name: .long, help: "Only worker nodes: those whose metadata says role=worker, as 'node fill' makes them.")
        var workers = false
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions

        /// Of worker nodes: where each is, and how (HLT-28).
        static let workerColumns = [
            Column("name"), Column("addresses"), Column("node"), Column("status", colour: Colour.status),
        ]

        /// Where one waits, why is worth a column.
        static let waitingColumns = InstanceCommand.columns + [Column("status_reason")]

        func run() async throws {
            let query = try list.query([
                "status": status?.uppercased(), "node": node, "owner": owner, "all": all ? "true" : nil,
                "deleted": deleted ? "true" : nil,
            ])
            try await site.withClient { client, printer in
                var answer = try await client.list("/v1/instances", matching: query)
                if workers {
                    answer = .list(answer["items"].items.filter { $0["metadata"]["role"].text == "worker" })
                }
                let waits = answer["items"].items.contains { $0["queue"] != .null }
                try list.columns.print(
                    answer, workers ? Self.workerColumns : waits ? Self.waitingColumns : InstanceCommand.columns,
                    printer)
            }
        }
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one instance.")
        static let collection = "instances"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "instance")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Start: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Starts stopped instances.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "instance")) var instances: [String]
        @Flag(name: .long, help: "Where its node lacks what one needs, let it wait, rather than being refused.")
        var queue = false
        @OptionGroup var waiting: WaitOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await InstanceChange(verb: "started", references: instances, waiting: waiting, site: site).run {
                try await queue ? $0.post($1 + "/start", ["queue": .flag(true)]) : $0.post($1 + "/start")
            }
        }
    }

    struct Stop: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Stops instances; their disks, names and IDs are kept.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "instance")) var instances: [String]
        @Flag(name: .long, help: "Cut the power instead of asking the guest.") var force = false
        @OptionGroup var waiting: WaitOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await InstanceChange(verb: "stopped", references: instances, waiting: waiting, site: site).run {
                try await $0.post($1 + "/stop", ["force": .flag(force)])
            }
        }
    }

    struct Reboot: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Reboots instances.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "instance")) var instances: [String]
        @Flag(name: .long, help: "Reset instead of asking the guest.") var force = false
        @OptionGroup var waiting: WaitOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await InstanceChange(verb: "rebooted", references: instances, waiting: waiting, site: site).run {
                try await $0.post($1 + "/reboot", ["force": .flag(force)])
            }
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Deletes instances and their disks.",
            discussion: "With --status, all of your instances in that status: a dry run unless --for-real.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "instance")) var instances: [String] = []
        @Option(name: .long, help: "All that are in this status, such as ERROR.") var status: String?
        @Flag(name: .long, help: "With --status: everybody's (superusers).") var all = false
        @Flag(name: .long, help: "With --status: do it.") var forReal = false
        @OptionGroup var waiting: WaitOptions
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard instances.isEmpty != (status == nil) else {
                throw ValidationError("Name the instances to delete, or give --status.")
            }
            guard status != nil || !(all || forReal) else {
                throw ValidationError("--all and --for-real go with --status.")
            }
        }

        func run() async throws {
            var chosen = instances
            if let status { chosen = try await inStatus(status) }
            try await InstanceChange(verb: "deleted", references: chosen, waiting: waiting, site: site).run {
                try await $0.delete($1)
            }
        }

        /// The IDs to delete: none in a dry run, which shows them instead.
        private func inStatus(_ status: String) async throws -> [String] {
            try await site.withClient { client, printer in
                let mine = all ? nil : try await client.get("/v1/users/me")["name"].text
                let found = try await client.list(
                    "/v1/instances", ["status": status.uppercased(), "owner": mine])["items"].items
                guard !forReal else { return found.compactMap { $0["id"].text } }
                guard printer.format == .table else {
                    printer.list(.list(found), InstanceCommand.columns)
                    return []
                }
                for instance in found {
                    printer.line(
                        "[DRY RUN] Deleting instance \(Cell.shown(instance["id"])) (\(Cell.shown(instance["name"])))")
                }
                printer.line("[DRY RUN] Nothing was changed; repeat with --for-real.")
                return []
            }
        }
    }

    struct Console: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Opens the console (not built yet).")
        @Argument(help: "Name or ID.") var instance: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            throw Failure("the console is not built yet; 'roost instance show' gives the guest's addresses for ssh")
        }
    }
}
