import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel

// Instances that yield their room to others that may not be preempted.
extension Commands {
    /// Asks instances to yield their room to a request that found none.
    ///
    /// - Parameters:
    ///   - avoiding: hosts that are kept for others.
    ///   - promised: what was promised to others of the same request.
    /// - Returns: who yields, and where; `nil`: nobody can, or it would not help.
    func makeRoom(
        for request: PlacementRequest, avoiding: Set<NodeID>, promised: [NodeID: YieldPromise] = [:],
        _ directory: HostDirectory
    ) throws -> YieldPlan? {
        let known = try sql.instances.preemptible()
        guard !known.isEmpty else { return nil }
        let yielders = try yielders(known, withDevices: !request.devices.isEmpty)
        guard let plan = directory.yieldPlan(for: request, yielders, avoiding: avoiding, promised: promised)
        else { return nil }
        let instances = Dictionary(known.map { ($0.id, $0) }) { first, _ in first }
        for yielder in plan.yielders {
            if let instance = instances[yielder.instance] { try preempt(instance) }
        }
        return plan
    }

    /// By the node that each is on. Of those that are on their way to stop, the room comes without being asked for.
    func yielders(_ instances: [Instance], withDevices: Bool) throws -> [NodeID: [Yielder]] {
        var yielders: [NodeID: [Yielder]] = [:]
        for instance in instances where instance.desired == .running || instance.isWithoutDomain {
            guard let node = instance.node else { continue }
            let devices =
                withDevices && !instance.devices.isEmpty
                ? try sql.devices.list(of: instance.id).map(\.facts.address) : []
            yielders[node, default: []].append(
                Yielder(
                    instance: instance.id, vcpus: instance.vcpus, ramMiB: instance.ramMiB, devices: devices,
                    priority: instance.priority, since: instance.startedAt ?? instance.createdAt,
                    hasGuest: !instance.isWithoutDomain))
        }
        return yielders
    }

    private func preempt(_ instance: Instance) throws {
        if instance.isWithoutDomain {
            var released = instance
            try sql.instances.adjustRoom(of: instance, by: -1)
            released.room = .released
            released.updatedAt = now
            try sql.instances.update(released, assigned: false)
            return try event(
                "instance.preempted", ResourceReference(instance), owner: instance.owner,
                detail:
                    "its share of the node went to another instance; it is stopped, and gets a share again when it is started"
            )
        }
        _ = try request(.instanceStop, of: instance, superseding: true) { machine throws(Refusal) in
            try machine.yield(graceSeconds: settings.preemptionGraceSeconds, at: now)
        }
    }

    /// What somebody is told for whom others yield.
    static func sentence(about plan: YieldPlan, _ settings: LifecycleSettings) -> String {
        plan.guests == 0
            ? "waits for room that is being given back"
            : "waits for \(plan.guests == 1 ? "a preemptible instance" : "\(plan.guests) preemptible instances") to yield, "
                + "which takes at most \(settings.preemptionGraceSeconds) s and what their host needs to end them"
    }
}
