public import Foundation

/// A request that takes time.
public struct OperationRecord: Resource, Equatable {
    /// Under `/v1/`.
    public static let collection = "operations"

    /// Never given to another.
    public var id: String
    /// Such as `instance.create`.
    public var kind: String
    /// How it stands.
    public var status: Status
    /// 0 to 100.
    public var progress: Int
    /// Whether it stands still.
    public var isPaused: Bool
    /// As they began; the last is the one that runs, or where it failed.
    public var steps: [Step]
    /// What it is about.
    public var resource: Reference
    /// Why it failed.
    public var error: Failure?
    /// When it was made.
    public var createdAt: Date
    /// When it ended.
    public var finishedAt: Date?
    /// By name.
    public var owner: String?

    enum CodingKeys: String, CodingKey {
        case id, kind, status, progress, isPaused = "paused", steps, resource, error, createdAt = "created_at",
            finishedAt = "finished_at", owner
    }
}

extension OperationRecord {
    /// How an operation stands. A newer manager may say others.
    public struct Status: RawRepresentable, Codable, Hashable, Sendable {
        /// As the API writes it.
        public var rawValue: String
        /// Of any word.
        public init(rawValue: String) { self.rawValue = rawValue }

        /// `running`
        public static let running = Status(rawValue: "running")
        /// `succeeded`
        public static let succeeded = Status(rawValue: "succeeded")
        /// `failed`
        public static let failed = Status(rawValue: "failed")
        /// `cancelled`
        public static let cancelled = Status(rawValue: "cancelled")
    }

    /// A part of an operation.
    public struct Step: Codable, Sendable, Equatable {
        /// As people call it.
        public var name: String
        /// `pending`, `running`, `done` or `failed`.
        public var status: String
        /// For people.
        public var detail: String
        /// When.
        public var at: Date?

        enum CodingKeys: String, CodingKey {
            case name, status, detail, at
        }
    }

    /// Why it failed.
    public struct Failure: Codable, Sendable, Equatable {
        /// For programs.
        public var code: String
        /// For people.
        public var detail: String

        enum CodingKeys: String, CodingKey {
            case code, detail
        }
    }
}

/// What something is about.
public struct Reference: Codable, Sendable, Equatable {
    /// Such as `instance`.
    public var kind: String
    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String

    enum CodingKeys: String, CodingKey {
        case kind, id, name
    }
}
