/// Why the store could not answer. What callers of the API see of it is a problem document (busy or
/// storage_unavailable); the rest is for the log.
public enum StoreError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Too many requests wait for the store.
    case busy
    case diskFull
    case closed
    /// A unique or foreign key would be violated.
    case constraint(String)
    case corrupt(String)
    /// The store was written by a newer program.
    case schemaTooNew(found: Int, known: Int)
    /// A restore or copy into this store was not finished.
    case incomplete
    case engine(code: Int, message: String)
    case cannotOpen(path: String, message: String)
    /// The location is not written as one.
    case badLocation(String)
    /// Another process has the SQLite file.
    case inUse(path: String, holder: String)
    /// Others were in the way of the transaction; it can be run again as a whole.
    case conflict(String)
    /// The database server cannot serve just now.
    case unavailable(StoreOutage)

    public var description: String {
        switch self {
        case .busy: "the store has too many waiting requests"
        case .diskFull: "the disk that holds the store is full; free space, and the manager goes on by itself"
        case .closed: "the store is closed"
        case .constraint(let message): "constraint violated: \(message)"
        case .corrupt(let message): "the store holds something unreadable: \(message)"
        case .schemaTooNew(let found, let known):
            "the store has schema \(found), this program knows \(known); run the newer roost-manager"
        case .incomplete:
            "a restore or copy into this store was not finished; run it again with --force, or use another store"
        case .engine(let code, let message): "SQL error \(code): \(message)"
        case .cannotOpen(let path, let message): "cannot open the store at \(path): \(message)"
        case .badLocation(let message): message
        case .inUse(let path, let holder):
            "\(holder) has the record \(path) open, and only one process at a time may write it; stop that one first "
                + "(systemctl stop roost-manager)"
        case .conflict(let message): "the database kept too busy with others: \(message)"
        case .unavailable(let outage): outage.description
        }
    }

    /// Whether the same may succeed a moment later.
    var isTransient: Bool {
        switch self {
        case .conflict: true
        case .unavailable(let outage): outage.isTransient
        default: false
        }
    }
}

/// Why a database server does not serve, and what a person can do about it.
public enum StoreOutage: Sendable, Equatable, CustomStringConvertible {
    /// No server answers.
    case unreachable(String)
    /// The connection ended in the middle.
    case lost(String)
    /// A Galera node that takes no requests: without quorum, or not yet synchronised.
    case notReady(host: String, state: String, hasQuorum: Bool)
    case readOnly(host: String)
    /// User, password, certificate or database are not accepted.
    case refused(String)
    /// The connection ended while a commit was under way, and no server could say since then whether it is in.
    case outcomeUnknown

    /// Whether it may pass by itself.
    public var isTransient: Bool {
        switch self {
        case .unreachable, .lost, .notReady, .readOnly: true
        case .refused, .outcomeUnknown: false
        }
    }

    public var description: String {
        switch self {
        case .unreachable(let message):
            "no database server can be reached: \(message); see that MariaDB runs on them and that their port is open"
        case .lost(let message): "the connection to the database was lost: \(message)"
        case .notReady(let host, let state, hasQuorum: false):
            "the database node \(host) has no quorum (\(state)): fewer than half of the nodes see each other; start the "
                + "others or mend the network between them, and writing goes on by itself"
        case .notReady(let host, let state, hasQuorum: true):
            "the database node \(host) still synchronises (\(state)); it takes requests once it has caught up"
        case .readOnly(let host): "the database on \(host) is set to read only (SET GLOBAL read_only = OFF ends it)"
        case .refused(let message): "the database does not let the manager in: \(message)"
        case .outcomeUnknown:
            "the database went away in the middle of a commit, so that nobody knows whether the request was done; look, "
                + "or send it again with the same Idempotency-Key"
        }
    }
}
