/// What the writes of one batch have read that each of them asks for anew: who asks, the flavor, the image, the number of the
/// last event. Good until the batch ends, since nobody else writes meanwhile. Used by the thread of its connection alone.
final class BatchMemory {
    private struct Question: Hashable {
        var sql: String
        var arguments: [SQLValue]
    }

    /// Tables that nearly every request reads and that hardly any changes.
    private static let tables = [
        "users", "accounts", "roles", "flavors", "images", "image_shares", "quotas", "device_quotas",
    ]
    private static let limit = 1024

    private var isOpen = false
    private var answers: [Question: [SQLRow]] = [:]
    /// By a statement's text: whether it changes one of the tables.
    private var changing: [String: Bool] = [:]
    /// The number of the newest event; `nil` where it is not known.
    var lastEvent: Int64? {
        didSet { if !isOpen { lastEvent = nil } }
    }

    func begin() {
        forget()
        isOpen = true
    }

    func end() {
        isOpen = false
        forget()
    }

    /// What was read may not be so any more.
    func forget() {
        answers.removeAll(keepingCapacity: true)
        lastEvent = nil
    }

    /// The answer of a query of those tables.
    func rows(
        _ sql: String, _ arguments: [SQLValue], else ask: () throws(StoreError) -> [SQLRow]
    ) throws(StoreError) -> [SQLRow] {
        guard isOpen else { return try ask() }
        let question = Question(sql: sql, arguments: arguments)
        if let known = answers[question] { return known }
        let rows = try ask()
        if answers.count >= Self.limit { answers.removeAll() }
        answers[question] = rows
        return rows
    }

    /// A statement is about to change the record.
    func changes(_ sql: String) {
        guard isOpen, !answers.isEmpty else { return }
        if let known = changing[sql] {
            if known { answers.removeAll() }
            return
        }
        let isChanging = Self.tables.contains { table in
            ["INTO", "UPDATE", "FROM"].contains { sql.contains("\($0) \(table) ") }
        }
        if changing.count >= Self.limit { changing.removeAll() }
        changing[sql] = isChanging
        if isChanging { answers.removeAll() }
    }
}
