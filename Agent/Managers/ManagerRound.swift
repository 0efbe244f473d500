public import ProtocolModel

/// Which manager to dial next, and after which wait. A value: the caller dials, waits, and says what came of it.
///
/// All managers are dialled in turn, those that this host was configured with first. Where one says who leads, that one is
/// dialled at once; but not again and again, since two that each send agents to the other would be besieged.
public struct ManagerRound: Sendable {
    /// What a dial came to.
    public enum Outcome: Sendable, Equatable {
        /// No session stood.
        case failed
        /// The manager takes no agents; `leader`: the one that does, where it was told.
        case notLeader(ManagerAddress?)
        /// A session stood, and is over; `leader`: where its manager sent this agent then.
        case stood(leader: ManagerAddress?)
    }

    /// Redirections that are followed in a row without a wait.
    static let redirections = 3
    /// More addresses than any site has managers are not kept.
    public static let limit = 16

    private let configured: [ManagerAddress]
    private var learned: [ManagerAddress]
    private var backoff: Backoff
    private var turn = 0
    private var redirect: ManagerAddress?
    private var followed = 0

    /// - Parameters:
    ///   - configured: where this host joined, or was told to look.
    ///   - learned: what a manager said in an earlier session.
    public init(configured: [ManagerAddress], learned: [ManagerAddress] = [], backoff: Backoff) {
        self.configured = configured
        self.learned = Self.usable(learned)
        self.backoff = backoff
    }

    /// All that are dialled, in order.
    public var managers: [ManagerAddress] { configured + learned.filter { !configured.contains($0) } }

    /// What a manager says of all of them.
    ///
    /// - Returns: whether that is new, and worth keeping.
    public mutating func learn(_ addresses: [ManagerAddress]) -> Bool {
        let addresses = Self.usable(addresses)
        guard !addresses.isEmpty, addresses != learned else { return false }
        learned = addresses
        return true
    }

    private static func usable(_ addresses: [ManagerAddress]) -> [ManagerAddress] {
        addresses.prefix(limit).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    /// The manager to dial now; `nil` where none is known.
    public mutating func next() -> ManagerAddress? {
        if let redirect {
            self.redirect = nil
            return redirect
        }
        let managers = managers
        guard !managers.isEmpty else { return nil }
        defer { turn += 1 }
        return managers[turn % managers.count]
    }

    /// Takes in what came of the dial.
    ///
    /// - Returns: the wait before the next.
    public mutating func ended(_ outcome: Outcome, using random: inout some RandomNumberGenerator) -> Duration {
        var leader: ManagerAddress?
        switch outcome {
        case .failed: break
        case .notLeader(let address): leader = address
        case .stood(let address):
            leader = address
            backoff.reset()
            followed = 0
            // It had agents a moment ago; where nothing else is known it is asked first.
            turn = max(0, turn - 1)
        }
        if let leader, followed < Self.redirections {
            followed += 1
            redirect = leader
            return .zero
        }
        let wait = backoff.next(using: &random)
        // After a wait a leader is believed again.
        if followed >= Self.redirections { followed = 0 }
        return wait
    }
}
