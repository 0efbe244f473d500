public import ProtocolModel

/// A named group of nodes with metadata; a node may be in several (SCH-01).
public struct Aggregate: Sendable, Equatable {
    public var id: AggregateID
    public var name: String
    /// Such as `gpu=true`, or `availability_zone=denver`.
    public var metadata: [String: String]
    public var createdAt: Timestamp
    public var updatedAt: Timestamp

    public init(
        id: AggregateID, name: String, metadata: [String: String] = [:], createdAt: Timestamp, updatedAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.metadata = metadata
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

extension Aggregate: Audited {
    public var auditedFields: [String: String] {
        var fields = ["name": name]
        for (key, value) in metadata { fields["metadata.\(key)"] = value }
        return fields
    }
}
