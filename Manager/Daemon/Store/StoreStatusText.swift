import ManagerStore

/// The health of a record for a person: the verdict first.
enum StoreStatusText {
    static func text(of report: StoreReport) -> String {
        var lines: [(String, String)] = [
            ("verdict", "\(report.verdict.rawValue.uppercased()): \(report.sentence)"),
            ("engine", [report.engine, report.serverVersion].compactMap { $0 }.joined(separator: " ")),
            ("location", report.location),
        ]
        if let size = report.sizeBytes { lines.append(("size", "\(size >> 10) KiB")) }
        if let schema = report.schema {
            lines.append(("schema", "\(schema), this program knows \(report.schemaKnown)"))
        }
        if let instances = report.instances, let nodes = report.nodes, let users = report.users {
            lines.append(("holds", "\(instances) instances, \(nodes) nodes, \(users) users"))
        }
        if let event = report.lastEvent, let at = report.lastEventAt {
            lines.append(("last event", "\(event) at \(at)"))
        }
        if let at = report.lastCommitAt { lines.append(("last commit", "\(at)")) }
        lines.append(("written by", report.writer ?? "nobody just now"))
        if let waiting = report.waitingWrites { lines.append(("waiting writes", "\(waiting)")) }
        var text = lines.map { pad($0.0, 16) + $0.1 }
        for node in report.databaseNodes { text += self.lines(of: node, hosts: report.databaseNodes.count) }
        for note in report.notes { text.append("note: \(note)") }
        return text.joined(separator: "\n")
    }

    private static func lines(of node: DatabaseNodeReport, hosts: Int) -> [String] {
        if let problem = node.problem { return ["", "\(node.host): \(problem)"] }
        let head = node.isGalera ? "Galera node" : "single server"
        var lines = ["", "\(node.host): \(head)\(node.isReadOnly ? ", read only" : "")"]
        for name in DatabaseNodeReport.names {
            guard let value = node.values[name] else { continue }
            let meaning = DatabaseNodeReport.meaning(of: name, value, hosts: hosts)
            lines.append("  " + pad(name, 28) + pad(value, 26) + meaning)
        }
        return lines
    }

    private static func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }
}
