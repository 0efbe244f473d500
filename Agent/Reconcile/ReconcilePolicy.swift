public import ProtocolModel

/// The waits and bounds of a reconciler.
public struct ReconcilePolicy: Sendable {
    /// Starts and disk creations that may run at once on the host.
    public var parallelStarts = 4
    /// How often the host is looked over although no event asks for it.
    public var surveyInterval = Duration.seconds(60)
    /// A guest that is still booting misses the power button, so it is pressed again.
    public var stopRequestInterval = Duration.seconds(10)
    /// A guest that ran for so long has not crashed in a row.
    public var steadyAfter = Duration.seconds(300)
    public var crashesInLoop = 5
    public var failuresBeforeReport = 5
    public var failureBackoff = Backoff(first: .seconds(1), maximum: .seconds(60))
    public var crashBackoff = Backoff(first: .seconds(1), maximum: .seconds(300))

    public init() {}
}
