import ArgumentParser

extension ImageCommand {
    struct Prefill: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Caches an image on hosts, each serving the next (superusers).",
            discussion: "Hosts: cn[43-45,47], comma lists, @file; quote brackets against the shell.")

        @Argument(help: "Name or ID.") var image: String
        @Argument(help: "The hosts.") var hosts: String
        @Flag(name: .long, inversion: .prefixedNo, help: "Wait until each host holds it or has failed.") var wait = true
        @Option(name: .long, help: ArgumentHelp("How long to wait.", valueName: "seconds")) var waitTimeout = 86_400
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client, printer in
                let resolution = try await HostResolution.of(hosts, client, printer)
                let image = try await client.get(try path("images", image))
                printer.note("Image \(Cell.shown(image["name"])) (id=\(Cell.shown(image["id"])))")
                guard !resolution.nodes.isEmpty, let id = image["id"].text else {
                    throw Failure.together(resolution.failures)
                }
                let began = ContinuousClock.now
                var operation = try await client.post(
                    "/v1/images/\(APIClient.escaped(id))/prefill", ["nodes": .texts(resolution.nodes)])
                var report = PrefillReport(image: image, palette: printer.palette)
                if wait, let id = operation["id"].text {
                    operation = try await follow(id, &report, client, printer)
                }
                show(operation, &report, after: .now - began, printer)
                var failures = resolution.failures
                if operation["status"].text == "failed" { failures.append(OperationWait.failure(operation)) }
                if !failures.isEmpty { throw Failure.together(failures) }
            }
        }

        /// A live table where somebody watches; elsewhere a line as soon as a host is done.
        private func follow(
            _ id: String, _ report: inout PrefillReport, _ client: APIClient, _ printer: Printer
        ) async throws -> JSON {
            let live = LiveTable(printer)
            defer { live.erase() }
            return try await OperationWait(client, printer, seconds: waitTimeout).end(of: id, each: 1) { operation in
                if printer.showsProgress {
                    live.draw(PrefillReport.live(operation))
                } else if printer.format == .table {
                    for line in report.newLines(operation) { printer.line(line) }
                }
            }
        }

        private func show(_ operation: JSON, _ report: inout PrefillReport, after time: Duration, _ printer: Printer) {
            switch printer.format {
            case .json: printer.resource(operation)
            case .csv: printer.list(.list(operation["result"]["hosts"].items), PrefillReport.columns)
            case .table:
                guard wait else { return printer.list(operation, OperationCommand.columns) }
                for line in report.newLines(operation) + report.summary(operation, after: time) { printer.line(line) }
            }
        }
    }
}

/// What became of each host of a prefill, in lines (HLT-36).
struct PrefillReport {
    static let columns = [
        Column("source"), Column("node"), Column("state", colour: Colour.status), Column.number("progress"),
        Column.number("bytes"), Column.number("seconds"), Column("reason"),
    ]

    let image: JSON
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
            let state = host["state"].text
            guard state == "held" || state == "failed", told.insert(host["node"].text ?? "").inserted else { continue }
            let way = "\(Cell.shown(host["source"])) --> \(Cell.shown(host["node"]))"
            if state == "held" {
                let seconds = host["seconds"].decimal.map { "  " + Amount.decimal($0, places: 1) + "s" } ?? ""
                lines.append("\(palette.paint("[ ok ]", .good)) \(way)  \(Cell.bytes(host["bytes"]))\(seconds)")
            } else {
                lines.append("\(palette.paint("[FAIL]", .bad)) \(way): \(Cell.shown(host["reason"]))")
            }
        }
        return lines
    }

    func summary(_ operation: JSON, after time: Duration) -> [String] {
        let hosts = operation["result"]["hosts"].items
        let holding = hosts.filter { $0["state"].text == "held" }.count
        return [
            "file size: \(Cell.bytes(image["size_bytes"]))",
            "elapsed time: \(Amount.decimal(time / .seconds(1), places: 2))s",
            "\(holding) of \(hosts.count) host\(hosts.count == 1 ? "" : "s") hold\(holding == 1 ? "s" : "") the image.",
        ]
    }

    /// Hosts under way first: those that are done need no look.
    static func live(_ operation: JSON) -> [String] {
        let hosts = operation["result"]["hosts"].items
        let order = ["fetching": 0, "waiting": 1, "failed": 2]
        let sorted = hosts.enumerated().sorted {
            (order[$0.element["state"].text ?? ""] ?? 3, $0.offset) < (
                order[$1.element["state"].text ?? ""] ?? 3, $1.offset
            )
        }
        let width = hosts.map { Cell.shown($0["node"]).terminalWidth }.max() ?? 0
        let done = hosts.filter { $0["state"].text == "held" }.count
        return ["\(done) of \(hosts.count) hosts hold the image"]
            + sorted.map { _, host in
                let progress = host["progress"].integer ?? 0
                return "\(Cell.shown(host["node"]).fitted(to: width))  \(Amount.bar(Double(progress) / 100)) "
                    + "\("\(progress)".fitted(to: 3, alignedRight: true)) %  \(Cell.shown(host["state"])) from \(Cell.shown(host["source"]))"
            }
    }
}
