public import ProtocolModel

/// What is known of a host that is not heard of any more, in the record from when it counts as down until it is heard again.
///
/// A value: whoever holds it stores what it has become in the transaction in which that happened. Silence alone proves nothing
/// (P1): a host whose link is cut goes on with its guests. What proves that it runs none:
///
/// - an operator confirmed that the machine is off;
/// - a command of the site's fenced it.
///
/// Either is about the life that the host had then. One that comes back opens a session, which ends the loss (`HostLoss` is
/// `nil` again in that very transaction), and starts no guest that may run elsewhere before it has been told what is its own.
public struct HostLoss: Sendable, Hashable, Codable {
    public enum Proof: String, Sendable, Hashable, Codable, CaseIterable {
        case confirmed, fenced
    }

    /// That the host runs nothing any more, by whom and since when.
    public struct Certainty: Sendable, Hashable, Codable {
        public var proof: Proof
        public var by: String
        public var reason: String
        private var milliseconds: Int64

        init(_ proof: Proof, by: String, reason: String, at now: Timestamp) {
            self.proof = proof
            self.by = by
            self.reason = reason
            milliseconds = now.milliseconds
        }

        public var at: Timestamp { Timestamp(milliseconds: milliseconds) }

        /// For whoever asks why it counts as down.
        public var sentence: String {
            switch proof {
            case .confirmed: "confirmed to be off by \(by)" + (reason.isEmpty ? "" : " (\(reason))")
            case .fenced: "fenced by \(by)" + (reason.isEmpty ? "" : " (\(reason))")
            }
        }
    }

    /// The last attempt to fence it.
    public struct Fencing: Sendable, Hashable, Codable {
        /// How often it was tried.
        public var attempts: Int
        /// In whose term the last attempt began.
        public var term: Int64
        fileprivate var beganMilliseconds: Int64
        fileprivate var endedMilliseconds: Int64?
        /// What came of it; empty while it runs.
        public var outcome: String

        public var beganAt: Timestamp { Timestamp(milliseconds: beganMilliseconds) }
        /// `nil`: it runs, or whoever ran it is gone.
        public var endedAt: Timestamp? { endedMilliseconds.map { Timestamp(milliseconds: $0) } }
    }

    private var sinceMilliseconds: Int64
    public private(set) var certainty: Certainty?
    public private(set) var fencing: Fencing?

    /// - Parameter since: when it was last heard.
    public init(since: Timestamp) { sinceMilliseconds = since.milliseconds }

    /// When it was last heard.
    public var since: Timestamp { Timestamp(milliseconds: sinceMilliseconds) }

    public enum Event: Sendable, Equatable {
        /// Somebody looked: the machine is off.
        case confirmed(by: String, reason: String)
        case fencingBegan(term: Int64)
        /// Of the attempt with this number.
        case fencingEnded(attempt: Int, command: String, isFenced: Bool, outcome: String)
    }

    public enum Effect: Sendable, Equatable {
        /// From now on its instances may be started elsewhere.
        case becameCertain(Certainty)
        case beginFencing(attempt: Int)
        case fencingFailed(String)
    }

    /// Takes in what happened and says what follows. What comes twice, or about an attempt that was overtaken, changes nothing.
    public mutating func handle(_ event: Event, at now: Timestamp) -> [Effect] {
        switch event {
        case .confirmed(let by, let reason):
            return become(Certainty(.confirmed, by: by, reason: reason, at: now))
        case .fencingBegan(let term):
            guard certainty == nil else { return [] }
            let attempt = (fencing?.attempts ?? 0) + 1
            fencing = Fencing(
                attempts: attempt, term: term, beganMilliseconds: now.milliseconds, endedMilliseconds: nil, outcome: "")
            return [.beginFencing(attempt: attempt)]
        case .fencingEnded(let attempt, let command, let isFenced, let outcome):
            guard fencing?.attempts == attempt, fencing?.endedMilliseconds == nil else { return [] }
            fencing?.endedMilliseconds = now.milliseconds
            fencing?.outcome = outcome
            guard isFenced else { return [.fencingFailed(outcome)] }
            return become(Certainty(.fenced, by: command, reason: "", at: now))
        }
    }

    private mutating func become(_ certainty: Certainty) -> [Effect] {
        guard self.certainty == nil else { return [] }
        self.certainty = certainty
        return [.becameCertain(certainty)]
    }
}
