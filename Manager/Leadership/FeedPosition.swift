public import ManagerStore
public import ProtocolModel

/// How far one manager has followed what the others changed. A value: the caller reads `Look`s and tells what comes of them.
public struct FeedPosition: Sendable {
    /// A manager that could not look for so long serves what may be out of date.
    public static let patience = Duration.seconds(5)
    static let batch = 500

    /// What the record says, read in one transaction.
    public struct Look: Sendable {
        /// Behind which batch; `nil`: the first look, which only finds out where the feed ends.
        let last: Int64?
        let entries: [ChangeFeedRepository.Entry]
        let bounds: ClosedRange<Int64>?
    }

    /// What a look leads to.
    public struct News: Sendable {
        /// What others changed, to be told as if it had been committed here.
        public var changes: [Change] = []
        /// Whether there is more to read at once.
        public var hasMore: Bool
    }

    /// The last batch that was taken in.
    public private(set) var last: Int64?
    private var looked: Uptime

    public init(at now: Uptime) { looked = now }

    /// Reads what is new.
    public static func look(after last: Int64?, in sql: Transaction) throws -> Look {
        let bounds = try sql.changeFeed.bounds()
        let entries = try last.map { try sql.changeFeed.list(after: $0, limit: batch) } ?? []
        return Look(last: last, entries: entries, bounds: bounds)
    }

    /// Takes in what was read.
    ///
    /// - Parameters:
    ///   - writer: this manager's own, whose batches are known here.
    ///   - began: when the look began.
    public mutating func take(_ look: Look, writer: String, began: Uptime) -> News {
        looked = began
        guard let last = look.last else {
            // What was before has been read, or will be, by whoever begins now.
            self.last = look.bounds?.upperBound ?? 0
            return News(hasMore: true)
        }
        var changes = look.entries.filter { $0.writer != writer }.flatMap(\.changes)
        // Rows that were pruned before they were read, or a record that was restored.
        if let bounds = look.bounds, bounds.lowerBound > last + 1 || bounds.upperBound < last {
            changes = [.everything]
        }
        self.last = look.entries.last?.sequence ?? look.bounds?.upperBound ?? last
        return News(changes: changes, hasMore: look.entries.count == Self.batch)
    }

    /// Whether all that others committed more than `patience` ago has been taken in. Not before the first look: what was read
    /// of the record before it may have changed since.
    public func isCurrent(within patience: Duration, at now: Uptime) -> Bool {
        last != nil && now - looked <= patience
    }

    /// Why this manager may be behind the others; `nil` where it is not.
    public func shortcoming(at now: Uptime) -> String? {
        let behind = now - looked
        return behind > Self.patience
            ? "not caught up with the other managers for \(behind.milliseconds / 1000) s" : nil
    }
}
