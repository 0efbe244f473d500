import CMariaDB
import Glibc

/// What the connector or the server said, as it was said.
struct MariaDBFault: Error {
    /// A prepared query whose table has other columns by now (`CR_NEW_STMT_METADATA`).
    static let columnsChanged = 2057

    var code: Int
    var message: String

    init(_ handle: UnsafeMutablePointer<MYSQL>) {
        code = Int(mysql_errno(handle))
        message = String(cString: mysql_error(handle))
    }

    /// What ends a result in its middle is told to the session and not to the statement.
    init(_ statement: UnsafeMutablePointer<MYSQL_STMT>, of session: UnsafeMutablePointer<MYSQL>) {
        guard mysql_stmt_errno(statement) != 0 else {
            self.init(session)
            return
        }
        self.init(code: Int(mysql_stmt_errno(statement)), message: String(cString: mysql_stmt_error(statement)))
    }

    init(code: Int, message: String) {
        self.code = code
        self.message = message
    }
}

extension MariaDBFault {
    /// The one table from error numbers (MariaDB: `mysqld_error.h`, `errmsg.h`) to what they mean to the store.
    func meaning(on host: MariaDBAddress.Host) -> StoreError {
        switch code {
        // Deadlock or failed certification, lock wait timeout, changed since read, interrupted by a replicated
        // transaction, definition changed, statement to be prepared anew, a savepoint that went with its transaction.
        case 1213, 1205, 1020, 1317, 1412, 1615, 1305: .conflict(message)
        // Duplicate key (also 1586), null, foreign keys, too long, out of range, check.
        case 1062, 1586, 1048, 1364, 1216, 1217, 1451, 1452, 1406, 1264, 1690, 4025: .constraint(message)
        // Disk full, table full, and writes that failed with ENOSPC.
        case 1021, 1114: .diskFull
        case _ where [3, 14, 1026, 1030].contains(code) && message.contains("\(ENOSPC) "): .diskFull
        // The node is not ready for use; 1180 is what a commit meets when it loses quorum.
        case 1047: .unavailable(.notReady(host: host.description, state: message, hasQuorum: false))
        case 1290, 1792, 1836: .unavailable(.readOnly(host: host.description))
        // Access denied, no such database, no privilege, TLS or plug-in refused.
        case 1044, 1045, 1049, 1142, 1143, 1227, 1698, 1820, 1862, 2026, 2059, 2061:
            .unavailable(.refused("\(message) (\(host))"))
        // No connection: cannot connect, unknown host, too many connections, blocked.
        case 2001, 2002, 2003, 2004, 2005, 1040, 1129, 1130, 1203, 1226:
            .unavailable(.unreachable("\(host): \(message)"))
        // Gone in the middle, server shutting down, killed, packets lost or out of order, time-outs, commit failed.
        case 2006, 2012, 2013, 2014, 2027, 2055, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1180, 1184, 1927, 1928,
            4031:
            .unavailable(.lost("\(host): \(message)"))
        case 1034, 1194, 1195, 1712: .corrupt(message)
        default: .engine(code: code, message: message)
        }
    }

    /// Whether the transaction is gone, or must go, whatever the body that met this makes of it.
    static func endsTransaction(_ error: StoreError) -> Bool {
        switch error {
        case .conflict, .unavailable, .diskFull, .corrupt: true
        default: false
        }
    }
}
