import ArgumentParser
import RoostClient

extension ImageCommand {
    struct Prefill: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Caches an image on hosts, each serving the next (superusers).",
            discussion: """
                Hosts: cn[43-45,47], comma lists, @file; quote brackets against the shell. Only what a host lacks is sent. \
                An image that is still on its way to the manager is waited for. Ctrl-C leaves the prefill running; see \
                'roost operation pause', 'resume' and 'cancel'.
                """)

        @Argument(help: "Name or ID.") var image: String
        @Argument(help: "The hosts.") var hosts: String
        @Flag(name: .long, inversion: .prefixedNo, help: "Wait until each host holds it or has failed.") var wait = true
        @Flag(name: .long, help: "The same as --no-wait.") var detach = false
        @Option(name: .long, help: ArgumentHelp("How long to wait.", valueName: "seconds")) var waitTimeout = 86_400
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                let image = try await client.get(try path("images", image))
                tell("Getting image \(Cell.shown(image["name"])) (id=\(Cell.shown(image["id"])))", printer)
                guard !resolution.nodes.isEmpty, let id = image["id"].text else {
                    throw Failure.together(resolution.failures)
                }
                let began = ContinuousClock.now
                var operation = try await client.post(
                    "/v1/images/\(Address.escaped(id))/prefill", ["nodes": .texts(resolution.nodes)])
                var report = PrefillReport(image: image, palette: printer.palette)
                if wait && !detach {
                    let count = resolution.nodes.count
                    tell("transferring \(Cell.shown(image["name"])) to \(count) host(s)...", printer)
                    operation = try await follow(operation, &report, client, printer)
                    // An image that was waited for has its size only now.
                    report.image = (try? await client.get(try path("images", id))) ?? image
                }
                show(operation, &report, after: .now - began, printer)
                var failures = resolution.failures
                if OperationWait.hasFailed(operation) { failures.append(OperationWait.failure(operation)) }
                if !failures.isEmpty { throw Failure.together(failures) }
            }
        }

        /// For the person: among the answer's lines where those are for people, too.
        private func tell(_ line: String, _ printer: Printer) {
            if printer.format == .table { printer.line(line) } else { printer.note(line) }
        }

        /// A live table where somebody watches; elsewhere a line as soon as a host is done.
        private func follow(
            _ operation: JSON, _ report: inout PrefillReport, _ client: APIClient, _ printer: Printer
        ) async throws -> JSON {
            guard let id = operation["id"].text else { throw Failure("the manager gave no operation to wait for") }
            let live = LiveTable(printer)
            defer { live.erase() }
            do {
                return try await OperationWait(client, printer, seconds: waitTimeout).end(of: id, each: 1) {
                    operation in
                    if printer.showsProgress {
                        live.draw(PrefillReport.live(operation))
                    } else if printer.format == .table {
                        for line in report.newLines(operation) { printer.line(line) }
                    }
                }
            } catch  where Task.isCancelled {
                live.erase()
                printer.note(Self.goesOn(id))
                throw CancellationError()
            }
        }

        /// What to do about a prefill that nobody waits for any more.
        static func goesOn(_ id: String) -> String {
            "The prefill goes on as operation \(id): watch it with 'roost operation wait \(id)', end it with "
                + "'roost operation cancel \(id)'."
        }

        private func show(_ operation: JSON, _ report: inout PrefillReport, after time: Duration, _ printer: Printer) {
            switch printer.format {
            case .json: printer.resource(operation)
            case .csv: printer.list(.list(operation["result"]["hosts"].items), PrefillReport.columns)
            case .table:
                guard wait && !detach else {
                    printer.list(operation, OperationCommand.columns)
                    if operation["status"].text == "running", let id = operation["id"].text {
                        printer.note(Self.goesOn(id))
                    }
                    return
                }
                for line in report.newLines(operation) + report.summary(operation, after: time) { printer.line(line) }
            }
        }
    }
}

/// What became of each host of a prefill, in lines (HLT-36).
struct PrefillReport {
    static let columns = [
        Column("source"), Column("node"), Column("state", colour: Colour.status), Column.number("progress"),
        Column.number("bytes"), Column.number("bytes_per_second"), Column.number("seconds"), Column("reason"),
    ]

    var image: JSON
    let palette: Palette
    private var told: Set<String> = []

    init(image: JSON, palette: Palette) {
        self.image = image
        self.palette = palette
    }

