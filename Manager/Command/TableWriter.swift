import RoostClient

/// A column of a table: the API's key, what stands above it, and what it shows.
struct Column: Sendable {
    enum Kind: Sendable {
        /// May be cut where the terminal is narrow.
        case text
        /// Cut last: half an ID is of no use.
        case identifier
        /// To the right, and never cut.
        case number
    }

    /// The API's key; the header in CSV.
    var key: String
    var title: String
    var kind: Kind
    /// For people.
    var shown: @Sendable (JSON) -> String
    /// For programs.
    var raw: @Sendable (JSON) -> String
    /// Of a cell, by what it shows.
    var colour: @Sendable (String) -> Colour?

    init(
        _ key: String, _ title: String? = nil, _ kind: Kind = .text,
        colour: @escaping @Sendable (String) -> Colour? = { _ in nil },
        shown: (@Sendable (JSON) -> String)? = nil, value: (@Sendable (JSON) -> JSON)? = nil
    ) {
        let value = value ?? { $0[key] }
        self.key = key
        self.title = title ?? String(key.map { $0 == "_" ? " " : $0 }).uppercased()
        self.kind = kind
        self.colour = colour
        self.shown = shown ?? { Cell.shown(value($0)) }
        raw = { Cell.raw(value($0)) }
    }

    static let id = Column("id", "ID", .identifier)

    static func number(_ key: String, _ title: String? = nil) -> Column { Column(key, title, .number) }

    static func bytes(_ key: String, _ title: String) -> Column {
        Column(key, title, .number, shown: { Cell.bytes($0[key]) })
    }
}

/// One value in one cell.
enum Cell {
    static func shown(_ value: JSON) -> String {
        switch value {
        case .null: "-"
        case .flag(let flag): flag ? "yes" : "no"
        case .number(let digits): decimal(digits)
        case .string(let text): text.isEmpty ? "-" : text.printable
        case .array(let items): items.isEmpty ? "-" : items.map(shown).joined(separator: " ")
        case .object(let members):
            members.isEmpty ? "-" : members.map { "\($0.key.printable)=\(shown($0.value))" }.joined(separator: " ")
        }
    }

    /// Null is empty, and lists are kept together by spaces.
    static func raw(_ value: JSON) -> String {
        switch value {
        case .null: ""
        case .flag(let flag): flag ? "true" : "false"
        case .number(let digits): digits
        case .string(let text): text
        case .array(let items): items.map(raw).joined(separator: " ")
        case .object(let members): members.map { "\($0.key)=\(raw($0.value))" }.joined(separator: " ")
        }
    }

    /// Bytes in the unit that suits a reader.
    static func bytes(_ value: JSON) -> String {
        guard let bytes = value.decimal else { return "-" }
        return Amount.bytes(bytes)
    }

    /// Fractions are rounded to three places; whole numbers are shown as they came.
    private static func decimal(_ digits: String) -> String {
        guard digits.contains(where: { $0 == "." || $0 == "e" || $0 == "E" }), let value = Double(digits) else {
            return digits
        }
        return Amount.decimal(value, places: 3)
    }
}

/// Lays out rows as a table or as CSV.
struct TableWriter {
    var columns: [Column]
    var headers = true
    /// Of the terminal in cells; `nil` where the output goes elsewhere and nothing is cut.
    var width: Int?
    var colours = Palette(isOn: false)
    /// Whether a terminal would obey what stands in CSV.
    var isOnTerminal = false

    private static let gap = 2
    private static let narrowest = 8

    func table(_ rows: [JSON]) -> String {
        let titles = columns.map(\.title)
        let cells = rows.map { row in columns.map { $0.shown(row) } }
        if let width, Self.least(columns, (headers ? [titles] : []) + cells) > width { return records(cells, width) }
        let widths = fittedWidths((headers ? [titles] : []) + cells)
        var lines: [String] = []
        if headers { lines.append(line(titles, widths) { _, _ in nil }) }
        lines += cells.map { row in line(row, widths) { columns[$0].colour($1) } }
        return lines.joined(separator: "\n")
    }

    /// The width under which columns would be too narrow to be read.
    private static func least(_ columns: [Column], _ rows: [[String]]) -> Int {
        let widths = columns.indices.map { column in
            let widest = rows.map { $0[column].terminalWidth }.max() ?? 0
            return columns[column].kind == .number ? widest : min(widest, narrowest)
        }
        return widths.reduce(0, +) + gap * (columns.count - 1)
    }

    /// For a terminal that is too narrow for a table: a line for each cell, and an empty one between rows.
    private func records(_ cells: [[String]], _ width: Int) -> String {
        let label = headers ? min(width / 2, columns.map { $0.title.terminalWidth }.max() ?? 0) : 0
        let left = max(1, width - label - (headers ? Self.gap : 0))
        return cells.map { row in
            row.enumerated().map { index, cell in
                let text = cell.terminalWidth > left ? cell.fitted(to: left) : cell
                let title =
                    headers ? columns[index].title.fitted(to: label) + String(repeating: " ", count: Self.gap) : ""
                return title + colours.paint(text, columns[index].colour(cell))
            }.joined(separator: "\n")
        }.joined(separator: "\n\n")
    }

    private func line(_ row: [String], _ widths: [Int], _ colour: (Int, String) -> Colour?) -> String {
        var line = ""
        for (index, cell) in row.enumerated() {
            if index > 0 { line += String(repeating: " ", count: Self.gap) }
            let isNumber = columns[index].kind == .number
            // Nothing follows the last cell, so nothing needs to fill it.
            let isLast = index == row.count - 1 && !isNumber && cell.terminalWidth <= widths[index]
            let text = isLast ? cell : cell.fitted(to: widths[index], alignedRight: isNumber)
            line += colours.paint(text, colour(index, cell))
        }
        return line
    }

    /// The widest text gives way first, cell by cell; then IDs; numbers never.
    private func fittedWidths(_ rows: [[String]]) -> [Int] {
        var widths = columns.indices.map { column in rows.map { $0[column].terminalWidth }.max() ?? 0 }
        guard let width else { return widths }
        var excess = widths.reduce(0, +) + Self.gap * (widths.count - 1) - width
        for kind in [Column.Kind.text, .identifier] {
            let candidates = columns.indices.filter { columns[$0].kind == kind }
            while excess > 0, let widest = candidates.max(by: { widths[$0] < widths[$1] }),
                widths[widest] > Self.narrowest
            {
                widths[widest] -= 1
                excess -= 1
            }
        }
        return widths
    }

    /// RFC 4180; on a terminal without what it would obey.
    func csv(_ rows: [JSON]) -> String {
        let lines = (headers ? [columns.map(\.key)] : []) + rows.map { row in columns.map { $0.raw(row) } }
        return lines.map { line in
            line.map { Self.quoted(isOnTerminal ? $0.printable : $0) }.joined(separator: ",")
        }.joined(separator: "\n")
    }

    private static func quoted(_ cell: String) -> String {
        // "\r\n" is one `Character`, so scalars are asked.
        guard cell.unicodeScalars.contains(where: { $0 == "," || $0 == "\"" || $0 == "\n" || $0 == "\r" }) else {
            return cell
        }
        return "\"" + cell.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
    }
}
