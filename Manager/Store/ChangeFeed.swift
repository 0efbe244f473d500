import ProtocolModel

/// What each batch of writes of one manager changed, for the others on the same record: their waiting requests, streams and
/// agent sessions are woken by it as by a commit of their own.
///
/// Every batch that changed something adds one row in its own transaction, so that a row is there exactly if the change is.
/// Writers take turns, so that the numbers are in the order of the commits, without gaps that fill later.
public struct ChangeFeedRepository {
    let sql: Transaction

    /// One batch of another manager, or of this one.
    public struct Entry: Sendable, Equatable {
        public var sequence: Int64
        public var writer: String
        public var changes: [Change]
    }

    /// Batches after a number, oldest first.
    public func list(after sequence: Int64, limit: Int) throws -> [Entry] {
        try sql.query("SELECT * FROM change_feed WHERE sequence > ? ORDER BY sequence LIMIT ?", sequence, limit).map {
            Entry(
                sequence: try $0.integer("sequence"), writer: try $0.text("writer"),
                changes: try ChangeText.changes(try $0.text("changes")))
        }
    }

    /// The numbers of the oldest and the newest batch; `nil` if there is none.
    public func bounds() throws -> ClosedRange<Int64>? {
        // Apart, since SQLite looks at every row for two of them at once.
        let row = try sql.query(
            """
            SELECT (SELECT MIN(sequence) FROM change_feed) AS first, (SELECT MAX(sequence) FROM change_feed) AS last
            """)[0]
        guard let first = try row.optionalInteger("first"), let last = try row.optionalInteger("last") else {
            return nil
        }
        return first...last
    }

    func append(_ changes: [Change], by writer: String) throws {
        let last = try bounds()?.upperBound ?? 0
        try sql.execute(
            "INSERT INTO change_feed (sequence, writer, changes) VALUES (?, ?, ?)", last + 1, writer,
            ChangeText.text(changes))
    }

    /// Removes old batches; the newest stays, so that the numbers go on.
    ///
    /// - Returns: how many were removed.
    public func prune(keeping count: Int64, limit: Int) throws -> Int {
        guard let bounds = try bounds() else { return 0 }
        let last = min(bounds.upperBound - count, bounds.lowerBound + Int64(limit) - 1, bounds.upperBound - 1)
        guard last >= bounds.lowerBound else { return 0 }
        return try sql.execute("DELETE FROM change_feed WHERE sequence <= ?", last)
    }
}

extension Transaction {
    public var changeFeed: ChangeFeedRepository { ChangeFeedRepository(sql: self) }
}

/// Changes as words: `a` and a node's ID, `o` and an operation's, `e` and an event's number, `i`, `c`, `all`.
enum ChangeText {
    /// More than this is told as "anything may have changed".
    static let limit = 1000

    static func text(_ changes: [Change]) -> String {
        guard changes.count <= limit else { return word(.everything) }
        return changes.map(word).joined(separator: " ")
    }

    private static func word(_ change: Change) -> String {
        switch change {
        case .assignments(let node): "a\(node)"
        case .operation(let operation): "o\(operation)"
        case .events(let last): "e\(last)"
        case .identity: "i"
        case .credentials: "c"
        case .everything: "all"
        }
    }

    static func changes(_ text: String) throws(StoreError) -> [Change] {
        var changes: [Change] = []
        for word in text.split(separator: " ") {
            // What a newer manager tells, and this one does not know, may be anything.
            changes.append(change(word) ?? .everything)
        }
        return changes
    }

    private static func change(_ word: Substring) -> Change? {
        let rest = word.dropFirst()
        switch word.first {
        case "a" where word != "all": return NodeID(rest).map { .assignments($0) }
        case "o": return OperationID(rest).map { .operation($0) }
        case "e": return Int64(rest).map { .events(last: $0) }
        case "i": return .identity
        case "c": return .credentials
        default: return nil
        }
    }
}
