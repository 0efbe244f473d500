import CMariaDB

/// One open connection to one server. It never reconnects: once `isLost`, it is thrown away.
final class MariaDBSession {
    struct Times: Sendable {
        /// How long a server may take to accept a connection.
        var connectSeconds: UInt32 = 3
        /// How long it may take to answer; longer means that it is gone.
        var answerSeconds: UInt32 = 15
        /// After how long between two statements of a transaction the server gives the transaction up, so that a process
        /// that stands still holds nothing up.
        var idleTransactionSeconds = 3
        /// How long a statement waits for another's lock; more than the time above, after which the lock must be free.
        var lockWaitSeconds = 5
    }

    /// Rows of a command, by column name. Everything is text.
    typealias TextRow = [String: String]

    let host: MariaDBAddress.Host
    private let handle: UnsafeMutablePointer<MYSQL>
    private var statements: [String: MariaDBStatement] = [:]
    private(set) var isLost = false
    private(set) var changes = 0

    private static let library: Void = { _ = mysql_server_init(0, nil, nil) }()
    private static let oldestServer: UInt = 10_06_00

    /// - Throws: `StoreError.unavailable`.
    init(_ host: MariaDBAddress.Host, of address: MariaDBAddress, _ times: Times) throws(StoreError) {
        Self.library
        guard let handle = mysql_init(nil) else { throw .engine(code: 0, message: "out of memory") }
        self.host = host
        self.handle = handle
        Self.set(address, host, times, on: handle)
        let connected = mysql_real_connect(
            handle, host.isSocket ? nil : host.name, address.user, address.password.text, address.database,
            UInt32(host.port), host.isSocket ? host.name : nil, UInt(CLIENT_FOUND_ROWS) | CLIENT_MULTI_STATEMENTS)
        guard connected != nil else {
            let fault = MariaDBFault(handle)
            // Nothing was under way that could be lost.
            if case .unavailable(.lost(let message)) = fault.meaning(on: host) {
                throw .unavailable(.unreachable(message))
            }
            throw fault.meaning(on: host)
        }
        let version = mysql_get_server_version(handle)
        guard mariadb_connection(handle) != 0, version >= Self.oldestServer else {
            throw .unavailable(
                .refused(
                    "\(host) runs \(String(cString: mysql_get_server_info(handle))); MariaDB 10.6 or later is needed"))
        }
        // Strict: a value that does not fit is refused, never cut. Binary comparison: the same as SQLite's.
        _ = try command(
            """
            SET NAMES utf8mb4 COLLATE utf8mb4_nopad_bin;
            SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;
            SET SESSION autocommit = 1, time_zone = '+00:00', innodb_lock_wait_timeout = \(times.lockWaitSeconds),
                lock_wait_timeout = 30, idle_transaction_timeout = \(times.idleTransactionSeconds),
                sql_mode = 'STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY,NO_ENGINE_SUBSTITUTION,NO_ZERO_DATE,NO_ZERO_IN_DATE,\
            ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO,ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'
            """)
    }

    deinit {
        // Before the connection that they belong to.
        statements = [:]
        mysql_close(handle)
    }

    private static func set(
        _ address: MariaDBAddress, _ host: MariaDBAddress.Host, _ times: Times, on handle: UnsafeMutablePointer<MYSQL>
    ) {
        func number(_ option: mysql_option, _ value: UInt32) {
            var value = value
            mysql_options(handle, option, &value)
        }
        func flag(_ option: mysql_option, _ value: Bool) {
            var value: my_bool = value ? 1 : 0
            mysql_options(handle, option, &value)
        }
        number(MYSQL_OPT_CONNECT_TIMEOUT, times.connectSeconds)
        number(MYSQL_OPT_READ_TIMEOUT, times.answerSeconds)
        number(MYSQL_OPT_WRITE_TIMEOUT, times.answerSeconds)
        number(MYSQL_OPT_PROTOCOL, host.isSocket ? MYSQL_PROTOCOL_SOCKET.rawValue : MYSQL_PROTOCOL_TCP.rawValue)
        // A server may not ask for files of this machine.
        number(MYSQL_OPT_LOCAL_INFILE, 0)
        flag(MYSQL_OPT_RECONNECT, false)
        mysql_options(handle, MYSQL_SET_CHARSET_NAME, "utf8mb4")
        mysql_options4(handle, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "roost-manager")
        guard address.tls != .off, !host.isSocket else { return }
        flag(MYSQL_OPT_SSL_ENFORCE, true)
        flag(MYSQL_OPT_SSL_VERIFY_SERVER_CERT, address.tls == .required)
        mysql_options(handle, MARIADB_OPT_TLS_VERSION, "TLSv1.2,TLSv1.3")
        if let path = address.authority { mysql_options(handle, MYSQL_OPT_SSL_CA, path) }
        if let path = address.certificate { mysql_options(handle, MYSQL_OPT_SSL_CERT, path) }
        if let path = address.key { mysql_options(handle, MYSQL_OPT_SSL_KEY, path) }
    }

