import ManagerFleet
import ManagerLeadership
import ManagerModel
import ManagerStore
import ProtocolModel

/// What planted faults do to a manager's leadership.
extension SimulatedManager {
    /// The record's own check of a leader's write, where no fault leaves it out.
    func fence(_ term: Term, in sql: Transaction) throws {
        if planted == .fencingLeftOut || term == Term(0) { return }
        try sql.leadership.check(term)
    }

    /// What a manager with the planted fault makes of its look at the lease.
    func altered(_ answer: Leadership.Event) -> Leadership.Event {
        guard planted == .takenOverAtOnce, case .read(var lease?) = answer, lease.holder != host.id else {
            return answer
        }
        lease.holder = nil
        return .read(lease)
    }

    /// The question as a manager with the planted fault would put it.
    func altered(_ question: Leadership.Effect, in sql: Transaction) throws -> Leadership.Effect {
        guard planted == .leaseTakenUncompared, case .acquire = question else { return question }
        return .acquire(over: try sql.leadership.lease())
    }

    /// Where an answer was long in coming, it is taken for that of a question put just now, so that the lease counts from here.
    func countAnew() {
        guard let term = leadership.term else { return }
        var misled = leadership
        _ = misled.handle(.failed(.renew(term)), at: now.uptime)
        if misled.handle(.ticked, at: now.uptime) == [.renew(term)] { leadership = misled }
    }
}

/// What planted faults do to the leader's work.
extension SimulatedManager {
    /// The work as a manager with the planted fault would do it.
    func altered(_ work: FleetWork, in sql: Transaction) throws -> FleetWork {
        switch (planted, work) {
        case (.staleGenerationAccepted, .status(let id, let node, let instances, let images)):
            let renewed = try instances.map { seen in
                var seen = seen
                seen.generation = try sql.instances.find(seen.instance)?.generation ?? seen.generation
                return seen
            }
            return .status(id, node, renewed, images)
        case (.drainReportedEarly, .status(let id, let node, let instances, let images)):
            let hasty = instances.map { seen in
                var seen = seen
                if seen.state == .stopping { seen.state = .stopped }
                return seen
            }
            return .status(id, node, hasty, images)
        case (.departureNotHeard, .hostWord(let id, let node, _)): return .hostWord(id, node, .isOurs)
        case (.departureNotHeard, .openSession(let id, let node, var facts)):
            facts.hostWord = nil
            return .openSession(id, node, facts)
        case (.duplicateUsageCounted, .usage(let id, let node, let batch)):
            guard try sql.usage.lastNumber(node: node, spool: batch.spool) >= batch.number else { return work }
            return .usage(
                id, node, UsageBatch(spool: .generate(at: began), number: batch.number, samples: batch.samples))
        default: return work
        }
    }

    func altered(
        _ result: Result<FleetWork.Answer, any Error>, of work: FleetWork
    ) -> Result<FleetWork.Answer, any Error> {
        guard planted == .drainLostOnRestart, case .success(.drains(let drains, let isAnyoneWaiting)) = result else {
            return result
        }
        let known = drains.filter { id in
            (try? record.store.read { try $0.operations.find(id)?.createdAt }).flatMap { $0 }.map { $0 >= began }
                ?? false
        }
        return .success(.drains(known, isAnyoneWaiting: isAnyoneWaiting))
    }

    /// What the planted fault does beside the work, in the same transaction.
    func spoil(_ work: FleetWork, in sql: Transaction) throws {
        guard planted == .claimNotReleased, case .status(_, let node, let instances, _) = work else { return }
        for seen in instances where seen.state == .deleted {
            guard let instance = try sql.instances.find(seen.instance), instance.status == .deleted,
                instance.generation == seen.generation
            else { continue }
            try sql.spoil("UPDATE nodes SET claimed_vcpus = claimed_vcpus + 1 WHERE id = '\(node)'")
        }
    }
}
