import CMariaDB

/// A prepared statement, its argument buffers and its result buffers. Freed with this object, before its session.
final class MariaDBStatement {
    private let session: UnsafeMutablePointer<MYSQL>
    private let handle: UnsafeMutablePointer<MYSQL_STMT>
    private let binds: UnsafeMutableBufferPointer<MYSQL_BIND>
    /// Integers and reals to be sent, by index.
    private let numbers: UnsafeMutableBufferPointer<UInt64>
    /// Texts and blobs to be sent, one behind another.
    private var bytes: [UInt8] = []
    private var results: MariaDBResultBuffers?
    private var columns: [String: Int] = [:]
    /// Rows that the last execution matched.
    private(set) var changes = 0

    init(_ session: UnsafeMutablePointer<MYSQL>, _ sql: String) throws(MariaDBFault) {
        guard let handle = mysql_stmt_init(session) else { throw MariaDBFault(session) }
        var text = sql
        let code = text.withUTF8 { utf8 in
            utf8.withMemoryRebound(to: CChar.self) { mysql_stmt_prepare(handle, $0.baseAddress, UInt($0.count)) }
        }
        guard code == 0 else {
            let fault = MariaDBFault(handle, of: session)
            mysql_stmt_close(handle)
            throw fault
        }
        self.session = session
        self.handle = handle
        let count = Int(mysql_stmt_param_count(handle))
        binds = .allocate(capacity: count)
        binds.initialize(repeating: MYSQL_BIND())
        numbers = .allocate(capacity: count)
        numbers.initialize(repeating: 0)
    }

    deinit {
        mysql_stmt_close(handle)
        binds.deallocate()
        numbers.deallocate()
    }

    func execute(_ arguments: [SQLValue]) throws(MariaDBFault) -> [SQLRow] {
        guard arguments.count == binds.count else {
            throw MariaDBFault(code: 2031, message: "\(arguments.count) arguments for \(binds.count) places")
        }
        let places = layOut(arguments)
        let failed = bytes.withUnsafeMutableBytes { buffer in
            for (index, place) in places where buffer.baseAddress != nil {
                binds[index].buffer = buffer.baseAddress! + place
            }
            if !binds.isEmpty, mysql_stmt_bind_param(handle, binds.baseAddress) != 0 { return true }
            return mysql_stmt_execute(handle) != 0
        }
        guard !failed else { throw MariaDBFault(handle, of: session) }
        let width = Int(mysql_stmt_field_count(handle))
        guard width > 0 else {
            changes = Int(clamping: mysql_stmt_affected_rows(handle))
            return []
        }
        changes = 0
        defer { mysql_stmt_free_result(handle) }
        return try rows(width)
    }

    /// Describes each argument to the connector.
    ///
    /// - Returns: where in `bytes` the texts and blobs stand, by index.
    private func layOut(_ arguments: [SQLValue]) -> [(index: Int, place: Int)] {
        var places: [(Int, Int)] = []
        bytes.removeAll(keepingCapacity: true)
        for (index, value) in arguments.enumerated() {
            var bind = MYSQL_BIND()
            switch value {
            case .null: bind.buffer_type = MYSQL_TYPE_NULL
            case .integer(let number):
                numbers[index] = UInt64(bitPattern: number)
                bind.buffer_type = MYSQL_TYPE_LONGLONG
                bind.buffer = UnsafeMutableRawPointer(numbers.baseAddress! + index)
            case .real(let number):
                numbers[index] = number.bitPattern
                bind.buffer_type = MYSQL_TYPE_DOUBLE
                bind.buffer = UnsafeMutableRawPointer(numbers.baseAddress! + index)
            case .text(let text):
                places.append((index, bytes.count))
                let start = bytes.count
                bytes.append(contentsOf: text.utf8)
                bind.buffer_type = MYSQL_TYPE_VAR_STRING
                bind.buffer_length = UInt(bytes.count - start)
            case .blob(let blob):
                places.append((index, bytes.count))
                bytes.append(contentsOf: blob)
                bind.buffer_type = MYSQL_TYPE_LONG_BLOB
                bind.buffer_length = UInt(blob.count)
            }
            // Where `length` is null the connector reads this one.
            bind.length_value = bind.buffer_length
            binds[index] = bind
        }
        // An array without elements has no address, and an empty text needs one.
        bytes.append(0)
        return places
    }

    private func rows(_ width: Int) throws(MariaDBFault) -> [SQLRow] {
        // Another process may have changed the schema, after which the server prepares the statement anew.
        if columns.isEmpty || results?.count != width { try describe(width) }
        guard let results else { return [] }
        guard mysql_stmt_bind_result(handle, results.binds.baseAddress) == 0 else {
            throw MariaDBFault(handle, of: session)
        }
        var rows: [SQLRow] = []
        while true {
            switch mysql_stmt_fetch(handle) {
            case 0, MYSQL_DATA_TRUNCATED:
                rows.append(SQLRow(columns: columns, values: try results.values(of: handle, in: session)))
            case MYSQL_NO_DATA: return rows
            default: throw MariaDBFault(handle, of: session)
            }
        }
    }

