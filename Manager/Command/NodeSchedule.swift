import ArgumentParser
import Foundation
import RoostClient

/// Times to come, as people write them.
enum MomentText {
    static let help = ArgumentHelp(
        "Until then; 90m, 12h, 2d, or 2026-12-01T06:00:00Z. Then the opposite, or what the windows say.",
        valueName: "time")

    /// As the API takes it.
    static func read(_ text: String, now: Date) throws(Failure) -> String {
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        if let unit = text.last.flatMap({ units[$0] }), let count = Int(text.dropLast()) {
            guard (1...10_000_000).contains(count) else {
                throw .usage("'\(text)' is not a time from now, such as 12h")
            }
            return now.addingTimeInterval(Double(count * unit)).formatted(.iso8601)
        }
        guard text.contains("T"), text.count <= 40 else {
            throw .usage("'\(text)' is not a time; write 90m, 12h, 2d, or 2026-12-01T06:00:00Z")
        }
        return text
    }
}

/// Who keeps a node in or out of service, and until when.
enum NodeSchedule {
    static let column = Column("schedule", "Held", shown: { words($0) ?? "-" })

    static func words(_ node: JSON) -> String? {
        var parts: [String] = []
        if let by = node["disabled_by"].text {
            let reason = node["reason"].text.flatMap { $0.isEmpty ? nil : ": \($0)" } ?? ""
            parts.append("by \(by)\(reason)")
        }
        if let until = node["until"].text { parts.append("until \(until)") }
        if let windows = node["availability"]["windows"].text {
            let owner = Cell.shown(node["availability"]["owner"])
            let reason = node["availability"]["reason"].text.flatMap { $0.isEmpty ? nil : " (\($0))" } ?? ""
            parts.append("windows of \(owner)\(reason): \(windows) \(Cell.shown(node["availability"]["time_zone"]))")
        }
        return parts.isEmpty ? nil : parts.joined(separator: "; ")
    }
}

extension NodeCommand {
    struct Window: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "When borrowed nodes may be used.", subcommands: [Set.self, Clear.self])

        struct Set: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                abstract: "Gives nodes windows of the week; outside of them they are disabled.",
                discussion: """
                    Windows: '20:00-06:00 Mon-Fri drain from 05:30 mode shutdown; 00:00-24:00 Sat,Sun'. A disabled node \
                    stays so until it is enabled; nodes whose windows are shut now are emptied.
                    A dry run unless --for-real: nothing is changed, and every line says so.
                    """)
            @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
            @Argument(help: "Windows, divided by semicolons.") var windows: String
            @Option(name: .long, help: "Whose clock: a name such as Europe/Berlin.") var timeZone: String
            @Option(name: .long, help: "Why; kept with the node.") var reason: String?
            @Flag(name: .long, help: "Do it.") var forReal = false
            @OptionGroup var site: SiteOptions

            func run() async throws {
                let availability = JSON.present([
                    "windows": .string(windows), "time_zone": .string(timeZone), "reason": reason.map { .string($0) },
                ])
                try await Window.change(hosts, to: availability, forReal: forReal, site)
            }
        }

        struct Clear: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                abstract: "Takes nodes' windows away; they stay as they are now.")
            @Argument(help: "Hosts, such as cn[43-45,47].") var hosts: String
            @OptionGroup var site: SiteOptions

            func run() async throws { try await Window.change(hosts, to: .null, forReal: true, site) }
        }

        private static func change(_ hosts: String, to value: JSON, forReal: Bool, _ site: SiteOptions) async throws {
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                let report = NodeReport(printer)
                var failed = report.unknown(resolution, isDryRun: !forReal)
                if !resolution.nodes.isEmpty {
                    let answer = try await client.post(
                        "/v1/nodes/windows",
                        ["nodes": .texts(resolution.nodes), "availability": value, "dry_run": .flag(!forReal)])
                    failed += forReal ? report.done(answer) : report.planned(answer, withDetails: true)
                } else if !forReal {
                    report.dry("Nothing was changed.")
                }
                try report.end(failed)
            }
        }
    }
}
