import ArgumentParser
import RoostClient

/// How answers are printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable, Sendable {
    case table, json, csv
}

/// Prints answers on standard output; notes and progress on standard error.
struct Printer: Sendable {
    var format = OutputFormat.table
    var headers = true
    var quiet = false
    var colours = true
    var terminal = Terminal.current()

    var showsProgress: Bool { terminal.errorIsTerminal && !quiet }
    var palette: Palette { Palette(isOn: colours && terminal.allowsColours && terminal.outputIsTerminal) }

    /// A list, or one resource as a list of one.
    func list(_ answer: JSON, _ columns: [Column]) { line(listed(answer, columns)) }

    func listed(_ answer: JSON, _ columns: [Column]) -> String {
        let rows = answer["items"] == .null ? [answer] : answer["items"].items
        let writer = TableWriter(
            columns: columns, headers: headers, width: terminal.width, colours: palette,
            isOnTerminal: terminal.outputIsTerminal)
        return switch format {
        case .json: JSONWriter.indented(answer)
        case .csv: writer.csv(rows)
        case .table: writer.table(rows)
        }
    }

    /// One resource, a line for each of its members.
    func resource(_ resource: JSON) { line(shown(resource)) }

    func shown(_ resource: JSON) -> String {
        switch format {
        case .json: return JSONWriter.indented(resource)
        case .csv:
            let columns = resource.members.map { Column($0.key) }
            return TableWriter(columns: columns, headers: headers, isOnTerminal: terminal.outputIsTerminal).csv([
                resource
            ])
        case .table:
            let width = resource.members.map { $0.key.printable.terminalWidth }.max() ?? 0
            return resource.members.flatMap { member in
                let key = member.key.printable.fitted(to: width)
                // A list of objects reads better with one a line.
                guard member.value.items.contains(where: { !$0.members.isEmpty }) else {
                    return ["\(key)  \(Cell.shown(member.value))"]
                }
                return member.value.items.enumerated().map { index, item in
                    "\(index == 0 ? key : "".fitted(to: width))  \(Cell.shown(item))"
                }
            }.joined(separator: "\n")
        }
    }

    /// One line of an answer.
    func line(_ text: String) {
        if !text.isEmpty { Terminal.writeOutput(text + "\n") }
    }

    /// For the person, not for a program behind a pipe.
    func note(_ text: String) {
        if !quiet { Terminal.writeError(text + "\n") }
    }

    /// A line that replaces itself on a terminal, and is left out elsewhere.
    func progress(_ text: String) {
        guard showsProgress else { return }
        let width = (Terminal.columns(of: 2) ?? 80) - 1
        let shown = text.printable
        Terminal.writeError("\r\u{1B}[K" + (shown.terminalWidth > width ? shown.fitted(to: width) : shown))
    }

    func endProgress() {
        if showsProgress { Terminal.writeError("\r\u{1B}[K") }
    }
}
