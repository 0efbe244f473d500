import ArgumentParser
import Foundation

struct InstanceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "instance", abstract: "Virtual machines.",
        subcommands: [
            Create.self, List.self, Show.self, Start.self, Stop.self, Reboot.self, Delete.self, Console.self,
        ])

    static let columns = [
        Column("name"), Column("status"), Column("node"), Column("addresses"), Column("flavor"), Column("image"),
        Column("owner"), Column("id"),
    ]

    /// Waits for the latest operation of each instance, then shows them as they are.
    static func finish(
        _ instances: [JSON], _ client: APIClient, wait: Bool, timeout: Int, as format: OutputFormat
    ) async throws {
        var shown = instances
        if wait {
            var problems: [String] = []
            shown = []
            for instance in instances {
                do {
                    if let operation = instance["operation_id"].text {
                        try await OperationWait(client: client, seconds: timeout)(operation)
                    }
                } catch let failure as Failure {
                    problems.append(
                        "error: \(instance["name"].shown): \(failure.lines[0].replacingOccurrences(of: "error: ", with: ""))"
                    )
                }
                if let id = instance["id"].text { shown.append(try await client.get("/v1/instances/\(id)")) }
            }
            Output.show(
                shown.count == 1 ? shown[0] : .object(["items": .array(shown), "next": .null]), columns: columns,
                as: format)
            if !problems.isEmpty { throw Failure(lines: problems) }
            return
        }
        Output.show(
            shown.count == 1 ? shown[0] : .object(["items": .array(shown), "next": .null]), columns: columns, as: format
        )
    }

    struct WaitOptions: ParsableArguments {
        @Flag(name: .long, help: "Return when it is done, or exit with 1 when it failed.") var wait = false
        @Option(name: .long, help: "Seconds to wait.") var waitTimeout = 1800
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Creates instances.")
        @Argument(help: "The name; several are named NAME-1 to NAME-N.") var name: String
        @Option(name: .long, help: "The size, by name or ID.") var flavor: String
        @Option(name: .long, help: "The image, by name or ID.") var image: String
        @Option(name: .long, help: "The key pair that may sign in.") var key: String?
        @Option(name: .long, help: "How many.") var count = 1
        @Option(name: .long, help: "A file for cloud-init, such as a script or #cloud-config.") var userData: String?
        @Option(name: .long, help: "key=value for the guest; may be given several times.") var metadata: [String] = []
        @Option(name: .long, help: "Place it on this node (superusers).") var node: String?
        @OptionGroup var waiting: WaitOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            var data: JSON?
            if let userData {
                guard let bytes = FileManager.default.contents(atPath: userData) else {
                    throw Failure("cannot read '\(userData)'", isUsage: true)
                }
                data = .string(bytes.base64EncodedString())
            }
            let body: [String: JSON?] = [
                "name": .string(name), "flavor": .string(flavor), "image": .string(image),
                "key_name": key.map { .string($0) },
                "user_data": data, "metadata": try Properties.object(metadata), "count": .whole(Int64(count)),
                "node": node.map { .string($0) },
            ]
            try await site.withClient { client in
                let answer = try await client.post("/v1/instances", body)
                let created = answer["items"] == .null ? [answer] : answer["items"].items
                try await InstanceCommand.finish(
                    created, client, wait: waiting.wait, timeout: waiting.waitTimeout, as: site.output)
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists instances.")
        @Flag(name: .long, help: "Everybody's (superusers).") var all = false
        @Option(name: .long, help: "Only those in this status, such as ERROR.") var status: String?
        @Option(name: .long, help: "Only those on this node.") var node: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client in
                let answer = try await client.list(
                    "/v1/instances", ["status": status?.uppercased(), "node": node, "all": all ? "true" : nil])
                Output.show(answer, columns: InstanceCommand.columns, as: site.output)
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows one instance.")
        @Argument(help: "Name or ID.") var instance: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client in
                Output.show(try await client.get("/v1/instances/\(segment(instance))"), as: site.output)
            }
        }
    }

    /// Start, stop, reboot and delete differ in a word.
    private static func change(
        _ instances: [String], site: SiteOptions, waiting: WaitOptions,
        _ request: (APIClient, String) async throws -> JSON
    ) async throws {
        try await site.withClient { client in
            var changed: [JSON] = []
            var problems: [String] = []
            for instance in instances {
                do {
                    changed.append(try await request(client, "/v1/instances/\(segment(instance))"))
                } catch let failure as Failure {
                    problems += failure.lines
                }
            }
            if !changed.isEmpty {
                try await finish(changed, client, wait: waiting.wait, timeout: waiting.waitTimeout, as: site.output)
            }
            if !problems.isEmpty { throw Failure(lines: problems) }
        }
    }

    struct Start: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Starts stopped instances.")
        @Argument(help: "Names or IDs.") var instances: [String]
        @OptionGroup var waiting: WaitOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await InstanceCommand.change(instances, site: site, waiting: waiting) {
                try await $0.post($1 + "/start")
            }
        }
    }

    struct Stop: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Stops instances; their disks are kept.")
        @Argument(help: "Names or IDs.") var instances: [String]
        @Flag(name: .long, help: "Cut the power instead of asking the guest.") var force = false
        @OptionGroup var waiting: WaitOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await InstanceCommand.change(instances, site: site, waiting: waiting) {
                try await $0.post($1 + "/stop", ["force": .flag(force)])
            }
        }
    }

    struct Reboot: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Reboots instances.")
        @Argument(help: "Names or IDs.") var instances: [String]
        @Flag(name: .long, help: "Reset instead of asking the guest.") var force = false
        @OptionGroup var waiting: WaitOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await InstanceCommand.change(instances, site: site, waiting: waiting) {
                try await $0.post($1 + "/reboot", ["force": .flag(force)])
            }
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Deletes instances and their disks.")
        @Argument(help: "Names or IDs.") var instances: [String]
        @OptionGroup var waiting: WaitOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await InstanceCommand.change(instances, site: site, waiting: waiting) { try await $0.delete($1) }
        }
    }

    struct Console: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Opens the console (not built yet).")
        @Argument(help: "Name or ID.") var instance: String

        func run() async throws {
            throw Failure("the console is not built yet; on the host, 'virsh console roost-<id>' serves meanwhile")
        }
    }
}