    /// A line for each host that is done and has none yet.
    mutating func newLines(_ operation: JSON) -> [String] {
        var lines: [String] = []
        for host in operation["result"]["hosts"].items {
            guard let state = host["state"].text, ["held", "failed", "cancelled"].contains(state),
                told.insert(host["node"].text ?? "").inserted
            else { continue }
            let node = Cell.shown(host["node"])
            let way = host["source"].text.map { "\($0.printable) --> \(node)" } ?? node
            let reason = host["reason"].text.flatMap { $0.isEmpty ? nil : $0.printable }
            switch state {
            case "held" where host["source"].text == nil:
                lines.append("\(palette.paint("[ ok ]", .good)) \(way)  \(reason ?? "it was there already")")
            case "held":
                let seconds = host["seconds"].decimal.map { "  " + Amount.decimal($0, places: 1) + "s" } ?? ""
                lines.append(
                    "\(palette.paint("[ ok ]", .good)) \(way)  \(Self.megabytes(host["bytes"].decimal))\(seconds)")
            case "cancelled": lines.append("\(palette.paint("[STOP]", .bad)) \(way): \(reason ?? "cancelled")")
            default: lines.append("\(palette.paint("[FAIL]", .bad)) \(way): \(reason ?? "no reason is known")")
            }
        }
        return lines
    }

    func summary(_ operation: JSON, after time: Duration) -> [String] {
        let hosts = operation["result"]["hosts"].items
        let holding = hosts.filter { $0["state"].text == "held" }.count
        let seconds = time / .seconds(1)
        let moved = hosts.compactMap { $0["bytes"].decimal }.reduce(0, +)
        let rate = seconds > 0 ? Amount.decimal(moved / seconds / 1e6, places: 1) : "0.0"
        return [
            "file size: \(Self.megabytes(image["size_bytes"].decimal))",
            "elapsed time: \(Amount.decimal(seconds, places: 2))s",
            "throughput: \(rate)MB/s, all hosts together",
            "\(holding) of \(hosts.count) host\(hosts.count == 1 ? "" : "s") hold\(holding == 1 ? "s" : "") the image.",
        ]
    }

    /// As operators know it: `1145MB`.
    static func megabytes(_ bytes: Double?) -> String {
        guard let bytes, bytes.isFinite, bytes >= 0, bytes < 1e24 else { return "-" }
        return Amount.decimal(bytes / 1e6, places: bytes < 1e7 ? 1 : 0) + "MB"
    }

    /// A row for each host, those under way first: those that are done need no look.
    static func live(_ operation: JSON) -> [String] {
        let hosts = operation["result"]["hosts"].items
        let order = ["fetching": 0, "paused": 1, "waiting": 2, "failed": 3, "cancelled": 3]
        let sorted = hosts.enumerated().sorted {
            (order[$0.element["state"].text ?? ""] ?? 4, $0.offset) < (
                order[$1.element["state"].text ?? ""] ?? 4, $1.offset
            )
        }.map(\.element)
        let names = max(4, hosts.map { Cell.shown($0["node"]).terminalWidth }.max() ?? 0)
        let sources = max(4, hosts.map { Cell.shown($0["source"]).terminalWidth }.max() ?? 0)
        let rate = hosts.filter { $0["state"].text == "fetching" }.compactMap { $0["bytes_per_second"].decimal }
            .reduce(0, +)
        return [
            headline(operation, hosts, rate),
            "\("HOST".fitted(to: names))  \("FROM".fitted(to: sources))  \("".fitted(to: 24))    %    MB/s  STATE",
        ] + sorted.map { row($0, names: names, sources: sources) }
    }

    private static func headline(_ operation: JSON, _ hosts: [JSON], _ rate: Double) -> String {
        let done = hosts.filter { $0["state"].text == "held" }.count
        let line = "\(done) of \(hosts.count) hosts hold the image"
        if operation["paused"].isTrue {
            return line + "; paused, go on with 'roost operation resume \(Cell.shown(operation["id"]))'"
        }
        if hosts.contains(where: { $0["state"].text == "waiting" }), let step = operation["steps"].items.last {
            return line + "; \(Cell.shown(step["detail"]))"
        }
        return line + ", \(Amount.decimal(rate / 1e6, places: 1)) MB/s together"
    }

    private static func row(_ host: JSON, names: Int, sources: Int) -> String {
        let progress = host["progress"].integer ?? 0
        let isMoving = host["state"].text == "fetching"
        let rate = isMoving ? host["bytes_per_second"].decimal.map { Amount.decimal($0 / 1e6, places: 1) } ?? "-" : "-"
        let reason = host["reason"].text.flatMap { $0.isEmpty ? nil : ": " + $0.printable } ?? ""
        return "\(Cell.shown(host["node"]).fitted(to: names))  \(Cell.shown(host["source"]).fitted(to: sources))  "
            + "\(Amount.bar(Double(progress) / 100, cells: 22)) \("\(progress)".fitted(to: 4, alignedRight: true))  "
            + "\(rate.fitted(to: 6, alignedRight: true))  \(Cell.shown(host["state"]))\(reason)"
    }
}
