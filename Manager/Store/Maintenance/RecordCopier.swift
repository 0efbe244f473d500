/// How far a long job of maintenance is.
public struct MaintenanceProgress: Sendable {
    public var step: String
    public var rows: Int
}

/// Copies a whole record from one connection to another, table by table, and proves that both hold the same.
struct RecordCopier {
    let tables: [StoreTable]
    let progress: (MaintenanceProgress) -> Void

    /// Rows read at once, and written in one transaction: none is long (STB-08).
    private static let page = 500
    /// Values and bytes in one statement; either engine takes more.
    private static let valuesInStatement = 900
    private static let bytesInStatement = 1 << 20

    /// Copies from `source`, whose read transaction is open, into the new tables of `target`.
    func copy(from source: any SQLConnection, to target: any SQLConnection) throws -> [TableSum] {
        try tables.map { table in
            // Migrations have put rows in, which the source has, too.
            try target.run("DELETE FROM \"\(table.name)\"")
            return try walk(table, on: source, "copying") { rows in try insert(rows, into: table, on: target) }
        }
    }

    /// Sums up a record whose read transaction is open.
    func sums(of connection: any SQLConnection, _ step: String = "verifying") throws -> [TableSum] {
        try tables.map { table in try walk(table, on: connection, step) { _ in } }
    }

    private func walk(
        _ table: StoreTable, on connection: any SQLConnection, _ step: String, _ body: ([[SQLValue]]) throws -> Void
    ) throws -> TableSum {
        var summer = TableSummer()
        var count = 0
        var last: [SQLValue]?
        let places = table.key.compactMap { table.columns.firstIndex(of: $0) }
        while true {
            let rows = try connection.query(
                table.page(behind: last != nil, limit: Self.page), last.map(table.arguments(behind:)) ?? []
            ).map(\.values)
            guard let end = rows.last else { return summer.sum(of: table.name) }
            for row in rows { summer.add(row) }
            try body(rows)
            count += rows.count
            progress(MaintenanceProgress(step: "\(step) \(table.name)", rows: count))
            last = places.map { end[$0] }
        }
    }

    private func insert(_ rows: [[SQLValue]], into table: StoreTable, on target: any SQLConnection) throws {
        let names = table.columns.map { "\"\($0)\"" }.joined(separator: ", ")
        let places = "(" + repeatElement("?", count: table.columns.count).joined(separator: ", ") + ")"
        try target.run("START TRANSACTION".forEngine(target.engine))
        var rest = rows[...]
        while !rest.isEmpty {
            var arguments: [SQLValue] = []
            var bytes = 0
            var count = 0
            for row in rest {
                let more = row.reduce(0) { $0 + $1.byteCount }
                let isFull =
                    arguments.count + row.count > Self.valuesInStatement || bytes + more > Self.bytesInStatement
                if count > 0, isFull { break }
                arguments += row
                bytes += more
                count += 1
            }
            try target.run(
                "INSERT INTO \"\(table.name)\" (\(names)) VALUES "
                    + repeatElement(places, count: count).joined(separator: ", "), arguments)
            rest = rest.dropFirst(count)
        }
        try target.run("COMMIT")
    }
}

extension String {
    /// SQLite begins transactions with another word.
    fileprivate func forEngine(_ engine: StoreEngine) -> String { engine == .sqlite ? "BEGIN IMMEDIATE" : self }
}

extension SQLValue {
    fileprivate var byteCount: Int {
        switch self {
        case .null, .integer, .real: 8
        case .text(let text): text.utf8.count
        case .blob(let blob): blob.count
        }
    }
}
