public import ManagerModel
import ManagerStore
import ProtocolModel
public import SimulatorWorld

/// Whether one manager leads at a time, and whether one does once nothing is in the way.
extension Checker: LeaderWatch {
    /// After faults have stopped, within this time somebody leads and goes on to lead, and every host has a session there.
    static let bounds = (leader: SimulatedTime.seconds(30), session: SimulatedTime.seconds(75))

    /// What was seen of leadership so far.
    struct Leaders {
        /// Of the newest work of a leader that is in the record.
        var last = Term(0)
        var writers: [Term: Int] = [:]
        /// Since when managers have had sessions without leading.
        var pretenders: [Int: SimulatedTime] = [:]
        /// Since when nothing goes wrong any more.
        var calm: SimulatedTime?
        /// Since when there has not been one leader.
        var vacant: SimulatedTime?
        /// Who led when everything was to have settled.
        var settled: Term?
        /// Since when hosts have had no session with the leader.
        var lonely: [Int: SimulatedTime] = [:]
    }

    /// Nothing goes wrong from now on.
    public func becameCalm() { leaders.calm = world.now }

    // MARK: As it happens

    /// By time alone: whoever has looked at the clock just now does not share leadership.
    public func led(_ manager: Int, in term: Term) {
        for other in managers() where other.index != manager && other.isAwake {
            if let theirs = other.term {
                broken(
                    "P2",
                    "manager\(manager) leads in term \(term) while manager\(other.index) leads in term \(theirs)")
            }
        }
    }

    /// By number: no work of an old leader comes into the record behind a newer one's, or behind a newer one's election.
    public func committed(by manager: Int, in term: Term) {
        if term < leaders.last {
            broken("P2", "work of term \(term) is recorded behind work of term \(leaders.last)")
        }
        leaders.last = max(leaders.last, term)
        if let other = leaders.writers.updateValue(manager, forKey: term), other != manager {
            broken("P2", "manager\(other) and manager\(manager) both work as leader of term \(term)")
        }
        guard let lease = read({ try $0.leadership.lease() }) else { return }
        if lease?.term != term || lease?.holder == nil {
            broken(
                "P2",
                "manager\(manager) works as leader of term \(term), and the record's term is \(lease?.term.number ?? 0)"
            )
        }
    }

    // MARK: From time to time

    /// - Parameter known: nodes on record.
    func inspectLeadership(_ known: Set<NodeID>) {
        let sights = managers()
        let lease = read { try $0.leadership.lease() } ?? nil
        // A manager that does not lead sends its agents away at once.
        var pretenders: [Int: SimulatedTime] = [:]
        for sight in sights where sight.isAwake && !sight.sessions.isEmpty {
            guard sight.term == nil || sight.term != lease?.term else { continue }
            let since = leaders.pretenders[sight.index] ?? world.now
            pretenders[sight.index] = since
            if world.now - since > .seconds(10) {
                broken("P2", "manager\(sight.index) does not lead and keeps \(sight.sessions.count) agents")
            }
        }
        leaders.pretenders = pretenders
        guard let calm = leaders.calm else { return }
        inspectLeader(sights, lease, since: calm)
        inspectSessions(sights, known, since: calm)
    }

    private func inspectLeader(_ sights: [ManagerSight], _ lease: Lease?, since calm: SimulatedTime) {
        let leading = sights.filter { $0.isAwake && $0.term != nil }
        let isOne = leading.count == 1 && leading.first?.term == lease?.term && leading.first?.id == lease?.holder
        leaders.vacant = isOne ? nil : leaders.vacant ?? world.now
        if let vacant = leaders.vacant, world.now - max(vacant, calm) > Self.bounds.leader {
            broken("P2", "\(leading.count) managers lead, though nothing is in the way")
        }
        guard world.now - calm > Self.bounds.leader, let term = lease?.term else { return }
        if let settled = leaders.settled, settled != term {
            broken("P2", "leadership went from term \(settled) to term \(term), though nothing is in the way")
        }
        leaders.settled = term
    }

    private func inspectSessions(_ sights: [ManagerSight], _ known: Set<NodeID>, since calm: SimulatedTime) {
        let served = Set(sights.filter { $0.isAwake && $0.term != nil }.flatMap(\.sessions))
        for machine in machines {
            // One whose power comes back later than the faults stop has its time from then on.
            guard machine.isUp, let node = machine.identity?.node, known.contains(node), !served.contains(node) else {
                leaders.lonely[machine.index] = nil
                continue
            }
            let since = leaders.lonely[machine.index] ?? world.now
            leaders.lonely[machine.index] = since
            if world.now - max(since, calm) > Self.bounds.session {
                broken("P2", "\(machine.name) has no session with the manager that leads, though nothing is in the way")
            }
        }
    }
}
