public import Foundation

/// A request that takes time.
public struct OperationRecord: Resource, Equatable {
    public static let collection = "operations"

    public var id: String
    /// Such as `instance.create`.
    public var kind: String
    public var status: Status
    /// 0 to 100.
    public var progress: Int
    public var isPaused: Bool
    /// As they began; the last is the one that runs, or where it failed.
    public var steps: [Step]
    public var resource: Reference
    public var error: Failure?
    public var createdAt: Date
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
        public var rawValue: String
        public init(rawValue: String) { self.rawValue = rawValue }

        public static let running = Status(rawValue: "running")
        public static let succeeded = Status(rawValue: "succeeded")
        public static let failed = Status(rawValue: "failed")
        public static let cancelled = Status(rawValue: "cancelled")
    }

    /// A part of an operation.
    public struct Step: Codable, Sendable, Equatable {
        public var name: String
        /// `pending`, `running`, `done` or `failed`.
        public var status: String
        public var detail: String
        public var at: Date?

        enum CodingKeys: String, CodingKey {
            case name, status, detail, at
        }
    }

    /// Why it failed.
    public struct Failure: Codable, Sendable, Equatable {
        public var code: String
        public var detail: String

        enum CodingKeys: String, CodingKey {
            case code, detail
        }
    }
}

/// What something is about.
public struct Reference: Codable, Sendable, Equatable {
    public var kind: String
    public var id: String
    public var name: String

    enum CodingKeys: String, CodingKey {
        case kind, id, name
    }
}
