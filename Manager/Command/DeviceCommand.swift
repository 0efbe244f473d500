import ArgumentParser
import Foundation
import RoostClient

struct DeviceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "device", abstract: "Devices of nodes that guests could be given, such as GPUs (superusers).",
        discussion: """
            A device is named HOST/ADDRESS, such as cn42/0000:3b:00.0, or by its ID. On the host, 'roost-agent devices' says \
            what it has and why guests may not have it; here, rules say which devices guests may have, and by what alias \
            flavors ask for them.
            """,
        subcommands: [List.self, Show.self, Quarantine.self, Release.self, Alias.self, Rule.self, Partition.self])

    static let columns = [
        Column("aliases", "ALIAS"), Column("node"), Column("address"), Column("status", colour: colour), Column("name"),
        Column("owner", "IN USE BY"), Column("instance"), Column("in_use_since", "SINCE"), Column("reason"), Column.id,
    ]

    private static func colour(_ status: String) -> Colour? {
        switch status {
        case "free": .good
        case "quarantined", "absent", "offline": .bad
        default: nil
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists devices: by what alias, where, whether they are free, and why not.")
        @Flag(name: .long, help: "Only those that a guest could be given now.") var free = false
        @Flag(name: .long, help: "Only those that are kept out of service.") var quarantined = false
        @Option(name: .long, help: "Only those that can be asked for by this alias.") var alias: String?
        @Option(name: .long, help: "Only those in this node, by name or ID.") var node: String?
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let query = try query
            try await site.withClient { client, printer in
                try list.columns.print(
                    try await client.list("/v1/devices", matching: query), DeviceCommand.columns, printer)
            }
        }

        /// By host and address, where nothing else is asked for.
        var query: ListQuery {
            get throws(Failure) {
                var query = try list.query([
                    "free": free ? "true" : nil, "quarantined": quarantined ? "true" : nil, "alias": alias,
                    "node": node,
                ])
                if query.sort.isEmpty { query.sort = ["node", "address"] }
                return query
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows one device.")
        @Argument(help: "HOST/ADDRESS or ID.") var device: DeviceName
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                printer.resource(try await client.get(try await device.location(client)))
            }
        }
    }

    struct Quarantine: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Keeps devices out of service: no guest gets them until they are released.")
        @Argument(help: ArgumentHelp("HOST/ADDRESS or ID.", valueName: "device")) var devices: [DeviceName]
        @Option(name: .long, help: "For whoever wonders later.") var reason: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                try await attemptEach(devices.map(\.text)) { device in
                    let path = try await DeviceName(device).location(client)
                    _ = try await client.post(path + "/quarantine", ["reason": .string(reason)])
                    printer.note("Keeping \(device.printable) out of service.")
                }
            }
        }
    }

    struct Release: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets devices back into service.")
        @Argument(help: ArgumentHelp("HOST/ADDRESS or ID.", valueName: "device")) var devices: [DeviceName]
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                try await attemptEach(devices.map(\.text)) { device in
                    _ = try await client.post(bare: try await DeviceName(device).location(client) + "/release")
                    printer.note("Released \(device.printable).")
                }
            }
        }
    }

    struct Alias: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Names by which flavors ask for devices.", subcommands: [List.self])

        struct List: Listing {
            static let configuration = CommandConfiguration(
                abstract: "Counts the devices of each alias: free, in use, and why others are not.")
            static let collection = "device-aliases"
            static let columns =
                [Column("alias")]
                + [
                    "total", "free", "free_on_one_node", "in_use", "offline", "disabled", "quarantined",
                ].map { Column.number($0) }
            @OptionGroup var list: ListOptions
            @OptionGroup var site: SiteOptions
        }
    }
}

/// How people name a device: by host and address, or by ID.
struct DeviceName: ExpressibleByArgument, Equatable {
    let text: String

    init(_ text: String) { self.text = text }

    init?(argument: String) {
        text = argument
        if isID { return }
        guard let place else { return nil }
        guard !place.host.isEmpty, !place.address.isEmpty else { return nil }
    }

    private var isID: Bool { UUID(uuidString: text) != nil }

    /// The PCI domain may be left out, as lspci does.
    var place: (host: String, address: String)? {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2 else { return nil }
        let colons = parts[1].count { $0 == ":" }
        return (parts[0], (colons == 1 ? "0000:" : "") + parts[1].lowercased())
    }

    /// Where the API has it, which knows devices by ID.
    func location(_ client: APIClient) async throws -> String {
        guard !isID, let place else { return try path("devices", text) }
        let found = try await client.list("/v1/devices", ["node": place.host, "address": place.address])["items"].items
        guard let id = found.first?["id"].text else {
            throw Failure(
                "there is no device '\(text.printable)'; see 'roost device list --node \(place.host.printable)'")
        }
        return try path("devices", id)
    }
}
