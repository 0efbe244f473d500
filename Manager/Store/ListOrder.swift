/// A value in a column by which a list is sorted or filtered.
public enum ColumnValue: Sendable, Equatable {
    case text(String)
    case number(Int64)
}

extension ColumnValue: Comparable {
    /// Numbers before texts; texts by their bytes, as the record sorts them.
    public static func < (one: ColumnValue, other: ColumnValue) -> Bool {
        switch (one, other) {
        case (.number(let left), .number(let right)): left < right
        case (.text(let left), .text(let right)): left.utf8.lexicographicallyPrecedes(right.utf8)
        case (.number, .text): true
        case (.text, .number): false
        }
    }
}

extension ColumnValue: SQLBindable {
    public var sqlValue: SQLValue {
        switch self {
        case .text(let text): .text(text)
        case .number(let number): .integer(number)
        }
    }
}

/// How a list is sorted: by columns, and then by ID, so that no two items have the same place.
public struct ListOrder: Sendable, Equatable {
    public struct Key: Sendable, Equatable {
        /// One of the table's own, which is never null; never a client's text.
        public var column: String
        public var isDescending: Bool

        public init(column: String, isDescending: Bool = false) {
            self.column = column
            self.isDescending = isDescending
        }
    }

    public var keys: [Key]

    public init(_ keys: [Key] = []) { self.keys = keys }

    public static let byID = ListOrder()
}

/// What the rows of a list must have.
public struct ListFilter: Sendable, Equatable {
    public var column: String
    public var value: ColumnValue

    public init(column: String, value: ColumnValue) {
        self.column = column
        self.value = value
    }
}

extension Page {
    /// The end of a query of this page, whose last argument is the limit.
    var tail: String { tail(identifier: "id") }

    /// - Parameter identifier: the column that no two rows of the same place have alike.
    func tail(identifier: String) -> String {
        let keys = order.keys.map { $0.column + ($0.isDescending ? " DESC" : "") } + [identifier]
        return " ORDER BY \(keys.joined(separator: ", ")) LIMIT ?"
    }
}

extension Conditions {
    /// What is after the page's beginning, and as its filters want it.
    mutating func add(_ page: Page, identifier: String = "id") {
        for filter in page.filters { add("\(filter.column) = ?", filter.value) }
        guard let after = page.after else { return }
        var clause = "\(identifier) > ?"
        var arguments: [any SQLBindable] = [after]
        for (key, value) in zip(page.order.keys, page.afterValues).reversed() {
            clause = "(\(key.column) \(key.isDescending ? "<" : ">") ? OR (\(key.column) = ? AND \(clause)))"
            arguments = [value, value] + arguments
        }
        add(clause, arguments: arguments)
    }
}
