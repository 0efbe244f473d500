import ArgumentParser
import Foundation

/// How answers are printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case table, json, csv
}

enum Output {
    static let isTerminal = isatty(STDOUT_FILENO) == 1
    static let showsProgress = isatty(STDERR_FILENO) == 1

    static func complain(_ line: String) {
        FileHandle.standardError.write(Data((line + "\n").utf8))
    }

    /// A line that replaces itself on a terminal, and is left out elsewhere.
    static func progress(_ line: String) {
        guard showsProgress else { return }
        FileHandle.standardError.write(Data("\r\u{1B}[K\(line.printable)".utf8))
    }

    static func endProgress() {
        if showsProgress { FileHandle.standardError.write(Data("\r\u{1B}[K".utf8)) }
    }

    /// Prints a list, or one resource as a list of one.
    static func show(_ answer: JSON, columns: [Column], as format: OutputFormat) {
        let rows = answer["items"] == .null ? [answer] : answer["items"].items
        switch format {
        case .json: print(answer.rendered)
        case .csv: print(TableWriter.csv(columns, rows))
        case .table: print(TableWriter.table(columns, rows, width: width))
        }
    }

    /// Prints one resource, a line for each of its members.
    static func show(_ resource: JSON, as format: OutputFormat) {
        switch format {
        case .json: print(resource.rendered)
        case .csv:
            let columns = resource.members.map { Column($0.0) }
            print(TableWriter.csv(columns, [resource]))
        case .table:
            let longest = resource.members.map(\.0.count).max() ?? 0
            for (key, value) in resource.members {
                print(key.padding(toLength: longest, withPad: " ", startingAt: 0) + "  " + value.shown)
            }
        }
    }

    /// Of the terminal; `nil` where output goes elsewhere and nothing is cut.
    static var width: Int? {
        guard isTerminal else { return nil }
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 20 else { return nil }
        return Int(size.ws_col)
    }
}

/// A column of a table: what stands above it and what it shows.
struct Column: Sendable {
    var title: String
    var value: @Sendable (JSON) -> String

    init(_ key: String, title: String? = nil) {
        self.title = title ?? key
        value = { $0[key].shown }
    }

    init(title: String, value: @escaping @Sendable (JSON) -> String) {
        self.title = title
        self.value = value
    }
}

enum TableWriter {
    /// Columns two spaces apart; where the width is too small, the widest column is cut.
    static func table(_ columns: [Column], _ rows: [JSON], width: Int?) -> String {
        var cells = [columns.map { $0.title.uppercased() }]
        cells += rows.map { row in columns.map { $0.value(row) } }
        var widths = columns.indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
        if let width {
            while widths.reduce(0, +) + 2 * (widths.count - 1) > width,
                let widest = widths.indices.max(by: { widths[$0] < widths[$1] }),
                widths[widest] > 8
            {
                widths[widest] -= 1
            }
        }
        return cells.map { row in
            zip(row, widths).map { cell, width in
                cell.count > width
                    ? cell.prefix(width - 1) + "…" : cell.padding(toLength: width, withPad: " ", startingAt: 0)
            }.joined(separator: "  ").trimmingTrailingSpaces
        }.joined(separator: "\n")
    }

    /// RFC 4180.
    static func csv(_ columns: [Column], _ rows: [JSON]) -> String {
        func quoted(_ cell: String) -> String {
            cell.contains { $0 == "," || $0 == "\"" || $0 == "\n" }
                ? "\"" + cell.replacingOccurrences(of: "\"", with: "\"\"") + "\"" : cell
        }
        let lines =
            [columns.map { quoted($0.title.lowercased()) }] + rows.map { row in columns.map { quoted($0.value(row)) } }
        return lines.map { $0.joined(separator: ",") }.joined(separator: "\n")
    }
}

extension String {
    fileprivate var trimmingTrailingSpaces: String {
        String(reversed().drop { $0 == " " }.reversed())
    }
}
