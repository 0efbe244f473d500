import ArgumentParser
import Foundation
import RoostClient

extension NodeCommand {
    struct Enable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lets nodes take instances.",
            discussion: """
                A node with windows is in service while they are open. With --until it is so until then in any case; \
                afterwards its windows decide, or it is disabled.
                """)
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @Option(name: .long, help: MomentText.help) var until: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let until = try until.map { try MomentText.read($0, now: .now) }
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                let report = NodeReport(printer)
                var failed = report.unknown(resolution)
                if !resolution.nodes.isEmpty {
                    let answer = try await client.post(
                        "/v1/nodes/enable",
                        JSON.present(["nodes": .texts(resolution.nodes), "until": until.map { .string($0) }]))
                    failed += report.enabled(answer)
                }
                try report.end(failed)
            }
        }
    }

    /// How nodes are emptied, for `disable` and `drain`.
    struct DrainOptions: ParsableArguments {
        @Flag(name: .long, help: "Do it.") var forReal = false
        @Option(name: .long, help: ArgumentHelp("How long guests may take to shut down.", valueName: "seconds"))
        var vmTimeout = 300
        @Flag(name: .long, help: "Force off what still runs then.") var forceShutoff = false
        @Option(name: .long, help: "Why; kept with the node.") var reason: String?
        @Option(name: .long, help: ArgumentHelp("Nodes emptied at a time.", valueName: "number")) var parallel = 32
        @Option(name: .long, help: MomentText.help) var until: String?
        @Option(
            name: .long, help: ArgumentHelp("With --mode wait: how long guests may go on.", valueName: "seconds"))
        var deadline = 86_400
        @Flag(name: .long, help: "Progress in lines of their own, as for a log.") var lineOutput = false

        func validate() throws {
            guard (0...86_400).contains(vmTimeout) else {
                throw ValidationError("--vm-timeout must be from 0 to 86400 seconds.")
            }
            guard (1...10_000).contains(parallel) else {
                throw ValidationError("--parallel must be from 1 to 10000 nodes.")
            }
            guard (0...31_536_000).contains(deadline) else {
                throw ValidationError("--deadline must be from 0 to 31536000 seconds.")
            }
        }

        func run(_ hosts: String, mode: String, site: SiteOptions) async throws {
            let until = try until.map { try MomentText.read($0, now: .now) }
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                let report = NodeReport(printer)
                var failed = report.unknown(resolution, isDryRun: !forReal)
                guard !resolution.nodes.isEmpty else {
                    if !forReal { report.dry("Nothing was changed.") }
                    return try report.end(failed)
                }
                let body = JSON.present([
                    "nodes": .texts(resolution.nodes), "dry_run": .flag(!forReal), "mode": .string(mode),
                    "vm_timeout_seconds": .whole(vmTimeout), "force_shutoff": .flag(forceShutoff),
                    "parallel": .whole(parallel), "reason": reason.map { .string($0) },
                    "wait_seconds": mode == "wait" ? .whole(deadline) : nil, "until": until.map { .string($0) },
                ])
                var answer = try await client.post("/v1/nodes/disable", body)
                if forReal {
                    let each = vmTimeout + (mode == "wait" ? deadline : 0)
                    let rounds = (resolution.nodes.count + parallel - 1) / parallel
                    answer = try await end(of: answer, each: each, rounds: rounds, client, printer)
                    failed += report.disabled(answer)
                } else {
                    failed += report.planned(answer)
                }
                try report.end(failed, operation: answer)
            }
        }

        private func end(
            of operation: JSON, each: Int, rounds: Int, _ client: APIClient, _ printer: Printer
        ) async throws -> JSON {
            guard let id = operation["id"].text else { throw Failure("the manager gave no operation to wait for") }
            let began = ContinuousClock.now
            var last = ""
            // What is forced off, and an agent's report of it, takes a little longer than the guests' time.
            return try await OperationWait(client, printer, seconds: rounds * (each + 60) + 600).end(
                of: id, each: printer.showsProgress || lineOutput ? 1 : 30
            ) { operation in
                let left = max(0, rounds * each - Int((.now - began).components.seconds))
                guard lineOutput else {
                    return printer.progress(NodeReport.waiting(operation, timeout: rounds * each, left: left))
                }
                let lines = NodeReport.lines(operation)
                if lines != last && !lines.isEmpty { printer.note(lines) }
                last = lines
            }
        }
    }

    struct Disable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Stops the guests of nodes, which then take no instances.",
            discussion: """
                A dry run unless --for-real: nothing is changed, and every line says so. Errors on one node do not stop \
                the others. All nodes stop taking instances at once; --parallel says how many are emptied at a time.
                """)
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @OptionGroup var drain: DrainOptions
        @OptionGroup var site: SiteOptions

        func run() async throws { try await drain.run(hosts, mode: "stop", site: site) }
    }

    struct Drain: AsyncParsableCommand {
        enum Mode: String, ExpressibleByArgument, CaseIterable { case stop, shutdown, wait, migrate }

        static let configuration = CommandConfiguration(
            abstract: "Disables nodes in one of several ways.",
            discussion: """
                stop: guests are asked to shut down. shutdown: and those that do not are forced off. wait: guests go on \
                until they end by themselves or until the deadline, and are then asked. migrate: not built yet.
                A dry run unless --for-real: nothing is changed, and every line says so.
                """)
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @Option(name: .long, help: "What becomes of the guests.") var mode = Mode.shutdown
        @OptionGroup var drain: DrainOptions
        @OptionGroup var site: SiteOptions

        func run() async throws { try await drain.run(hosts, mode: mode.rawValue, site: site) }
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