    /// What the server said of itself with its last answer.
    var isInTransaction: Bool { handle.pointee.server_status & UInt32(SERVER_STATUS_IN_TRANS) != 0 }

    /// Asks, for errors do not say.
    func isInTransactionNow() throws(StoreError) -> Bool {
        try command("SELECT @@in_transaction AS answer").rows.first?["answer"] == "1"
    }

    // MARK: Statements

    func query(_ sql: String, _ arguments: [SQLValue]) throws(StoreError) -> [SQLRow] {
        do throws(MariaDBFault) {
            do throws(MariaDBFault) {
                return try execute(sql, arguments)
            } catch {
                // Another process has changed the columns of a table, which only a query can meet: it is prepared anew.
                guard error.code == MariaDBFault.columnsChanged else { throw error }
                statements[sql] = nil
                return try execute(sql, arguments)
            }
        } catch {
            throw noted(error)
        }
    }

    private func execute(_ sql: String, _ arguments: [SQLValue]) throws(MariaDBFault) -> [SQLRow] {
        let statement: MariaDBStatement
        if let known = statements[sql] {
            statement = known
        } else {
            // Texts that vary, such as lists of arguments, must not pile up: the server keeps each of them.
            if statements.count >= 256 { statements = [:] }
            statement = try MariaDBStatement(handle, StoreEngine.mariadb.statement(sql))
            statements[sql] = statement
        }
        let rows = try statement.execute(arguments)
        changes = statement.changes
        return rows
    }

    /// Runs statements without arguments, one round trip for all of them.
    ///
    /// - Returns: the rows of the last one that has any, and for each the number of rows that it matched.
    @discardableResult
    func command(_ sql: String) throws(StoreError) -> (rows: [TextRow], changes: [Int]) {
        do throws(MariaDBFault) {
            var text = sql
            let code = text.withUTF8 { utf8 in
                utf8.withMemoryRebound(to: CChar.self) { mysql_real_query(handle, $0.baseAddress, UInt($0.count)) }
            }
            guard code == 0 else { throw MariaDBFault(handle) }
            var rows: [TextRow] = []
            var counts: [Int] = []
            while true {
                if let result = mysql_store_result(handle) {
                    rows = Self.rows(of: result)
                    mysql_free_result(result)
                    counts.append(rows.count)
                } else {
                    guard mysql_errno(handle) == 0 else { throw MariaDBFault(handle) }
                    counts.append(Int(clamping: mysql_affected_rows(handle)))
                }
                let next = mysql_next_result(handle)
                if next < 0 { break }
                guard next == 0 else { throw MariaDBFault(handle) }
            }
            changes = counts.last ?? 0
            return (rows, counts)
        } catch {
            throw noted(error)
        }
    }

    private static func rows(of result: UnsafeMutablePointer<MYSQL_RES>) -> [TextRow] {
        let fields = UnsafeBufferPointer(
            start: mysql_fetch_fields(result), count: Int(mysql_num_fields(result)))
        let names = fields.map { String(cString: $0.name) }
        var rows: [TextRow] = []
        while let row = mysql_fetch_row(result) {
            var values: TextRow = [:]
            for (index, name) in names.enumerated() {
                if let text = row[index] { values[name] = String(cString: text) }
            }
            rows.append(values)
        }
        return rows
    }

    private func noted(_ fault: MariaDBFault) -> StoreError {
        let error = fault.meaning(on: host)
        if case .unavailable = error { isLost = true }
        return error
    }
}
