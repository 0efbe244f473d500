import ArgumentParser
import RoostClient

struct UsageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage", abstract: "What was used, by day, instance or user.",
        discussion: "A user sees their own, a superuser everybody's. Days are UTC, and both ends count.")

    enum Grouping: String, ExpressibleByArgument, CaseIterable {
        case day, instance, user
    }

    @Option(name: .long, help: "Only this user's.") var user: String?
    @Option(name: .long, help: ArgumentHelp("By default the first of this month.", valueName: "yyyy-mm-dd")) var from:
        String?
    @Option(name: .long, help: ArgumentHelp("By default today.", valueName: "yyyy-mm-dd")) var to: String?
    @Option(name: .long, help: "What one row is: day, instance or user.") var by = Grouping.instance
    @OptionGroup var list: ListOptions
    @OptionGroup var site: SiteOptions

    static func columns(_ grouping: Grouping) -> [Column] {
        let subject: [Column] =
            switch grouping {
            case .day: [Column("day"), Column("user")]
            case .instance: [Column("user"), Column("instance"), Column("flavor")]
            case .user: [Column("user")]
            }
        return subject + [
            .number("server_hours"), .number("vcpu_hours"), .number("ram_mib_hours"), .number("cpu_seconds"),
            .bytes("disk_read_bytes", "DISK READ"), .bytes("disk_write_bytes", "DISK WRITTEN"),
            .bytes("network_receive_bytes", "NET IN"), .bytes("network_transmit_bytes", "NET OUT"),
            Column("device_hours", shown: deviceHours, value: { .string(deviceHours($0)) }),
        ]
    }

    /// `a100 12.5, t4 3`.
    @Sendable private static func deviceHours(_ row: JSON) -> String {
        row["device_hours"].members.map { "\($0.key) \(Cell.shown($0.value))" }.joined(separator: ", ")
    }

    /// A table ends with the totals; they are no row of the CSV, where a program would add them again.
    static func rows(_ report: JSON, _ grouping: Grouping, _ format: OutputFormat) -> JSON {
        guard format == .table, report["items"].items.count > 1 else { return report }
        let totals = report["totals"].setting(grouping == .day ? "day" : "user", to: .string("total"))
        return .list(report["items"].items + [totals])
    }

    func run() async throws {
        let query = try list.query(["user": user, "from": from, "to": to, "group_by": by.rawValue])
        try await site.withClient { client, printer in
            let report = try await client.list("/v1/usage", matching: query)
            try list.columns.print(Self.rows(report, by, printer.format), Self.columns(by), printer)
        }
    }
}
