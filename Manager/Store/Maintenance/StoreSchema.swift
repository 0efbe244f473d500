import ProtocolModel

/// A table of the record, as a copy of it needs to know it.
struct StoreTable: Sendable, Equatable {
    var name: String
    var columns: [String]
    /// The columns of the primary key, in its order.
    var key: [String]
}

extension StoreTable {
    /// The tables that migrations make, engine's own ones apart. They are asked of SQLite, which knows a new record in no time.
    static func all(after migrations: [Migration]) throws -> [StoreTable] {
        let connection = try SQLiteConnection(path: ":memory:", role: .writing)
        try Migrator(migrations: migrations).run(on: connection, now: Timestamp(milliseconds: 0))
        let names = try connection.query(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('schema_migrations') ORDER BY name"
        ).map { try $0.text("name") }
        return try names.filter { !$0.hasPrefix("sqlite_") }.map { name in
            let columns = try connection.query("SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", [.text(name)])
            let key = try columns.filter { try $0.int("pk") > 0 }.sorted { try $0.int("pk") < $1.int("pk") }
            return StoreTable(
                name: name, columns: try columns.map { try $0.text("name") }, key: try key.map { try $0.text("name") })
        }
    }

    /// Rows behind a key, in the key's order. Written so that either engine goes along the index.
    ///
    /// - Returns: the statement; with `behind`, its arguments are those that `arguments(behind:)` gives.
    func page(behind: Bool, limit: Int) -> String {
        let names = columns.map { "\"\($0)\"" }.joined(separator: ", ")
        let order = key.map { "\"\($0)\"" }.joined(separator: ", ")
        return "SELECT \(names) FROM \"\(name)\"" + (behind ? " WHERE " + Self.after(key[...]) : "")
            + " ORDER BY \(order) LIMIT \(limit)"
    }

    func arguments(behind last: [SQLValue]) -> [SQLValue] {
        var arguments: [SQLValue] = []
        for (index, value) in last.enumerated() {
            // Twice where there is a next column: at least as large, and larger.
            arguments += index + 1 < last.count ? [value, value] : [value]
        }
        return arguments
    }

    /// `a >= ? AND (a > ? OR b > ?)`: a comparison of rows would be read from the start by MariaDB.
    private static func after(_ key: ArraySlice<String>) -> String {
        guard let first = key.first else { return "1 = 0" }
        let rest = key.dropFirst()
        guard !rest.isEmpty else { return "\"\(first)\" > ?" }
        return "\"\(first)\" >= ? AND (\"\(first)\" > ? OR (\(after(rest))))"
    }
}
