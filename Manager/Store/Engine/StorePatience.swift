/// How long the store waits for others before it says no.
public struct StorePatience: Sendable {
    /// For how long a batch is tried again while the database is away or others are in the way. A database node that fails
    /// is replaced by the next within this time.
    public var writing: Duration = .seconds(12)
    public var reading: Duration = .seconds(6)
    /// How long a batch collects writes: no transaction is longer by much (STB-08).
    public var batch: Duration = .milliseconds(500)
    /// How long a server may take to accept a connection, and to answer a statement.
    public var connecting: Duration = .seconds(3)
    public var answer: Duration = .seconds(15)

    public init() {}

    var times: MariaDBSession.Times {
        var times = MariaDBSession.Times()
        times.connectSeconds = UInt32(max(1, connecting.components.seconds))
        times.answerSeconds = UInt32(max(1, answer.components.seconds))
        return times
    }
}
