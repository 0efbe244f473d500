public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// What the record answers to the questions of `Leadership`, in one transaction each.
extension Leadership.Effect {
    /// Whether it is a question that changes the record; otherwise it is asked in a snapshot.
    public var isWrite: Bool {
        switch self {
        case .acquire, .renew, .release: true
        case .read, .lead, .stop: false
        }
    }

    /// Asks the record.
    ///
    /// - Returns: the answer, `nil` where nobody waits for one; and for a `read`, the manager that holds the lease.
    public func ask(
        for own: ManagerID, in sql: Transaction
    ) throws -> (answer: Leadership.Event?, leader: ManagerRecord?) {
        switch self {
        case .read:
            let lease = try sql.leadership.lease()
            return (.read(lease), try lease?.holder.flatMap { try sql.managers.find($0) })
        case .acquire(let lease):
            return (.acquired(try sql.leadership.acquire(over: lease, for: own)), nil)
        case .renew(let term):
            let isOurs = try sql.leadership.renew(term)
            return (.renewed(term, isOurs, resign: try sql.leadership.lease()?.resignTerm == term), nil)
        case .release(let term):
            try sql.leadership.release(term)
            return (nil, nil)
        case .lead, .stop: return (nil, nil)
        }
    }
}
