public import Foundation

/// Nodes under one name, with metadata; for operators.
public struct Aggregate: CreatableResource, ChangeableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "aggregates"

    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String
    /// For people and programs; the site takes no notice of it.
    public var metadata: [String: String]
    /// By name.
    public var nodes: [String]
    /// When it was made.
    public var createdAt: Date
    /// When it changed last.
    public var updatedAt: Date

    enum CodingKeys: String, CodingKey {
        case id, name, metadata, nodes, createdAt = "created_at", updatedAt = "updated_at"
    }
}

extension Aggregate {
    /// What an aggregate is to be.
    public struct Creation: Encodable, Sendable {
        /// As people call it.
        public var name: String
        /// For people and programs; the site takes no notice of it.
        public var metadata: [String: String]?
        /// By name.
        public var nodes: [String]?

        enum CodingKeys: String, CodingKey {
            case name, metadata, nodes
        }

        /// What is left out is left to the site, or as it is.
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
        /// As people call it.
        public var name: String?
        /// For people and programs; the site takes no notice of it.
        public var metadata: [String: String]?
        /// All of them.
        public var nodes: [String]?

        enum CodingKeys: String, CodingKey {
            case name, metadata, nodes
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String? = nil, metadata: [String: String]? = nil, nodes: [String]? = nil
        ) {
            self.name = name
            self.metadata = metadata
            self.nodes = nodes
        }
    }
}
