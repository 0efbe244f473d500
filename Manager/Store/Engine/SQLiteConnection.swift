import CSQLite
import ManagerModel

/// Owns one connection to an SQLite file. Used by one thread at a time; the store's threads see to that.
final class SQLiteConnection {
    private let handle: OpaquePointer
    private var statements: [String: OpaquePointer] = [:]
    /// What was decoded for those who read through this connection.
    let inventories = DecodedColumn<NodeInventory>(limit: 32_768)
    /// Kept up by those who write through this connection.
    let nodeChanges: NodeChanges

    /// - Throws: `StoreError.cannotOpen`.
    init(path: String, readOnly: Bool) throws(StoreError) {
        var handle: OpaquePointer?
        let flags =
            SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI
            | (readOnly ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
        guard sqlite3_open_v2(path, &handle, flags, nil) == SQLITE_OK, let handle else {
            let message = handle.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
            sqlite3_close_v2(handle)
            throw .cannotOpen(path: path, message: message)
        }
        self.handle = handle
        // Nobody else writes to the file: one connection of one process does.
        nodeChanges = NodeChanges(seesAll: !readOnly)
        sqlite3_extended_result_codes(handle, 1)
        sqlite3_busy_timeout(handle, 10_000)
        // FULL: a commit is on the disk before it is acknowledged (P2). The write-ahead log needs one fsync per commit.
        try run("PRAGMA journal_mode = WAL")
        try run("PRAGMA synchronous = FULL")
        try run("PRAGMA foreign_keys = ON")
        if readOnly { try run("PRAGMA query_only = ON") }
    }

    deinit {
        for statement in statements.values { sqlite3_finalize(statement) }
        sqlite3_close_v2(handle)
    }

    func run(_ sql: String, _ arguments: [SQLValue] = []) throws(StoreError) {
        _ = try query(sql, arguments)
    }

    func query(_ sql: String, _ arguments: [SQLValue] = []) throws(StoreError) -> [SQLRow] {
        let statement = try prepared(sql)
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (index, value) in arguments.enumerated() { try bind(value, to: statement, at: Int32(index + 1)) }
        var rows: [SQLRow] = []
        var columns: [String: Int] = [:]
        while true {
            let code = sqlite3_step(statement)
            switch code {
            case SQLITE_DONE: return rows
            case SQLITE_ROW:
                let count = Int(sqlite3_column_count(statement))
                if columns.isEmpty {
                    for index in 0..<count {
                        columns[String(cString: sqlite3_column_name(statement, Int32(index)))] = index
                    }
                }
                rows.append(SQLRow(columns: columns, values: (0..<count).map { value(of: statement, at: Int32($0)) }))
            default: throw error(code)
            }
        }
    }

    /// Rows changed by the last statement.
    var changes: Int { Int(sqlite3_changes64(handle)) }

    private func prepared(_ sql: String) throws(StoreError) -> OpaquePointer {
        if let statement = statements[sql] { return statement }
        var statement: OpaquePointer?
        let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard code == SQLITE_OK, let statement else { throw error(code) }
        statements[sql] = statement
        return statement
    }

    private func bind(_ value: SQLValue, to statement: OpaquePointer, at index: Int32) throws(StoreError) {
        // SQLite copies what it is given (the destructor value −1), so Swift's buffers may go at once.
        let copy = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        let code: Int32
        switch value {
        case .null: code = sqlite3_bind_null(statement, index)
        case .integer(let value): code = sqlite3_bind_int64(statement, index, value)
        case .real(let value): code = sqlite3_bind_double(statement, index, value)
        case .text(let value):
            var text = value
            code = text.withUTF8 { bytes in
                bytes.withMemoryRebound(to: CChar.self) {
                    sqlite3_bind_text64(
                        statement, index, $0.baseAddress ?? UnsafePointer(bitPattern: 1), UInt64($0.count), copy,
                        UInt8(SQLITE_UTF8))
                }
            }
        case .blob(let value):
            code =
                value.isEmpty
                ? sqlite3_bind_zeroblob(statement, index, 0)
                : value.withUnsafeBytes {
                    sqlite3_bind_blob64(statement, index, $0.baseAddress, UInt64($0.count), copy)
                }
        }
        guard code == SQLITE_OK else { throw error(code) }
    }

    private func value(of statement: OpaquePointer, at index: Int32) -> SQLValue {
        switch sqlite3_column_type(statement, index) {
        case SQLITE_INTEGER: return .integer(sqlite3_column_int64(statement, index))
        case SQLITE_FLOAT: return .real(sqlite3_column_double(statement, index))
        case SQLITE_TEXT:
            let count = Int(sqlite3_column_bytes(statement, index))
            guard let text = sqlite3_column_text(statement, index) else { return .text("") }
            return .text(String(decoding: UnsafeBufferPointer(start: text, count: count), as: UTF8.self))
        case SQLITE_BLOB:
            let count = Int(sqlite3_column_bytes(statement, index))
            guard count > 0, let bytes = sqlite3_column_blob(statement, index) else { return .blob([]) }
            return .blob(Array(UnsafeRawBufferPointer(start: bytes, count: count)))
        default: return .null
        }
    }

    private func error(_ code: Int32) -> StoreError {
        let message = String(cString: sqlite3_errmsg(handle))
        return switch code & 0xFF {
        case SQLITE_FULL: .diskFull
        case SQLITE_CONSTRAINT: .constraint(message)
        case SQLITE_CORRUPT, SQLITE_NOTADB: .corrupt(message)
        case SQLITE_BUSY, SQLITE_LOCKED: .busy
        default: .engine(code: Int(code), message: message)
        }
    }
}
