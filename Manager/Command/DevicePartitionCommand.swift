import ArgumentParser
import RoostClient

extension DeviceCommand {
    struct Partition: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Which devices of a host go together, such as the GPUs that an NVSwitch joins.",
            discussion: """
                A rule of the action partition: devices that fit it go to a guest only as one of its sets, all of which is free. \
                A set is addresses, or numbers of --module, such as those of the table that NVIDIA Fabric Manager prints: \
                --module 0000:07:00.0 --module 0000:0a:00.0 … --set 1,2,3,4 --set 5,6,7,8. A set counts on the hosts that have \
                all of it.
                """,
            subcommands: [Create.self, List.self, Show.self, Change.self, Delete.self])

        static let collection = "device-rules"
        static let columns = [
            Column("match"), Column("sets", shown: sets, value: { .string(sets($0)) }), Column("description"),
            Column.id,
        ]

        /// `0000:07:00.0+0000:0a:00.0 0000:07:00.0`; each can be given to `--set`.
        @Sendable static func sets(_ rule: JSON) -> String {
            rule["sets"].items.map { $0.items.map { $0.text ?? "" }.joined(separator: "+") }.joined(separator: " ")
        }
    }
}

/// Sets of devices.
struct DeviceSetOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "The address of a device; given several times, the first is module 1.", valueName: "address"))
    var module: [String] = []
    @Option(
        name: .long,
        help: ArgumentHelp("Devices that may go together; given several times.", valueName: "address,…|number,…"))
    var set: [String] = []

    func validate() throws { _ = try sets }

    /// By address.
    var sets: [[String]] {
        get throws {
            try set.map { text in
                try text.split(omittingEmptySubsequences: false, whereSeparator: { ",+".contains($0) }).map { part in
                    guard let number = Int(part) else { return Self.whole(String(part)) }
                    guard module.indices.contains(number - 1) else {
                        throw ValidationError(
                            "--set \(text): there is no module \(number); give its address with --module.")
                    }
                    return Self.whole(module[number - 1])
                }
            }
        }
    }

    /// With the domain, which nearly always is 0000 and may be left out, as lspci does.
    private static func whole(_ address: String) -> String {
        address.count { $0 == ":" } == 1 ? "0000:\(address)" : address
    }

    var json: JSON? {
        get throws {
            let sets = try sets
            return sets.isEmpty ? nil : .array(sets.map { .texts($0) })
        }
    }
}

extension DeviceCommand.Partition {
    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes a rule about sets; it counts at once.", aliases: ["add"])
        @OptionGroup var options: DeviceMatchOptions
        @OptionGroup var setOptions: DeviceSetOptions
        @Option(name: .long, help: "What it is for.") var description: String?
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard !options.match.members.isEmpty else {
                throw ValidationError("Say which devices, such as --id 10de:20b0 --node 'hgx*'.")
            }
            guard !setOptions.set.isEmpty else { throw ValidationError("Say which go together, with --set.") }
        }

        func run() async throws {
            let body = JSON.present([
                "action": .string("partition"), "match": options.match, "sets": try setOptions.json,
                "description": description.map { .string($0) },
            ])
            try await site.withClient { client, printer in
                printer.list(
                    try await client.post("/v1/\(DeviceCommand.Partition.collection)", body),
                    DeviceCommand.Partition.columns)
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists rules about sets.")
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await list.print(
                "/v1/\(DeviceCommand.Partition.collection)", DeviceCommand.Partition.columns, site,
                with: ["action": "partition"])
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows one rule about sets.")
        @Argument(help: "Its ID.") var rule: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                printer.resource(try await client.get(try path(DeviceCommand.Partition.collection, rule)))
            }
        }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Changes a rule's devices, sets or description; sets take the place of those that are there.",
            aliases: ["set", "update"])
        @Argument(help: "Its ID.") var rule: String
        @OptionGroup var options: DeviceMatchOptions
        @OptionGroup var setOptions: DeviceSetOptions
        @Option(name: .long, help: "What it is for.") var description: String?
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard try !body.members.isEmpty else { throw ValidationError("Say what to change.") }
        }

        var body: JSON {
            get throws {
                JSON.present([
                    "match": options.match.members.isEmpty ? nil : options.match, "sets": try setOptions.json,
                    "description": description.map { .string($0) },
                ])
            }
        }

        func run() async throws {
            let body = try body
            try await site.withClient { client, printer in
                printer.list(
                    try await client.patch(try path(DeviceCommand.Partition.collection, rule), body),
                    DeviceCommand.Partition.columns)
            }
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Deletes rules about sets: their devices go singly again.", aliases: ["remove"])
        @Argument(help: ArgumentHelp("IDs.", valueName: "rule")) var rules: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                try await attemptEach(rules) { rule in
                    _ = try await client.delete(try path(DeviceCommand.Partition.collection, rule))
                    printer.note("Deleted \(rule.printable).")
                }
            }
        }
    }
}
