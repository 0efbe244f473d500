public import Foundation

/// Nodes under one name, with metadata; for operators.
public struct Aggregate: CreatableResource, ChangeableResource, Equatable {
    public static let collection = "aggregates"

    public var id: String
    public var name: String
    public var metadata: [String: String]
    /// By name.
    public var nodes: [String]
    public var createdAt: Date
    public var updatedAt: Date

    enum CodingKeys: String, CodingKey {
        case id, name, metadata, nodes, createdAt = "created_at", updatedAt = "updated_at"
    }
}

extension Aggregate {
    /// What an aggregate is to be.
    public struct Creation: Encodable, Sendable {
        public var name: String
        public var metadata: [String: String]?
        public var nodes: [String]?

        enum CodingKeys: String, CodingKey {
            case name, metadata, nodes
        }

        public init(
            name: String, metadata: [String: String]? = nil, nodes: [String]? = nil
        ) {
            self.name = name
            self.metadata = metadata
            self.nodes = nodes
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        public var name: String?
        public var metadata: [String: String]?
        /// All of them.
        public var nodes: [String]?

        enum CodingKeys: String, CodingKey {
            case name, metadata, nodes
        }

        public init(
            name: String? = nil, metadata: [String: String]? = nil, nodes: [String]? = nil
        ) {
            self.name = name
            self.metadata = metadata
            self.nodes = nodes
        }
    }
}
