import ManagerFleet
import ManagerModel
import ManagerStore
import ProtocolModel

/// What planted faults do to the manager's work.
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
        guard planted == .drainLostOnRestart, case .success(.drains(let drains)) = result else { return result }
        let known = drains.filter { id in
            (try? store.read { try $0.operations.find(id)?.createdAt }).flatMap { $0 }.map { $0 >= began } ?? false
        }
        return .success(.drains(known))
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
