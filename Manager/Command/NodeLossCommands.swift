import ArgumentParser
import Foundation
import RoostClient

/// What becomes of an instance whose host vanishes.
enum HostLossChoice: String, ExpressibleByArgument, CaseIterable { case keep, restart }

/// A node that is not heard of any more, in a word or two.
enum NodeLoss {
    static let column = Column("lost", "Lost", shown: { words($0) ?? "-" })

    static func words(_ node: JSON) -> String? {
        let loss = node["lost"]
        guard loss != .null else { return nil }
        var parts = ["since \(Cell.shown(loss["since"])): \(Cell.shown(loss["detail"]))"]
        if let staying = loss["staying"].integer, staying > 0 { parts.append("\(staying) instances wait for it") }
        if let restarting = loss["restarting"].integer, restarting > 0 {
            parts.append(
                loss["certain"] == .null
                    ? "\(restarting) restart elsewhere once it is certain to be off"
                    : "\(restarting) restart elsewhere as there is room")
        }
        let fencing = loss["fencing"]
        if let attempts = fencing["attempts"].integer, loss["certain"] == .null {
            let outcome = fencing["outcome"].text.flatMap { $0.isEmpty ? nil : $0 } ?? "under way"
            parts.append("fencing, attempt \(attempts): \(outcome)")
        }
        return parts.joined(separator: "; ")
    }
}

extension InstanceCommand {
    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Changes what becomes of instances when their hosts vanish, or the name of one.",
            discussion: """
                With --on-host-loss restart an instance is started anew on another host, from its image, once it is certain that \
                its own is off: what was written to its disk is then lost. With keep it waits for its host.
                """)
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "instance")) var instances: [String]
        @Option(name: .long, help: ArgumentHelp("keep or restart.", valueName: "policy")) var onHostLoss:
            HostLossChoice?
        @Option(name: .long, help: "The new name, of one instance.") var name: String?
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard onHostLoss != nil || name != nil else {
                throw ValidationError("Nothing to change; give --on-host-loss or --name.")
            }
            guard name == nil || instances.count == 1 else { throw ValidationError("--name goes with one instance.") }
        }

        func run() async throws {
            let body = JSON.present([
                "name": name.map { .string($0) }, "on_host_loss": onHostLoss.map { .string($0.rawValue) },
            ])
            let waiting = try WaitOptions.parse([])
            try await InstanceChange(verb: "changed", references: instances, waiting: waiting, site: site).run {
                try await $0.patch($1, body)
            }
        }
    }
}

extension NodeCommand {
    struct ConfirmDown: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Says that lost nodes are off, so that instances may restart elsewhere.",
            discussion: """
                Only after a look at the machines: a host that cannot be reached but runs goes on with its guests, and each \
                would run twice. Instances with --on-host-loss restart are then started anew on other nodes, from their images: \
                what was written to their disks is lost. The others wait for their host.
                A dry run unless --for-real: nothing is changed, and every line says so.
                """)
        @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
        @Flag(name: .long, help: "Do it: I have looked, and these machines are off.") var forReal = false
        @Option(name: .long, help: "How that is known; kept in the event log.") var reason: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                let report = NodeReport(printer)
                var failed = report.unknown(resolution, isDryRun: !forReal)
                guard !resolution.nodes.isEmpty else {
                    if !forReal { report.dry("Nothing was changed.") }
                    return try report.end(failed)
                }
                let answer = try await client.post(
                    "/v1/nodes/confirm-down",
                    JSON.present([
                        "nodes": .texts(resolution.nodes), "dry_run": .flag(!forReal),
                        "reason": reason.map { .string($0) },
                    ]))
                failed += forReal ? report.confirmedDown(answer) : report.planned(answer)
                try report.end(failed)
            }
        }
    }
}

extension NodeReport {
    /// Shows the answer to `confirm-down`, and gives the nodes that failed.
    func confirmedDown(_ answer: JSON) -> [String] {
        let items = answer["items"].items
        if printer.format == .table {
            for item in items {
                let node = Cell.shown(item["node"])
                guard item["ok"].isTrue else {
                    failed("\(node): \(Cell.shown(item["detail"]))")
                    continue
                }
                ok("Recording node \(node) as off: \(Cell.shown(item["detail"]))")
                for action in item["actions"].items { ok("To do for \(node): \(Cell.shown(action))") }
            }
        } else {
            printer.list(answer, Self.columns)
        }
        return items.filter { !$0["ok"].isTrue }.map { Cell.shown($0["node"]) }
    }
}
