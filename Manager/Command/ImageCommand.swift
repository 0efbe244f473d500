import ArgumentParser
import Foundation

struct ImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image", abstract: "Disk images.",
        subcommands: [Create.self, List.self, Show.self, Update.self, Delete.self, Prefill.self])

    static let columns = [
        Column("name"), Column("status"), Column("format"), Column("size_bytes", title: "size"), Column("visibility"),
        Column("owner"), Column("id"),
    ]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Uploads an image and registers it.")
        @Argument(help: "The name.") var name: String
        @Option(name: .long, help: "The file.") var file: String
        @Option(name: .long, help: "raw, qcow2, vmdk, vhd or iso; by default what the file says of itself.") var format:
            String?
        @Option(name: .long, help: "GiB that a flavor's disk must have.") var minDisk: Int?
        @Option(name: .long, help: "MiB of RAM that a flavor must have.") var minRam: Int?
        @Option(name: .long, help: "key=value; may be given several times.") var property: [String] = []
        @Flag(name: .long, help: "Only the owner may use it.") var `private` = false
        @Flag(name: .long, help: "Do not wait for the conversion.") var noWait = false
        @OptionGroup var site: SiteOptions

        func run() async throws {
            guard let size = (try? FileManager.default.attributesOfItem(atPath: file)[.size]) as? NSNumber else {
                throw Failure("cannot read '\(file)'", isUsage: true)
            }
            let total = max(1, size.int64Value)
            try await site.withClient { client in
                let image = try await client.post(
                    "/v1/images",
                    [
                        "name": .string(name), "format": format.map { .string($0) },
                        "size_bytes": .whole(size.int64Value),
                        "min_disk_gib": minDisk.map { .whole(Int64($0)) },
                        "min_ram_mib": minRam.map { .whole(Int64($0)) },
                        "properties": try Properties.object(property),
                        "visibility": .string(`private` ? "private" : "public"),
                    ])
                let id = image["id"].text ?? ""
                let uploaded = try await client.upload("/v1/images/\(id)/file", file: file) { sent in
                    Output.progress("uploading \(name): \(100 * sent / total) %")
                }
                Output.endProgress()
                if !noWait, let operation = uploaded["operation_id"].text {
                    try await OperationWait(client: client, seconds: 86_400)(operation)
                }
                Output.show(try await client.get("/v1/images/\(id)"), columns: ImageCommand.columns, as: site.output)
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists images.")
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client in
                Output.show(try await client.list("/v1/images"), columns: ImageCommand.columns, as: site.output)
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows one image and where it is.")
        @Argument(help: "Name or ID.") var image: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client in
                Output.show(try await client.get("/v1/images/\(segment(image))"), as: site.output)
            }
        }
    }

    struct Update: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Changes an image's name or properties.")
        @Argument(help: "Name or ID.") var image: String
        @Option(name: .long, help: "A new name.") var name: String?
        @Option(name: .long, help: "key=value; these replace the properties.") var property: [String] = []
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let body: [String: JSON?] = [
                "name": name.map { .string($0) }, "properties": try Properties.object(property),
            ]
            try await site.withClient { client in
                Output.show(
                    try await client.patch("/v1/images/\(segment(image))", body), columns: ImageCommand.columns,
                    as: site.output)
            }
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Deletes an image that no instance uses.")
        @Argument(help: "Name or ID.") var image: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client in _ = try await client.delete("/v1/images/\(segment(image))") }
        }
    }

    struct Prefill: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Caches an image on hosts, each serving the next.",
            discussion: "Hosts: cn[43-45,47], comma lists, @file; quote brackets against the shell.")
        @Argument(help: "Name or ID.") var image: String
        @Argument(help: "The hosts.") var hosts: String
        @Flag(name: .long, help: "Do not wait.") var noWait = false
        @OptionGroup var site: SiteOptions

        static let columns = [
            Column(title: "host") { "\($0["source"].shown) --> \($0["node"].shown)" }, Column("state"),
            Column(title: "progress") { $0["progress"].shown + " %" }, Column("bytes"), Column("seconds"),
            Column("reason"),
        ]

        func run() async throws {
            let nodes = try HostList.expand(hosts)
            try await site.withClient { client in
                var operation = try await client.post(
                    "/v1/images/\(segment(image))/prefill", ["nodes": .array(nodes.map { .string($0) })])
                if !noWait, let id = operation["id"].text {
                    operation = try await OperationWait(client: client, seconds: 86_400)(id, throwing: false)
                }
                if site.output == .json {
                    print(operation.rendered)
                } else {
                    Output.show(
                        .object(["items": operation["result"]["hosts"]]), columns: Self.columns, as: site.output)
                }
                let failed = operation["result"]["hosts"].items.contains { $0["state"].text == "failed" }
                if failed || operation["status"].text == "failed" {
                    throw Failure(operation["error"]["detail"].text?.printable ?? "not all hosts hold the image")
                }
            }
        }
    }
}
