/// Why the store could not answer. What callers of the API see of it is a `Refusal` (busy, storage_full or
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
    case engine(code: Int, message: String)
    case cannotOpen(path: String, message: String)

    public var description: String {
        switch self {
        case .busy: "the store has too many waiting requests"
        case .diskFull: "the disk that holds the store is full; free space and try again"
        case .closed: "the store is closed"
        case .constraint(let message): "constraint violated: \(message)"
        case .corrupt(let message): "the store holds something unreadable: \(message)"
        case .schemaTooNew(let found, let known):
            "the store has schema \(found), this program knows \(known); run the newer roost-manager"
        case .engine(let code, let message): "SQL error \(code): \(message)"
        case .cannotOpen(let path, let message): "cannot open the store at \(path): \(message)"
        }
    }
}