    private func describe(_ width: Int) throws(MariaDBFault) {
        guard let metadata = mysql_stmt_result_metadata(handle) else { throw MariaDBFault(handle, of: session) }
        defer { mysql_free_result(metadata) }
        let fields = UnsafeBufferPointer(start: mysql_fetch_fields(metadata), count: width)
        columns = [:]
        for (index, field) in fields.enumerated() {
            // The first of two of the same name, as elsewhere.
            let name = String(cString: field.name)
            if columns[name] == nil { columns[name] = index }
        }
        results = MariaDBResultBuffers(fields)
    }
}

/// Where the connector puts the columns of a row.
final class MariaDBResultBuffers {
    private enum Kind { case integer, real, decimal, text, blob }

    private struct Column {
        var kind: Kind
        var buffer: UnsafeMutableRawPointer
        var capacity: Int
    }

    let binds: UnsafeMutableBufferPointer<MYSQL_BIND>
    private var columns: [Column]
    private let lengths: UnsafeMutableBufferPointer<UInt>
    private let nulls: UnsafeMutableBufferPointer<my_bool>

    var count: Int { columns.count }

    init(_ fields: UnsafeBufferPointer<MYSQL_FIELD>) {
        binds = .allocate(capacity: fields.count)
        binds.initialize(repeating: MYSQL_BIND())
        lengths = .allocate(capacity: fields.count)
        lengths.initialize(repeating: 0)
        nulls = .allocate(capacity: fields.count)
        nulls.initialize(repeating: 0)
        columns = fields.map { field in
            let kind: Kind =
                switch field.type {
                case MYSQL_TYPE_TINY, MYSQL_TYPE_SHORT, MYSQL_TYPE_LONG, MYSQL_TYPE_INT24, MYSQL_TYPE_LONGLONG: .integer
                case MYSQL_TYPE_FLOAT, MYSQL_TYPE_DOUBLE: .real
                case MYSQL_TYPE_DECIMAL, MYSQL_TYPE_NEWDECIMAL: .decimal
                // 63 is the number of the character set "binary".
                default: field.charsetnr == 63 ? .blob : .text
                }
            let capacity = kind == .integer || kind == .real ? 8 : 256
            return Column(
                kind: kind, buffer: .allocate(byteCount: capacity, alignment: 8), capacity: capacity)
        }
        for index in columns.indices { describe(index) }
    }

    deinit {
        for column in columns { column.buffer.deallocate() }
        binds.deallocate()
        lengths.deallocate()
        nulls.deallocate()
    }

    private func describe(_ index: Int) {
        var bind = MYSQL_BIND()
        switch columns[index].kind {
        case .integer: bind.buffer_type = MYSQL_TYPE_LONGLONG
        case .real: bind.buffer_type = MYSQL_TYPE_DOUBLE
        case .decimal, .text: bind.buffer_type = MYSQL_TYPE_STRING
        case .blob: bind.buffer_type = MYSQL_TYPE_BLOB
        }
        bind.buffer = columns[index].buffer
        bind.buffer_length = UInt(columns[index].capacity)
        bind.length = lengths.baseAddress! + index
        bind.is_null = nulls.baseAddress! + index
        binds[index] = bind
    }

    /// The row that was fetched last.
    func values(
        of statement: UnsafeMutablePointer<MYSQL_STMT>, in session: UnsafeMutablePointer<MYSQL>
    ) throws(MariaDBFault) -> [SQLValue] {
        var values: [SQLValue] = []
        values.reserveCapacity(count)
        var hasGrown = false
        for index in columns.indices {
            guard nulls[index] == 0 else {
                values.append(.null)
                continue
            }
            let length = Int(lengths[index])
            if columns[index].kind != .integer, columns[index].kind != .real, length > columns[index].capacity {
                try grow(index, to: length, statement, session)
                hasGrown = true
            }
            values.append(try value(index, length))
        }
        // The next row is then fetched whole.
        if hasGrown, mysql_stmt_bind_result(statement, binds.baseAddress) != 0 {
            throw MariaDBFault(statement, of: session)
        }
        return values
    }

    /// Fetches a column that was too long for its buffer.
    private func grow(
        _ index: Int, to length: Int, _ statement: UnsafeMutablePointer<MYSQL_STMT>,
        _ session: UnsafeMutablePointer<MYSQL>
    ) throws(MariaDBFault) {
        columns[index].buffer.deallocate()
        columns[index].capacity = length
        columns[index].buffer = .allocate(byteCount: length, alignment: 8)
        describe(index)
        guard mysql_stmt_fetch_column(statement, binds.baseAddress! + index, UInt32(index), 0) == 0 else {
            throw MariaDBFault(statement, of: session)
        }
    }

    private func value(_ index: Int, _ length: Int) throws(MariaDBFault) -> SQLValue {
        let column = columns[index]
        let bytes = UnsafeRawBufferPointer(start: column.buffer, count: min(length, column.capacity))
        switch column.kind {
        case .integer: return .integer(column.buffer.load(as: Int64.self))
        case .real: return .real(column.buffer.load(as: Double.self))
        case .text: return .text(String(decoding: bytes, as: UTF8.self))
        case .blob: return .blob(Array(bytes))
        case .decimal:
            // Sums of integers are decimals there.
            let text = String(decoding: bytes, as: UTF8.self)
            if let whole = Int64(text) { return .integer(whole) }
            guard text.contains("."), let number = Double(text) else {
                throw MariaDBFault(code: 1690, message: "the number \(text) is out of range")
            }
            return .real(number)
        }
    }
}
