public import ProtocolModel

/// An operator's word on whether a node is in service. It goes before the node's windows until it is lifted or runs out.
public struct NodeHold: Sendable, Hashable, Codable {
    public var enabled: Bool
    public var owner: String
    public var reason: String
    private var untilMilliseconds: Int64?

    public init(enabled: Bool, owner: String, reason: String = "", until: Timestamp? = nil) {
        self.enabled = enabled
        self.owner = owner
        self.reason = reason
        self.untilMilliseconds = until?.milliseconds
    }

    /// When it runs out; `nil`: somebody has to lift it.
    public var until: Timestamp? { untilMilliseconds.map { Timestamp(milliseconds: $0) } }
}

extension Node {
    /// Who keeps it out of service; `nil` where it is in service, or nobody knows.
    public var disabledBy: String? {
        guard !enabled else { return nil }
        if hostHold != nil { return "host" }
        if let hold, !hold.enabled { return hold.owner }
        return availability.map { "windows of \($0.owner)" }
    }

    /// What time alone makes of a node.
    public enum ScheduleStep: Sendable, Equatable {
        case rest
        /// Its hold has run out; it stays in service or out of it.
        case forgetHold
        case enable
        /// To be empty at `by`; `nil`: nobody waits for that. `hold` is what holds from now on.
        case disable(mode: DrainMode, by: Timestamp?, hold: NodeHold?, reason: String)
    }

    /// What is due now. The state of its windows is given by whoever asks, since many nodes share theirs.
    ///
    /// The rule: a host that its own operator has taken back stays so until it is given back. Otherwise a hold holds until it
    /// runs out. Without one, windows decide; where there are none, the opposite of a hold that ran out is done.
    public func scheduleStep(windows state: Availability.State?, at now: Timestamp) -> ScheduleStep {
        if hostHold != nil { return .rest }
        if let hold {
            guard let until = hold.until, until <= now else { return .rest }
            guard availability != nil, state != nil else {
                if !hold.enabled { return .enable }
                let lasting = NodeHold(enabled: false, owner: hold.owner, reason: hold.reason)
                return .disable(
                    mode: .shutdown, by: nil, hold: lasting,
                    reason: hold.reason.isEmpty ? "enabled until now" : hold.reason)
            }
        }
        guard let availability, let state else { return .rest }
        let reason = availability.reason.isEmpty ? "outside of its windows" : availability.reason
        switch state {
        case .open: return enabled ? (hold == nil ? .rest : .forgetHold) : .enable
        case .draining(let endsAt, let mode):
            guard enabled else { return hold == nil ? .rest : .forgetHold }
            return .disable(mode: mode, by: endsAt, hold: nil, reason: reason)
        case .closed:
            guard enabled else { return hold == nil ? .rest : .forgetHold }
            // Nobody was told before: windows were set just now, or an operator's word has run out.
            return .disable(mode: .shutdown, by: nil, hold: nil, reason: reason)
        }
    }
}
