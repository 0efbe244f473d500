import ManagerModel
import ProtocolModel

/// One unit of work on the store. Repositories hang off it; it lives no longer than the closure that received it.
public final class Transaction {
    private let connection: any SQLConnection
    private(set) var changes: [Change] = []
    /// Whether a statement was run that may have changed something.
    private(set) var hasChanged = false
    /// Names of nodes that were read here.
    var nodeNames: [NodeID: String] = [:]

    init(_ connection: any SQLConnection) {
        self.connection = connection
    }

    /// What changed of nodes since somebody last took them in; see there.
    public var nodeChanges: NodeChanges { connection.nodeChanges }

    /// Inventories of nodes, which are read with each placement and hardly ever change.
    var inventories: DecodedColumn<NodeInventory> { connection.inventories }

    /// - Returns: the number of rows that the statement matched.
    @discardableResult
    func execute(_ sql: String, _ arguments: (any SQLBindable)?...) throws -> Int {
        hasChanged = true
        connection.memory.changes(sql)
        try connection.run(sql, arguments.map { $0?.sqlValue ?? .null })
        return connection.changes
    }

    func query(_ sql: String, _ arguments: (any SQLBindable)?...) throws -> [SQLRow] {
        try connection.query(sql, arguments.map { $0?.sqlValue ?? .null })
    }

    /// A query of users, flavors or images, which one write of a batch need not ask again after another.
    func remembered(_ sql: String, _ arguments: any SQLBindable...) throws -> [SQLRow] {
        try remembered(sql, arguments: arguments)
    }

    func remembered(_ sql: String, arguments: [any SQLBindable]) throws -> [SQLRow] {
        let values = arguments.map(\.sqlValue)
        return try connection.memory.rows(sql, values) { () throws(StoreError) in try connection.query(sql, values) }
    }

    /// The number of the newest event, where this batch has asked for it or given it.
    var lastEvent: Int64? {
        get { connection.memory.lastEvent }
        set { connection.memory.lastEvent = newValue }
    }

    func query(_ sql: String, arguments: [any SQLBindable]) throws -> [SQLRow] {
        try connection.query(sql, arguments.map(\.sqlValue))
    }

    /// What the row of an ID is called: all that most answers need of it.
    func name<Kind>(_ table: String, _ id: ID<Kind>) throws -> String? {
        try remembered("SELECT name FROM \(table) WHERE id = ?", id).first.map { try $0.text("name") }
    }

    /// Tells observers after the commit.
    public func note(_ change: Change) {
        if !changes.contains(change) { changes.append(change) }
    }
}

/// A place in a list: what stands after `after`, in its order, at most `limit`.
public struct Page: Sendable, Equatable {
    public var limit: Int
    /// The ID of the last item before it, and what that item has in the columns of the order.
    public var after: String?
    public var afterValues: [ColumnValue] = []
    public var order = ListOrder.byID
    public var filters: [ListFilter] = []

    public init(limit: Int, after: String? = nil) {
        self.limit = limit
        self.after = after
    }

    public static let everything = Page(limit: .max)
}

/// Conditions of a query, joined by AND, with their arguments in order.
struct Conditions {
    private(set) var clauses: [String] = []
    private(set) var arguments: [any SQLBindable] = []

    mutating func add(_ clause: String, _ arguments: any SQLBindable...) {
        add(clause, arguments: arguments)
    }

    mutating func add(_ clause: String, arguments: [any SQLBindable]) {
        clauses.append(clause)
        self.arguments += arguments
    }

    /// Only what belongs to those in `scope`, by the column with the owner; `account`: a column with the account's name,
    /// where the table has one.
    mutating func add(_ scope: Scope, owner: String = "owner_id", account: String? = nil) {
        switch scope {
        case .everything: break
        case .user(let id): add("\(owner) = ?", id)
        case .account(let name):
            if let account {
                add("\(account) = ?", name)
            } else {
                add("\(owner) IN (SELECT id FROM users WHERE account = ?)", name)
            }
        }
    }

    /// What belongs to those in `scope`, and what fits a clause.
    mutating func add(_ scope: Scope, or clause: String, _ argument: any SQLBindable) {
        var owned = Conditions()
        owned.add(scope)
        guard !owned.clauses.isEmpty else { return }
        clauses.append("(\(owned.clauses.joined(separator: " AND ")) OR \(clause))")
        arguments += owned.arguments + [argument]
    }

    var sql: String { clauses.isEmpty ? "" : " WHERE " + clauses.joined(separator: " AND ") }
}
