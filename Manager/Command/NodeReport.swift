import RoostClient

/// What happened on each node, in the lines that operators know: `[ OK ] <action> <node>` (HLT-18).
struct NodeReport {
    let printer: Printer
    static let columns = [Column("node"), Column("ok"), Column("detail")]

    init(_ printer: Printer) { self.printer = printer }

    private var isText: Bool { printer.format == .table }

    func ok(_ text: String) {
        if isText { printer.line("\(printer.palette.paint("[ OK ]", .good)) \(text.printable)") }
    }

    func dry(_ text: String) {
        if isText { printer.line("\(printer.palette.paint("[DRY RUN]", .changing)) \(text.printable)") }
    }

    func failed(_ text: String, isDryRun: Bool = false) {
        let mark = printer.palette.paint("[FAIL]", .bad)
        let line = "\(mark) \(text.printable)"
        if isText {
            printer.line(isDryRun ? "\(printer.palette.paint("[DRY RUN]", .changing)) \(line)" : line)
        } else {
            // Programs read the API's answer, which does not know of this.
            Terminal.writeError("error: \(text.printable)\n")
        }
    }

    /// Hosts that mean no node.
    func unknown(_ resolution: HostResolution, isDryRun: Bool = false) -> [String] {
        for host in resolution.unknown { failed(host.line, isDryRun: isDryRun) }
        return resolution.unknown.map(\.host)
    }

    /// Shows the answer to `enable`, and gives the nodes that failed.
    func enabled(_ answer: JSON) -> [String] {
        guard isText else {
            printer.list(answer, Self.columns)
            return Self.names(failed: answer["items"].items)
        }
        for item in answer["items"].items {
            let node = Cell.shown(item["node"])
            guard item["ok"].isTrue else {
                failed("Enabling node \(node): \(Cell.shown(item["detail"]))")
                continue
            }
            ok("Enabling node \(node)" + Self.note(item["detail"]))
        }
        return Self.names(failed: answer["items"].items)
    }

    /// Shows what was done on each node, all at once, and gives the nodes that failed.
    func done(_ answer: JSON) -> [String] {
        let items = answer["items"].items
        guard isText else {
            printer.list(answer, Self.columns)
            return Self.names(failed: items)
        }
        for item in items {
            let node = Cell.shown(item["node"])
            guard item["ok"].isTrue else {
                failed("\(node): \(Cell.shown(item["detail"]))")
                continue
            }
            for action in item["actions"].items.map(Cell.shown) {
                ok(action.hasSuffix(" \(node)") ? action : "\(action) on \(node)")
            }
            printer.note("\(node): \(Cell.shown(item["detail"]))".printable)
        }
        return Self.names(failed: items)
    }

    /// Shows what would be done, and why on each node.
    func planned(_ answer: JSON, withDetails: Bool = false) -> [String] {
        let items = answer["items"].items
        guard isText else {
            printer.list(answer, Self.columns)
            return Self.names(failed: items)
        }
        for item in items {
            let node = Cell.shown(item["node"])
            guard item["ok"].isTrue else {
                failed("\(node): \(Cell.shown(item["detail"]))", isDryRun: true)
                continue
            }
            for action in item["actions"].items.map(Cell.shown) {
                dry(action.hasSuffix(" \(node)") ? action : "\(action) on \(node)")
            }
            if withDetails { dry("\(node): \(Cell.shown(item["detail"]))") }
        }
        dry("Nothing was changed; repeat with --for-real.")
        return Self.names(failed: items)
    }

    /// Shows what `disable` did.
    func disabled(_ operation: JSON) -> [String] {
        let hosts = operation["result"]["hosts"].items
        guard isText else {
            if printer.format == .json { printer.resource(operation) } else { printer.list(.list(hosts), Self.columns) }
            return Self.names(failed: hosts)
        }
        for host in hosts {
            let node = Cell.shown(host["node"])
            ok(
                "Disabling node \(node)",
                unless: !host["ok"].isTrue && host["stopped"].items.isEmpty && host["remaining"].items.isEmpty)
            let forced = host["forced"].items
            for guest in host["stopped"].items where !forced.contains(guest) {
                ok("Stopping instance \(Cell.shown(guest)) on \(node)")
            }
            for guest in forced where !host["remaining"].items.contains(guest) {
                ok("Forcing off instance \(Cell.shown(guest)) on \(node)")
            }
            for guest in host["remaining"].items { failed("Stopping instance \(Cell.shown(guest)) on \(node)") }
            if !host["ok"].isTrue { failed("\(node): \(Cell.shown(host["detail"]))") }
        }
        return Self.names(failed: hosts)
    }

    private func ok(_ text: String, unless isWrong: Bool) {
        if !isWrong { ok(text) }
    }

    /// Says that all went well, or throws with the nodes that failed. `operation` may have failed as a whole.
    func end(_ failed: [String], operation: JSON = .null) throws {
        if failed.isEmpty, operation["status"].text == "failed" { throw OperationWait.failure(operation) }
        guard failed.isEmpty else {
            throw Failure(
                "\(failed.count) node\(failed.count == 1 ? "" : "s") failed: \(failed.joined(separator: ", "))")
        }
        if isText { printer.note("All commands executed successfully.") }
    }

    /// A line for each node that is being emptied, with its name in front (HLT-25).
    static func lines(_ operation: JSON) -> String {
        operation["result"]["hosts"].items.filter { !$0["remaining"].items.isEmpty }.map { host in
            let count = host["remaining"].items.count
            return "\(Cell.shown(host["node"])): \(count) running; \(Cell.shown(host["detail"]))".printable
        }.joined(separator: "\n")
    }

    /// While guests shut down (HLT-19).
    static func waiting(_ operation: JSON, timeout: Int, left: Int) -> String {
        let busy = operation["result"]["hosts"].items.filter { !$0["remaining"].items.isEmpty }
        let guests = busy.reduce(0) { $0 + $1["remaining"].items.count }
        let nodes =
            busy.prefix(3).map { Cell.shown($0["node"]) }.joined(separator: ", ") + (busy.count > 3 ? ", …" : "")
        return "Waiting max \(timeout) s for instances to stop on \(nodes): \(guests) running (\(left) s left)"
    }

    private static func names(failed items: [JSON]) -> [String] {
        items.filter { !$0["ok"].isTrue }.map { Cell.shown($0["node"]) }
    }

    private static func note(_ detail: JSON) -> String {
        detail.text.flatMap { $0.isEmpty ? nil : ": \($0)" } ?? ""
    }
}
