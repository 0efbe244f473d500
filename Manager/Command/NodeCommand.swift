import ArgumentParser
import Foundation

struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node", abstract: "Hosts of the fleet (superusers).",
        subcommands: [
            List.self, Status.self, Show.self, Enable.self, Disable.self, Remove.self, Token.self,
        ])

    static let columns = [
        Column("name"), Column("enabled"), Column("alive"), Column("instances"),
        Column(title: "vcpus") { "\($0["vcpus_used"].shown)/\($0["vcpus"].shown)" },
        Column(title: "ram_mib") { "\($0["ram_used_mib"].shown)/\($0["ram_mib"].shown)" },
        Column(title: "disk_gib") { "\($0["disk_used_gib"].shown)/\($0["disk_gib"].shown)" }, Column("accelerator"),
        Column("id"),
    ]

    /// A short name stands for the only node that begins with it and a dot (HLT-07).
    static func resolve(_ hosts: [String], _ client: APIClient) async throws -> [String] {
        let names = try await client.list("/v1/nodes")["items"].items.compactMap { $0["name"].text }
        return hosts.map { host in
            let full = names.filter { $0.hasPrefix(host + ".") }
            return names.contains(host) || full.count != 1 ? host : full[0]
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists nodes and what is free on them.")
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client in
                Output.show(try await client.list("/v1/nodes"), columns: NodeCommand.columns, as: site.output)
            }
        }
    }

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows which nodes run instances, and their addresses.")
        @Argument(help: "Hosts, such as cn[43-45,47]; all by default.") var hosts: String?
        @OptionGroup var site: SiteOptions

        static let columns = [
            Column("name", title: "Hypervisor"), Column("enabled", title: "Runs VMs?"),
            Column("alive", title: "Alive?"),
            Column("instances", title: "#VMs"), Column("addresses", title: "VMs"),
        ]

        func run() async throws {
            let wanted = try hosts.map { hosts throws(Failure) in try HostList.expand(hosts) }
            try await site.withClient { client in
                var answer = try await client.list("/v1/nodes")
                if let wanted {
                    let names = try await NodeCommand.resolve(wanted, client)
                    answer = .object([
                        "items": .array(answer["items"].items.filter { names.contains($0["name"].text ?? "") }),
                        "next": .null,
                    ])
                }
                Output.show(answer, columns: Self.columns, as: site.output)
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows one node.")
        @Argument(help: "Name or ID.") var node: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client in
                Output.show(try await client.get("/v1/nodes/\(segment(node))"), as: site.output)
            }
        }
    }

    struct Enable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets nodes take instances.")
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let hosts = try HostList.expand(hosts)
            try await site.withClient { client in
                let nodes = try await NodeCommand.resolve(hosts, client)
                let answer = try await client.post("/v1/nodes/enable", ["nodes": .array(nodes.map { .string($0) })])
                try NodeReport.show(answer, "Enabling node", as: site.output)
            }
        }
    }

    struct Disable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Empties nodes and lets them take no instances.",
            discussion: "A dry run unless --for-real: nothing is changed, and every line says so.")
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @Flag(name: .long, help: "Do it.") var forReal = false
        @Option(name: .long, help: "Seconds that guests may take to shut down.") var vmTimeout = 300
        @Flag(name: .long, help: "Force off what still runs then.") var forceShutoff = false
        @Option(name: .long, help: "Why; shown with the node.") var reason: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let hosts = try HostList.expand(hosts)
            try await site.withClient { client in
                let nodes = try await NodeCommand.resolve(hosts, client)
                let answer = try await client.post(
                    "/v1/nodes/disable",
                    [
                        "nodes": .array(nodes.map { .string($0) }), "dry_run": .flag(!forReal),
                        "vm_timeout_seconds": .whole(Int64(vmTimeout)), "force_shutoff": .flag(forceShutoff),
                        "reason": reason.map { .string($0) },
                    ])
                guard forReal else { return try NodeReport.showDryRun(answer, as: site.output) }
                let id = answer["id"].text ?? ""
                let operation = try await OperationWait(client: client, seconds: vmTimeout + 600)(id, throwing: false)
                try NodeReport.show(operation, "Disabling node", as: site.output)
            }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Forgets a node and refuses its certificate.")
        @Argument(help: "Name or ID.") var node: String
        @Flag(name: .long, help: "Do it.") var forReal = false
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client in
                guard forReal else {
                    let record = try await client.get("/v1/nodes/\(segment(node))")
                    print(
                        "[DRY RUN] Removing node \(record["name"].shown), which has \(record["instances"].shown) instances; repeat with --for-real"
                    )
                    return
                }
                _ = try await client.delete("/v1/nodes/\(segment(node))")
                print("[ OK ] Removing node \(node)")
            }
        }
    }

    struct Token: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Tokens for joining nodes.", subcommands: [Create.self])

        struct Create: AsyncParsableCommand {
            static let configuration = CommandConfiguration(abstract: "Makes a token with which one node may join.")
            @Option(name: .long, help: "Seconds until it expires.") var ttl: Int?
            @Option(name: .long, help: "The only node name that may use it.") var name: String?
            @OptionGroup var site: SiteOptions

            func run() async throws {
                try await site.withClient { client in
                    let token = try await client.post(
                        "/v1/nodes/tokens",
                        ["ttl_seconds": ttl.map { .whole(Int64($0)) }, "node_name": name.map { .string($0) }])
                    guard site.output == .table else { return Output.show(token, as: site.output) }
                    print(
                        """
                        On the new host, before \(token["expires_at"].shown):

                          roost-agent join --manager \(token["manager_address"].shown) --token \(token["token"].shown) \
                        --ca-fingerprint \(token["ca_fingerprint"].shown)
                        """)
                }
            }
        }
    }
}

/// What happened on each node, in the lines that operators know (HLT-18).
enum NodeReport {
    static func showDryRun(_ answer: JSON, as format: OutputFormat) throws {
        guard format == .table else {
            return Output.show(answer, columns: [Column("node"), Column("ok"), Column("detail")], as: format)
        }
        for item in answer["items"].items {
            if !item["ok"].isTrue { print("[DRY RUN] [FAIL] \(item["node"].shown): \(item["detail"].shown)") }
            for action in item["actions"].items { print("[DRY RUN] \(item["node"].shown): \(action.shown)") }
        }
        print("[DRY RUN] Nothing was changed; repeat with --for-real.")
        try failIfAny(answer["items"].items.filter { !$0["ok"].isTrue })
    }

    static func show(_ answer: JSON, _ action: String, as format: OutputFormat) throws {
        let items = answer["items"] == .null ? answer["result"]["hosts"].items : answer["items"].items
        if format == .table {
            for item in items {
                let mark = item["ok"].isTrue ? "[ OK ]" : "[FAIL]"
                print("\(mark) \(action) \(item["node"].shown): \(item["detail"].shown)")
            }
        } else {
            Output.show(
                answer["items"] == .null && format == .csv ? .object(["items": .array(items)]) : answer,
                columns: [Column("node"), Column("ok"), Column("detail")], as: format)
        }
        try failIfAny(items.filter { !$0["ok"].isTrue })
        if answer["status"].text == "failed" {
            throw Failure(answer["error"]["detail"].text?.printable ?? "the operation failed")
        }
    }

    private static func failIfAny(_ failed: [JSON]) throws {
        guard !failed.isEmpty else { return }
        throw Failure(
            "\(failed.count) node\(failed.count == 1 ? "" : "s") failed: \(failed.map { $0["node"].shown }.joined(separator: ", "))"
        )
    }
}
