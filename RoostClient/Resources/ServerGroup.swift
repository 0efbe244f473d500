public import Foundation

/// Instances of one user that are to be on one host, or on different ones.
public struct ServerGroup: CreatableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "server-groups"

    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String
    /// What its instances are placed by.
    public var policy: Policy
    /// With `antiAffinity`: how many of it a host may have; one where left out.
    public var maximumPerHost: Int?
    /// By name.
    public var owner: String
    /// When it was made.
    public var createdAt: Date
    /// How many instances are in it.
    public var instanceCount: Int
    /// Those instances; left out of lists.
    public var instances: [Member]?

    enum CodingKeys: String, CodingKey {
        case id, name, policy, maximumPerHost = "max_per_host", owner, createdAt = "created_at",
            instanceCount = "instance_count", instances
    }

    /// An instance in a group.
    public struct Member: Codable, Sendable, Equatable {
        /// Of the instance.
        public var id: String
        /// Of the instance.
        public var name: String
        /// Where it is, by name; `nil` while it waits for room.
        public var node: String?
        /// How it stands.
        public var status: Instance.Status
    }

    /// Where instances of a group may go. A newer manager may say others.
    public struct Policy: RawRepresentable, Codable, Hashable, Sendable {
        /// As the API writes it.
        public var rawValue: String
        /// Of any word.
        public init(rawValue: String) { self.rawValue = rawValue }

        /// On one host.
        public static let affinity = Policy(rawValue: "affinity")
        /// On different hosts.
        public static let antiAffinity = Policy(rawValue: "anti-affinity")
        /// On one host where that can be.
        public static let softAffinity = Policy(rawValue: "soft-affinity")
        /// On different hosts where that can be.
        public static let softAntiAffinity = Policy(rawValue: "soft-anti-affinity")
    }

    /// What a group is to be.
    public struct Creation: Encodable, Sendable {
        /// As people call it.
        public var name: String
        /// What its instances are placed by.
        public var policy: Policy
        /// With `antiAffinity`: how many of it a host may have; one where left out.
        public var maximumPerHost: Int?

        enum CodingKeys: String, CodingKey {
            case name, policy, maximumPerHost = "max_per_host"
        }

        /// What is left out is left to the site.
        public init(name: String, policy: Policy, maximumPerHost: Int? = nil) {
            self.name = name
            self.policy = policy
            self.maximumPerHost = maximumPerHost
        }
    }
}
