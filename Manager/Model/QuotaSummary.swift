/// What is used and promised of the whole site, beside what there is (AUT-36).
public struct QuotaSummary: Sendable, Equatable {
    public struct Row: Sendable, Equatable {
        public var resource: QuotaResource
        /// Where the row is about devices by an alias, whatever they are.
        public var alias: String?
        /// By everybody.
        public var used: Int
        /// Of the accounts that have a limit.
        public var limitSum: Int
        public var unlimitedAccounts: Int
        /// `nil`: hosts do not bound it.
        public var capacity: Int?

        public init(
            resource: QuotaResource, alias: String? = nil, used: Int = 0, limitSum: Int = 0, unlimitedAccounts: Int = 0,
            capacity: Int? = nil
        ) {
            self.resource = resource
            self.alias = alias
            self.used = used
            self.limitSum = limitSum
            self.unlimitedAccounts = unlimitedAccounts
            self.capacity = capacity
        }

        /// Sums of limits may exceed the site; the operator should know.
        public var isPromisedBeyond: Bool {
            guard let capacity else { return false }
            return unlimitedAccounts > 0 || limitSum > capacity
        }

        /// Nine tenths are used, or more.
        public var isExhausted: Bool {
            guard let capacity, used > 0 else { return false }
            return used >= capacity - capacity / 10
        }
    }

    public var rows: [Row]

    public init(rows: [Row]) {
        self.rows = rows
    }

    /// For the operator.
    public var warnings: [String] {
        rows.filter(\.isExhausted).map { row in
            let what = row.alias.map { "devices '\($0)'" } ?? row.resource.unit
            return "\(row.used) of \(row.capacity ?? 0) \(what) are used; add nodes, or have something deleted"
        }
    }
}
