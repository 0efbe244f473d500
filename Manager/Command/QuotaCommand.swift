import ArgumentParser
import RoostClient

struct QuotaCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quota", abstract: "How much users and accounts may have, and how much they do.",
        discussion: """
            RAM is in MiB, disk in GiB. Where a user or an account has no limit of its own, the one for every user or \
            account holds. Both a user's and the account's limits are kept.
            """,
        subcommands: [Show.self, List.self, Set.self, Unset.self, Summary.self])

    /// What may be limited: the API's keys.
    static let resources = [
        "instances", "vcpus", "ram_mib", "disk_gib", "gpus", "images", "volumes", "floating_ips",
    ]

    /// Whose limits.
    struct Subject: ParsableArguments {
        enum Everybody: String, ExpressibleByArgument, CaseIterable {
            case users, accounts
        }

        @Option(name: .long, help: "A user; yourself if nobody is named.") var user: String?
        @Option(name: .long, help: "An account: all of its users together.") var account: String?
        @Option(
            name: .long,
            help: ArgumentHelp("Every user, or every account, without limits of their own.", valueName: "kind"))
        var every: Everybody?

        func validate() throws {
            guard [user != nil, account != nil, every != nil].filter({ $0 }).count <= 1 else {
                throw ValidationError("Give one of --user, --account and --every.")
            }
        }

        var isNamed: Bool { user != nil || account != nil || every != nil }

        func place() throws(Failure) -> String {
            if every != nil { return "/v1/quota-defaults" }
            if let account { return try path("accounts", account, "quota") }
            return try path("users", user ?? "me", "quota")
        }

        /// The body of a change, in its place.
        func body(_ change: JSON) -> JSON {
            every.map { .object([.init(key: $0.rawValue, value: change)]) } ?? change
        }
    }

    static func requireSubject(_ subject: Subject) throws {
        guard subject.isNamed else { throw ValidationError("Say whose limits: --user, --account or --every.") }
    }

    static let columns = [
        Column("resource"), Column("used", nil, .number), Column("limit", nil, .number, shown: limit),
        Column("set_by", "SET BY"),
    ]

    @Sendable static func limit(_ row: JSON) -> String { row["limit"] == .null ? "none" : Cell.shown(row["limit"]) }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows limits and use: your own, somebody's, or those of everybody.")
        @OptionGroup var subject: Subject
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let quota = try await client.get(try subject.place())
                guard printer.format != .json else { return printer.resource(quota) }
                guard let every = subject.every else { return printer.list(.list(QuotaCommand.rows(quota)), columns) }
                let settings = quota[every.rawValue]
                printer.list(.list(QuotaCommand.defaultRows(settings)), [columns[0], columns[2]])
            }
        }
    }

    /// A row for each resource, and for each flavor that has a cap or instances.
    static func rows(_ quota: JSON) -> [JSON] {
        func row(_ name: String, used: JSON, limit: JSON, own: JSON) -> JSON {
            [
                "resource": .string(name), "used": used == .null ? .whole(0) : used, "limit": limit,
                "set_by": own != .null ? .string(quota["kind"].text ?? "") : limit == .null ? .null : .string("every"),
            ]
        }
        let plain = resources.map { key in
            row(key, used: quota["used"][key], limit: quota["effective_limits"][key], own: quota["limits"][key])
        }
        let devices = names(quota, ["effective_devices", "devices", "used_devices"]).map { name in
            row(
                "devices:\(name)", used: quota["used_devices"][name], limit: quota["effective_devices"][name],
                own: quota["devices"][name])
        }
        return plain + devices
            + names(quota, ["effective_flavor_caps", "flavor_caps", "used_flavors"]).map { name in
                row(
                    "flavor \(name)", used: quota["used_flavors"][name], limit: quota["effective_flavor_caps"][name],
                    own: quota["flavor_caps"][name])
            }
    }

    /// Of what any of these members is about.
    private static func names(_ quota: JSON, _ members: [String]) -> [String] {
        var names: [String] = []
        for member in members.flatMap({ quota[$0].members }) where !names.contains(member.key) {
            names.append(member.key)
        }
        return names
    }

    static func defaultRows(_ settings: JSON) -> [JSON] {
        resources.map { ["resource": .string($0), "limit": settings["limits"][$0]] }
            + settings["devices"].members.map { ["resource": .string("devices:\($0.key)"), "limit": $0.value] }
            + settings["flavor_caps"].members.map { ["resource": .string("flavor \($0.key)"), "limit": $0.value] }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists what accounts, or users, have of what they may have.")
        @Flag(name: .long, help: "Of users instead of accounts.") var users = false
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let shares = QuotaCommand.resources.map { key in
                Column(
                    key, nil, .number, shown: { QuotaCommand.share($0, key) },
                    value: { .string(QuotaCommand.share($0, key)) })
            }
            try await list.print(
                "/v1/quotas", [Column("name")] + (users ? [Column("account")] : []) + shares, site,
                with: ["kind": users ? "user" : "account"])
        }
    }

    /// `3/10`; `3` where there is no limit.
    static func share(_ quota: JSON, _ key: String) -> String {
        let used = quota["used"][key].integer ?? 0
        return quota["effective_limits"][key].integer.map { "\(used)/\($0)" } ?? "\(used)"
    }

    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Sets limits; 'none' is no limit, also where there is one for everybody.",
            discussion: "An account's owner sets limits of its users, up to what the account has.")
        @OptionGroup var subject: Subject
        @Option(name: .long, help: "How many instances.") var instances: Limit?
        @Option(name: .long, help: "Virtual CPUs of all instances.") var vcpus: Limit?
        @Option(name: .long, help: ArgumentHelp("RAM of all instances.", valueName: "mib")) var ram: Limit?
        @Option(name: .long, help: ArgumentHelp("Disk of all instances.", valueName: "gib")) var disk: Limit?
        @Option(name: .long, help: "GPUs of all instances.") var gpus: Limit?
        @Option(name: .long, help: "How many images.") var images: Limit?
        @Option(name: .long, help: "How many volumes.") var volumes: Limit?
        @Option(name: .long, help: "How many floating addresses.") var floatingIps: Limit?
        @Option(
            name: .long,
            help: ArgumentHelp("Instances of a flavor; may be given several times.", valueName: "flavor=count"))
        var flavor: [String] = []
        @Option(
            name: .long,
            help: ArgumentHelp("Devices by an alias; may be given several times.", valueName: "alias=count"))
        var devices: [String] = []
        @OptionGroup var site: SiteOptions

        func validate() throws { try QuotaCommand.requireSubject(subject) }

        func run() async throws {
            let given = [instances, vcpus, ram, disk, gpus, images, volumes, floatingIps]
            let limits = zip(QuotaCommand.resources, given).compactMap { key, limit in
                limit.map { JSON.Member(key: key, value: $0.value) }
            }
            try await QuotaCommand.change(
                subject, limits, caps: Self.limits(flavor), devices: Self.limits(devices), site)
        }

        /// `K2_Grid=4`.
        private static func limits(_ pairs: [String]) throws -> [JSON.Member] {
            try (KeyValueOptions.object(pairs)?.members ?? []).map { pair in
                guard let limit = pair.value.text.flatMap(Limit.init(argument:)) else {
                    throw Failure.usage("'\(pair.key)=\(pair.value.text ?? "")': the limit must be a number, or none")
                }
                return .init(key: pair.key, value: limit.value)
            }
        }
    }

    /// A number, or `none`.
    struct Limit: ExpressibleByArgument {
        var value: JSON

        init?(argument: String) {
            if argument == "none" {
                value = .whole(-1)
            } else if let number = Int(argument), number >= 0 {
                value = .whole(number)
            } else {
                return nil
            }
        }

        var defaultValueDescription: String { value.integer.map(String.init) ?? "none" }
    }

    struct Unset: AsyncParsableCommand {
        enum Resource: String, ExpressibleByArgument, CaseIterable {
            case instances, vcpus, ram, disk, gpus, images, volumes
            case floatingIPs = "floating-ips"

            var key: String {
                switch self {
                case .ram: "ram_mib"
                case .disk: "disk_gib"
                case .floatingIPs: "floating_ips"
                default: rawValue
                }
            }
        }

        static let configuration = CommandConfiguration(
            abstract: "Takes limits away, so that those for everybody hold.")
        @OptionGroup var subject: Subject
        @Argument(
            help: ArgumentHelp(
                "instances, vcpus, ram, disk, gpus, images, volumes or floating-ips.", valueName: "resource"))
        var resources: [Resource] = []
        @Option(
            name: .long, help: ArgumentHelp("The cap of a flavor; may be given several times.", valueName: "flavor"))
        var flavor: [String] = []
        @Option(
            name: .long,
            help: ArgumentHelp("The limit of an alias; may be given several times.", valueName: "alias"))
        var devices: [String] = []
        @OptionGroup var site: SiteOptions

        func validate() throws { try QuotaCommand.requireSubject(subject) }

        func run() async throws {
            try await QuotaCommand.change(
                subject, resources.map { .init(key: $0.key, value: .null) },
                caps: flavor.map { .init(key: $0, value: .null) },
                devices: devices.map { .init(key: $0, value: .null) }, site)
        }
    }

    private static func change(
        _ subject: Subject, _ limits: [JSON.Member], caps: [JSON.Member], devices: [JSON.Member], _ site: SiteOptions
    ) async throws {
        guard !limits.isEmpty || !caps.isEmpty || !devices.isEmpty else { throw Failure.usage("say which limits") }
        let change = JSON.present([
            "limits": limits.isEmpty ? nil : .object(limits), "flavor_caps": caps.isEmpty ? nil : .object(caps),
            "devices": devices.isEmpty ? nil : .object(devices),
        ])
        try await site.withClient { client, printer in
            let quota = try await client.patch(try subject.place(), subject.body(change))
            guard printer.format != .json else { return printer.resource(quota) }
            if let every = subject.every {
                printer.list(.list(defaultRows(quota[every.rawValue])), [columns[0], columns[2]])
            } else {
                printer.list(.list(rows(quota)), columns)
            }
        }
    }

    struct Summary: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows all limits beside what the site has (superusers); they may add up to more.")
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let summary = try await client.get("/v1/quota-summary")
                guard printer.format != .json else { return printer.resource(summary) }
                printer.list(
                    .list(summary["resources"].items),
                    [
                        Column("resource"), Column("alias"), .number("used"), .number("limit_sum", "LIMITS"),
                        .number("unlimited_accounts", "UNLIMITED"), .number("capacity"),
                        Column("promised_beyond_capacity", "PROMISED BEYOND"), Column("exhausted"),
                    ])
                for warning in summary["warnings"].items { printer.note(Cell.shown(warning)) }
            }
        }
    }
}
