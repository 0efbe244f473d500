public import ProtocolModel

/// Instances of one owner that are to be on one host, or on different ones (SCH-06).
///
/// Policy and limit never change: what instances were placed by stays as it was.
public struct ServerGroup: Sendable, Equatable {
    public enum Policy: String, Sendable, CaseIterable {
        case affinity
        case antiAffinity = "anti-affinity"
        /// Together where that can be.
        case softAffinity = "soft-affinity"
        /// Apart where that can be.
        case softAntiAffinity = "soft-anti-affinity"
    }

    public static let largestMaximumPerHost = 1000

    public var id: ServerGroupID
    /// Unique among its owner's.
    public var name: String
    /// Also of every instance in it.
    public var owner: UserID
    public var policy: Policy
    /// With `antiAffinity`: how many of it a host may have; `nil`: one.
    public var maximumPerHost: Int?
    public var createdAt: Timestamp

    public init(
        id: ServerGroupID, name: String, owner: UserID, policy: Policy, maximumPerHost: Int? = nil, createdAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.owner = owner
        self.policy = policy
        self.maximumPerHost = maximumPerHost
        self.createdAt = createdAt
    }
}

extension ServerGroup: Audited {
    public var auditedFields: [String: String] {
        var fields = ["name": name, "policy": policy.rawValue]
        if let maximumPerHost { fields["max_per_host"] = "\(maximumPerHost)" }
        return fields
    }
}
