import ProtocolMessages
public import ProtocolModel

/// Which batches are under way in one session: so many at once, in the order of the spool.
public struct SendWindow: Sendable {
    private let limit: Int
    private var underWay: [(spool: SpoolID, number: UInt64)] = []
    /// Behind which the next are to be fetched.
    public private(set) var position: SpoolPosition?

    public init(limit: Int = 8) { self.limit = limit }

    /// How many more may be sent now.
    public var room: Int { max(0, limit - underWay.count) }

    public mutating func sent(_ number: UInt64, of spool: SpoolID, at position: SpoolPosition) {
        underWay.append((spool, number))
        self.position = position
    }

    public mutating func acknowledged(_ spool: SpoolID, upTo number: UInt64) {
        underWay.removeAll { $0.spool == spool && $0.number <= number }
    }
}
