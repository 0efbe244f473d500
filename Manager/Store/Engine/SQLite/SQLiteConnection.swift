import CSQLite
import Glibc
import ManagerModel

/// Owns one connection to an SQLite file.
final class SQLiteConnection: SQLConnection {
    /// What a connection is for.
    enum Role {
        case writing
        case reading
        /// A file at rest, such as a backup, in which nothing may change.
        case archive
    }

    private struct Statement {
        var handle: OpaquePointer
        var columns: [String: Int] = [:]
    }

    private let handle: OpaquePointer
    private var statements: [String: Statement] = [:]
    let inventories: DecodedColumn<NodeInventory>
    /// Changed by the simulation alone, in which several managers share a connection.
    var nodeChanges: NodeChanges
    let memory = BatchMemory()
    private(set) var broken: StoreError?
    private var isOpen = false
    let engine = StoreEngine.sqlite

    /// - Throws: `StoreError.cannotOpen`.
    init(
        path: String, role: Role, inventories: DecodedColumn<NodeInventory> = .ofNodes()
    ) throws(StoreError) {
        var handle: OpaquePointer?
        // A reader opens for writing, too: it may have to recover the log that a killed process left.
        let access =
            switch role {
            case .writing: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
            case .reading: SQLITE_OPEN_READWRITE
            case .archive: SQLITE_OPEN_READONLY
            }
        guard sqlite3_open_v2(path, &handle, SQLITE_OPEN_NOMUTEX | access, nil) == SQLITE_OK, let handle else {
            let message = handle.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
            sqlite3_close_v2(handle)
            throw .cannotOpen(path: path, message: message)
        }
        self.handle = handle
        self.inventories = inventories
        // Nobody else writes to the file: one connection of one process does.
        nodeChanges = NodeChanges(isShared: role != .writing)
        sqlite3_extended_result_codes(handle, 1)
        sqlite3_busy_timeout(handle, 10_000)
        guard role != .archive else { return }
        // FULL: a commit is on the disk before it is acknowledged (P2). The write-ahead log needs one fsync per commit.
        try run("PRAGMA journal_mode = WAL")
        try run("PRAGMA synchronous = FULL")
        try run("PRAGMA foreign_keys = ON")
        // What a savepoint needs to be undone with is kept in memory: every write of a batch makes some.
        try run("PRAGMA temp_store = MEMORY")
        if role == .reading {
            try run("PRAGMA query_only = ON")
        } else {
            // A large batch is not written before its commit, and pages that change again and again are copied from the log
            // to the file seldom. KiB where negative; pages of 4 KiB.
            try run("PRAGMA cache_size = -32768")
            try run("PRAGMA wal_autocheckpoint = 4096")
        }
    }

    deinit {
        for statement in statements.values { sqlite3_finalize(statement.handle) }
        sqlite3_close_v2(handle)
    }

    // MARK: Statements

    func run(_ sql: String, _ arguments: [SQLValue]) throws(StoreError) {
        _ = try query(sql, arguments)
    }

    func query(_ sql: String, _ arguments: [SQLValue]) throws(StoreError) -> [SQLRow] {
        if let broken { throw broken }
        let statement = try prepared(sql)
        defer {
            sqlite3_reset(statement.handle)
            sqlite3_clear_bindings(statement.handle)
        }
        for (index, value) in arguments.enumerated() { try bind(value, to: statement.handle, at: Int32(index + 1)) }
        var rows: [SQLRow] = []
        var columns = statement.columns
        while true {
            let code = sqlite3_step(statement.handle)
            switch code {
            case SQLITE_DONE: return rows
            case SQLITE_ROW:
                let count = Int(sqlite3_column_count(statement.handle))
                // Another process may have changed the schema, after which SQLite prepares the statement anew.
                if rows.isEmpty, columns.count != count {
                    columns = [:]
                    for index in 0..<count {
                        columns[String(cString: sqlite3_column_name(statement.handle, Int32(index)))] = index
                    }
                    statements[sql]?.columns = columns
                }
                rows.append(
                    SQLRow(columns: columns, values: (0..<count).map { value(of: statement.handle, at: Int32($0)) }))
            default: throw failure(code)
            }
        }
    }

    var changes: Int { Int(sqlite3_changes64(handle)) }

    private func prepared(_ sql: String) throws(StoreError) -> Statement {
        if let statement = statements[sql] { return statement }
        var handle: OpaquePointer?
        let code = sqlite3_prepare_v3(self.handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &handle, nil)
        guard code == SQLITE_OK, let handle else { throw failure(code) }
        // Texts that vary, such as lists of arguments, must not pile up.
        if statements.count >= 512 {
            for statement in statements.values { sqlite3_finalize(statement.handle) }
            statements = [:]
        }
        let statement = Statement(handle: handle)
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
        guard code == SQLITE_OK else { throw failure(code) }
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

    private func failure(_ code: Int32) -> StoreError {
        let message = String(cString: sqlite3_errmsg(handle))
        let system = sqlite3_system_errno(handle)
        let error: StoreError =
            switch code & 0xFF {
            case SQLITE_FULL: .diskFull
            // The log's index is a file of its own, and its growth fails in this way.
            case SQLITE_IOERR where system == ENOSPC || system == EDQUOT: .diskFull
            case SQLITE_CONSTRAINT: .constraint(message)
            case SQLITE_CORRUPT, SQLITE_NOTADB: .corrupt(message)
            case SQLITE_BUSY, SQLITE_LOCKED: .conflict("another process holds the SQLite file")
            default: .engine(code: Int(code), message: message)
            }
        // Some faults, such as a full disk, undo the whole transaction.
        if isOpen, sqlite3_get_autocommit(handle) != 0 { broken = error }
        return error
    }

    // MARK: Transactions

    func beginRead() throws(StoreError) {
        try run("BEGIN")
        isOpen = true
    }

    func endRead() { rollBack() }

    func beginBatch() throws(StoreError) {
        try run("BEGIN IMMEDIATE")
        isOpen = true
    }

    func beginWrite() throws(StoreError) { try run("SAVEPOINT w") }

    func undoWrite() throws(StoreError) {
        try run("ROLLBACK TO w")
        try run("RELEASE w")
    }

    func keepWrite() throws(StoreError) { try run("RELEASE w") }

    func commitBatch() throws(StoreError) {
        try run("COMMIT")
        isOpen = false
    }

    func rollBack() {
        isOpen = false
        broken = nil
        if sqlite3_get_autocommit(handle) == 0 { try? run("ROLLBACK") }
    }

    /// A commit that failed is not in the file.
    func settle() throws(StoreError) -> Bool { false }

    // MARK: Schema

    func exclusively(_ body: (_ renew: () throws -> Void) throws -> Void) throws {
        try beginBatch()
        do {
            try body {}
            try commitBatch()
        } catch {
            rollBack()
            throw error
        }
    }

    func hasColumn(_ column: String, in table: String) throws(StoreError) -> Bool {
        try !query(
            "SELECT 1 FROM pragma_table_info(?) WHERE name = ?", [.text(table), .text(column)]
        ).isEmpty
    }
}
