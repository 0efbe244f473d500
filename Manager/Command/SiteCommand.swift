import ArgumentParser
import RoostClient

struct SiteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "site", abstract: "Settings of the site as a whole (superusers).",
        subcommands: [Show.self, Limit.self])

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows the settings.")
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in printer.resource(try await client.get("/v1/site")) }
        }
    }

    struct Limit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Limits what moves for images.",
            discussion: """
                Rates are bytes a second with K, M, G or T (powers of 1024), such as 100M, or bits, such as 200Mbit; at \
                least 1M. 'none' takes a limit away. Each node has the first four, unless 'roost node limit' says otherwise.
                """)
        @OptionGroup var limits: TransferLimitOptions
        @Option(name: .long, help: ArgumentHelp("What each manager sends.", valueName: "rate")) var managerSend: String?
        @Option(
            name: .long,
            help: ArgumentHelp(
                "What a manager's link carries: no limit, but where that is several times what hosts receive, a prefill "
                    + "begins several chains.", valueName: "rate"))
        var managerLink: String?
        @Option(
            name: .long,
            help: ArgumentHelp("What all nodes together receive, shared equally.", valueName: "rate"))
        var total: String?
        @Option(
            name: .long,
            help: ArgumentHelp(
                "What prefills keep of each limit while launches want all of it; 10 at first.", valueName: "percent"))
        var prefillShare: Int?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            var change = try limits.change()
            if let managerSend {
                change = change.setting("manager_send_bytes_per_second", to: try TransferLimitOptions.rate(managerSend))
            }
            if let managerLink {
                change = change.setting("manager_link_bytes_per_second", to: try TransferLimitOptions.rate(managerLink))
            }
            if let total { change = change.setting("total_bytes_per_second", to: try TransferLimitOptions.rate(total)) }
            if let prefillShare { change = change.setting("prefill_share_percent", to: .whole(prefillShare)) }
            guard !change.members.isEmpty else { throw Failure.usage("give at least one limit to change") }
            let body: JSON = ["transfer": change]
            try await site.withClient { client, printer in
                printer.resource(try await client.patch("/v1/site", body))
            }
        }
    }
}

/// Limits of a node's transfers, as options.
struct TransferLimitOptions: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("What a node sends to others.", valueName: "rate")) var send: String?
    @Option(name: .long, help: ArgumentHelp("What a node receives.", valueName: "rate")) var receive: String?
    @Option(name: .long, help: ArgumentHelp("What a node writes to its cache.", valueName: "rate")) var disk: String?
    @Option(name: .long, help: ArgumentHelp("Images that a node receives at a time.", valueName: "count"))
    var images: String?

    /// The members that were given.
    func change() throws(Failure) -> JSON {
        var change: JSON = [:]
        if let send { change = change.setting("send_bytes_per_second", to: try Self.rate(send)) }
        if let receive { change = change.setting("receive_bytes_per_second", to: try Self.rate(receive)) }
        if let disk { change = change.setting("disk_bytes_per_second", to: try Self.rate(disk)) }
        if let images {
            guard images == "none" || Int(images) != nil else {
                throw .usage("'\(images)' is not a number of images, and not 'none'")
            }
            change = change.setting("concurrent_images", to: Int(images).map { .whole($0) } ?? .null)
        }
        return change
    }

    /// `100M`, `1.5GiB`, `200Mbit`; `null` for `none`.
    static func rate(_ text: String) throws(Failure) -> JSON {
        if text == "none" { return .null }
        let wrong = Failure.usage("'\(text)' is not a rate such as 100M or 200Mbit, and not 'none'")
        let digits = text.prefix { $0.isASCII && $0.isNumber || $0 == "." }
        guard let number = Double(digits), number.isFinite, number > 0 else { throw wrong }
        var unit = text.dropFirst(digits.count).lowercased()
        if unit.hasSuffix("/s") { unit = String(unit.dropLast(2)) }
        let isBits = unit.hasSuffix("bit")
        if isBits { unit = String(unit.dropLast(3)) }
        for ending in ["ib", "b"] where !isBits && unit.hasSuffix(ending) { unit = String(unit.dropLast(ending.count)) }
        guard let power = ["": 0, "k": 1, "m": 2, "g": 3, "t": 4][unit] else { throw wrong }
        var bytes = isBits ? number / 8 : number
        for _ in 0..<power { bytes *= isBits ? 1000 : 1024 }
        guard bytes >= 1, bytes < 1e15 else { throw wrong }
        return .whole(Int(bytes))
    }
}

extension NodeCommand {
    struct Limit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Limits what single nodes move for images; 'none' means as the site says.",
            discussion: "Rates are bytes a second, such as 100M, or bits, such as 200Mbit; at least 1M.")
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @OptionGroup var limits: TransferLimitOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let change = try limits.change()
            guard !change.members.isEmpty else { throw Failure.usage("give at least one limit to change") }
            let body: JSON = ["transfer": change]
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                try await attemptEach(resolution.nodes) { node in
                    _ = try await client.patch(try path("nodes", node), body)
                    printer.note("Limited \(node.printable).")
                }
                if !resolution.unknown.isEmpty { throw Failure.together(resolution.failures) }
            }
        }
    }
}
