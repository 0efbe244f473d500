/// How long the record keeps what nobody works with any more. What a limit names is removed within the hour.
public struct RetentionPolicy: Sendable, Equatable {
    /// Events older than this are removed.
    public var eventDays = 90
    /// Of more events than this, the oldest are removed. The newest one always stays, so that numbers go on.
    public var eventCount = 1_000_000
    /// Operations that ended longer ago than this.
    public var operationDays = 30
    /// Rows of instances and images that were deleted longer ago than this; usage reports still name the instances.
    public var deletedDays = 90

    public init() {}
}
