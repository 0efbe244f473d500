public import ProtocolModel

/// One term of leadership. Its number is the fencing number: it grows with each take-over, and a write made in the leader's
/// role is refused once the record knows a higher one.
public struct Term: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let number: Int64

    public init(_ number: Int64) { self.number = number }

    public static func < (left: Self, right: Self) -> Bool { left.number < right.number }
    public var description: String { String(number) }
}

/// The lease of leadership, as the record holds it. No time stands in it: whoever follows watches by their own clock whether
/// `renewals` still grows.
public struct Lease: Sendable, Equatable {
    /// `nil`: it was handed back, and whoever comes first may take it.
    public var holder: ManagerID?
    public var term: Term
    public var renewals: Int64
    /// The term whose holder is asked to hand it back.
    public var resignTerm: Term?

    public init(holder: ManagerID?, term: Term, renewals: Int64, resignTerm: Term? = nil) {
        self.holder = holder
        self.term = term
        self.renewals = renewals
        self.resignTerm = resignTerm
    }
}

/// A manager of the site, as it has registered itself.
public struct ManagerRecord: Sendable, Equatable {
    public var id: ManagerID
    /// Such as the name of its host.
    public var name: String
    /// Where clients reach its API: `host:port`.
    public var apiAddress: String
    /// Where agents reach it.
    public var agentAddress: String
    /// Where agents pull chunks from it.
    public var chunkAddress: String
    public var version: String
    public var startedAt: Timestamp
    /// Grows for as long as it lives.
    public var renewals: Int64

    public init(
        id: ManagerID, name: String, apiAddress: String, agentAddress: String, chunkAddress: String, version: String,
        startedAt: Timestamp, renewals: Int64 = 0
    ) {
        self.id = id
        self.name = name
        self.apiAddress = apiAddress
        self.agentAddress = agentAddress
        self.chunkAddress = chunkAddress
        self.version = version
        self.startedAt = startedAt
        self.renewals = renewals
    }
}

/// A manager as another one sees it.
public struct ManagerStatus: Sendable, Equatable {
    public enum Liveness: String, Sendable, CaseIterable {
        case alive
        case silent
        /// Not watched for long enough to say.
        case unknown
    }

    public var manager: ManagerRecord
    public var liveness: Liveness
    public var leads: Bool

    public init(manager: ManagerRecord, liveness: Liveness, leads: Bool) {
        self.manager = manager
        self.liveness = liveness
        self.leads = leads
    }
}
