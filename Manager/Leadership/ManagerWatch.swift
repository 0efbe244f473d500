public import ManagerModel
public import ProtocolModel

/// Which managers live, judged by whether their counts still grow, on this process's own clock.
public struct ManagerWatch: Sendable {
    public typealias Liveness = ManagerStatus.Liveness

    /// A manager that was not heard for so long is silent.
    public let patience: Duration
    private var seen: [ManagerID: (renewals: Int64, since: Uptime, moved: Bool)] = [:]

    public init(patience: Duration = .seconds(6)) { self.patience = patience }

    public mutating func observe(_ managers: [ManagerRecord], at now: Uptime) {
        var next: [ManagerID: (renewals: Int64, since: Uptime, moved: Bool)] = [:]
        for manager in managers {
            if let known = seen[manager.id], known.renewals == manager.renewals {
                next[manager.id] = known
            } else {
                next[manager.id] = (manager.renewals, now, seen[manager.id] != nil)
            }
        }
        seen = next
    }

    public func liveness(of manager: ManagerID, at now: Uptime) -> Liveness {
        guard let known = seen[manager] else { return .unknown }
        if now - known.since >= patience { return .silent }
        return known.moved ? .alive : .unknown
    }
}
