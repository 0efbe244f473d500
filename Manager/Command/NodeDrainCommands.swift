import ArgumentParser
import RoostClient

extension NodeCommand {
    struct Enable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets nodes take instances.")
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                let report = NodeReport(printer)
                var failed = report.unknown(resolution)
                if !resolution.nodes.isEmpty {
                    let answer = try await client.post("/v1/nodes/enable", ["nodes": .texts(resolution.nodes)])
                    failed += report.enabled(answer)
                }
                try report.end(failed)
            }
        }
    }

    struct Disable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Stops the guests of nodes, which then take no instances.",
            discussion: """
                A dry run unless --for-real: nothing is changed, and every line says so. Errors on one node do not stop \
                the others.
                """)
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @Flag(name: .long, help: "Do it.") var forReal = false
        @Option(name: .long, help: ArgumentHelp("How long guests may take to shut down.", valueName: "seconds"))
        var vmTimeout = 300
        @Flag(name: .long, help: "Force off what still runs then.") var forceShutoff = false
        @Option(name: .long, help: "Why; kept with the node.") var reason: String?
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard (0...86_400).contains(vmTimeout) else {
                throw ValidationError("--vm-timeout must be from 0 to 86400 seconds.")
            }
        }

        func run() async throws {
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                let report = NodeReport(printer)
                var failed = report.unknown(resolution, isDryRun: !forReal)
                guard !resolution.nodes.isEmpty else {
                    if !forReal { report.dry("Nothing was changed.") }
                    return try report.end(failed)
                }
                let body = JSON.present([
                    "nodes": .texts(resolution.nodes), "dry_run": .flag(!forReal),
                    "vm_timeout_seconds": .whole(vmTimeout), "force_shutoff": .flag(forceShutoff),
                    "reason": reason.map { .string($0) },
                ])
                var answer = try await client.post("/v1/nodes/disable", body)
                if forReal {
                    answer = try await end(of: answer, client, printer)
                    failed += report.disabled(answer)
                } else {
                    failed += report.planned(answer)
                }
                try report.end(failed, operation: answer)
            }
        }

        private func end(of operation: JSON, _ client: APIClient, _ printer: Printer) async throws -> JSON {
            guard let id = operation["id"].text else { throw Failure("the manager gave no operation to wait for") }
            let began = ContinuousClock.now
            // What is forced off, and an agent's report of it, takes a little longer than the guests' time.
            return try await OperationWait(client, printer, seconds: vmTimeout + 600).end(
                of: id, each: printer.showsProgress ? 1 : 30
            ) { operation in
                let left = max(0, vmTimeout - Int((.now - began).components.seconds))
                printer.progress(NodeReport.waiting(operation, timeout: vmTimeout, left: left))
            }
        }
    }

    struct Token: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Tokens with which nodes join.", subcommands: [Create.self])

        struct Create: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                abstract: "Makes a token with which one node may join, once.",
                discussion: "It is shown this once. The line to copy carries it and the site's CA fingerprint.")
            @Option(name: .long, help: ArgumentHelp("Until it expires; 3600 if left out.", valueName: "seconds"))
            var ttl: Int?
            @Option(name: .long, help: "The only node name that may use it.") var name: String?
            @OptionGroup var site: SiteOptions

            func run() async throws {
                let body = JSON.present(["ttl_seconds": ttl.map { .whole($0) }, "node_name": name.map { .string($0) }])
                try await site.withClient { client, printer in
                    let token = try await client.post("/v1/nodes/tokens", body)
                    guard printer.format == .table else { return printer.resource(token) }
                    printer.note("On the new host, before \(Cell.shown(token["expires_at"])):")
                    printer.line(Self.join(token, name: name))
                }
            }

            /// The line to copy to the new host.
            static func join(_ token: JSON, name: String?) -> String {
                var line = "roost-agent join --manager \(Cell.shown(token["manager_address"]))"
                line += " --token \(Cell.shown(token["token"])) --ca-fingerprint \(Cell.shown(token["ca_fingerprint"]))"
                if let name { line += " --name \(name.printable)" }
                return line
            }
        }
    }
}
