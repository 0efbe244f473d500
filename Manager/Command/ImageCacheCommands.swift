import ArgumentParser
import RoostClient

extension ImageCommand {
    struct Pin: CacheAction {
        static let configuration = CommandConfiguration(
            abstract: "Keeps an image on hosts whatever room is needed there (superusers).",
            discussion: "Prefill does so by itself.")
        static let verb = "pin"
        static let done = "Pinned"
        @Argument(help: "Name or ID.") var image: String
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @OptionGroup var site: SiteOptions
    }

    struct Unpin: CacheAction {
        static let configuration = CommandConfiguration(
            abstract: "Lets an image go from hosts when room is needed there (superusers).")
        static let verb = "unpin"
        static let done = "Unpinned"
        @Argument(help: "Name or ID.") var image: String
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @OptionGroup var site: SiteOptions
    }

    struct Evict: CacheAction {
        static let configuration = CommandConfiguration(
            abstract: "Removes an image from hosts where no instance depends on it (superusers).",
            discussion: "From all that are named or, where one cannot, from none. A later launch fetches it anew.")
        static let verb = "evict"
        static let done = "Evicting"
        @Argument(help: "Name or ID.") var image: String
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @OptionGroup var site: SiteOptions
    }
}

/// A command that does something with hosts' copies of an image.
protocol CacheAction: AsyncParsableCommand {
    static var verb: String { get }
    static var done: String { get }
    var image: String { get }
    var hosts: String { get }
    var site: SiteOptions { get }
}

extension CacheAction {
    func run() async throws {
        try await site.withClient { client, printer in
            let resolution = try await HostResolution.of(hosts, client, printer)
            guard !resolution.nodes.isEmpty else { throw Failure.together(resolution.failures) }
            let answer = try await client.post(
                try path("images", image) + "/\(Self.verb)", ["nodes": .texts(resolution.nodes)])
            if printer.format == .json { printer.resource(answer) }
            printer.note(
                "\(Self.done) \(Cell.shown(answer["name"])) on \(resolution.nodes.count) "
                    + "host\(resolution.nodes.count == 1 ? "" : "s").")
            if !resolution.failures.isEmpty { throw Failure.together(resolution.failures) }
        }
    }
}

extension NodeCommand {
    struct Cache: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the images in a node's cache (superusers).",
            discussion:
                "DISK is what a copy takes; holes take nothing. Unpinned copies without instances may go when room is needed."
        )
        @Argument(help: "Name or ID.") var node: String
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions

        static let columns = [
            Column("image"), Column("state", colour: Colour.status),
            Column("progress", "PERCENT", .number), Column.bytes("disk_bytes", "DISK"),
            Column.bytes("size_bytes", "SIZE"),
            Column("pinned"), Column.number("instances"), Column("held_since", "HELD SINCE"),
            Column("last_used_at", "LAST USED"), Column("verified_at", "VERIFIED"),
            Column("corrupt_chunks", "CORRUPT", .number),
        ]

        func run() async throws {
            try await list.print(try path("nodes", node) + "/images", Self.columns, site)
        }
    }
}
