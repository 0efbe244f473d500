import AgentReconcile
import ManagerModel
import ManagerStore
import ProtocolModel
import ProtocolTransfer
public import SimulatorWorld

/// What must hold once faults have stopped and time has passed: everything that was wanted is so, or an error says why.
extension Checker {
    /// - Parameter left: batches that a host's agent still holds.
    public func finish(unacknowledged left: (Machine) -> Int, hasSession: (Machine) -> Bool) {
        inspect()
        var everything = InstanceRepository.Filter()
        everything.includesDeleted = true
        guard let instances = read({ try $0.instances.list(everything) }), let nodes = read({ try $0.nodes.list() })
        else { return }
        checkAcknowledgements(instances)
        checkOperations(instances)
        for instance in instances where instance.status != .deleted { checkReached(instance, nodes) }
        checkHosts(instances, nodes, left, hasSession)
        checkImages(nodes)
        checkUsage(instances)
    }

    // MARK: Requests

    private func checkAcknowledgements(_ instances: [Instance]) {
        let known = Set(instances.map(\.id))
        for acknowledged in evidence.acknowledgements {
            for id in acknowledged.instances where !known.contains(id) {
                broken("P2", "request \(acknowledged.request) was accepted, and instance \(id.short) is not on record")
            }
            guard let id = acknowledged.operation else { continue }
            if read({ try $0.operations.find(id) }) == .some(nil) {
                broken("P2", "request \(acknowledged.request) was accepted, and its operation is not on record")
            }
        }
        var named: [String: Instance] = [:]
        for instance in instances {
            if let other = named[instance.name] {
                broken(
                    "P2",
                    "one request made two instances named \(instance.name): \(other.id.short) and \(instance.id.short)")
            }
            named[instance.name] = instance
        }
    }

    private func checkOperations(_ instances: [Instance]) {
        for kind in Operation.Kind.allCases {
            for operation in read({ try $0.operations.running(kind) }) ?? [] {
                if let instance = instances.first(where: { $0.operation == operation.id }), mayNeverStop(instance) {
                    continue
                }
                broken(
                    "P2",
                    "operation \(kind.rawValue) of \(operation.resource.name) has not ended: \(operation.steps.last?.detail ?? "")"
                )
            }
        }
    }

    /// A guest that ignores the power button while its node is emptied without force is left running, as was asked.
    private func mayNeverStop(_ instance: Instance) -> Bool {
        guard instance.desired == .stopped, instance.stopTimeoutSeconds == nil, !instance.force,
            let domain = machine(of: instance)?.hypervisor.domains[instance.id]
        else { return false }
        return domain.observation.isRunning && (domain.isDeaf || domain.readyAt == nil)
    }

    private func machine(of instance: Instance) -> Machine? {
        machines.first { $0.identity?.node == instance.node }
    }

    // MARK: What is

    private func checkReached(_ instance: Instance, _ nodes: [Node]) {
        guard let machine = machine(of: instance) else {
            return broken("P2", "instance \(instance.id.short) is on a node that no host is")
        }
        if mayNeverStop(instance) { return }
        let domain = machine.hypervisor.domains[instance.id]
        let runs = domain?.observation.isRunning ?? false
        switch instance.status {
        case .error:
            if instance.statusReason.isEmpty {
                broken("P2", "instance \(instance.id.short) is in ERROR without a reason")
            }
        case .active:
            if instance.desired != .running || !runs {
                broken("P2", "instance \(instance.id.short) is ACTIVE and \(runs ? "should not run" : "does not run")")
            } else if domain?.observation.epoch != instance.epoch {
                broken("P1", "instance \(instance.id.short) runs under an overtaken placement")
            } else if domain?.observation.powerCycle != instance.powerCycle {
                broken("P2", "the reboot of instance \(instance.id.short) did not happen")
            }
        case .stopped:
            if instance.desired != .stopped || runs {
                broken("P2", "instance \(instance.id.short) is STOPPED and \(runs ? "runs" : "should run")")
            }
        default:
            broken(
                "P2",
                "instance \(instance.id.short) on \(machine.name) is still \(instance.status.rawValue): \(instance.statusReason) (desired \(instance.desired.rawValue), domain \(runs ? "runs" : "does not run"))"
            )
        }
    }

    private func checkHosts(
        _ instances: [Instance], _ nodes: [Node], _ left: (Machine) -> Int, _ hasSession: (Machine) -> Bool
    ) {
        for machine in machines {
            guard let node = nodes.first(where: { $0.id == machine.identity?.node }) else { continue }
            if !hasSession(machine) { broken("P2", "\(machine.name) has no session, though nothing is in the way") }
            if node.liveness != .alive { broken("P2", "\(machine.name) is recorded as \(node.liveness.rawValue)") }
            checkDeparture(machine, node)
            if node.drainState == .draining { broken("P6", "\(machine.name) is still being drained") }
            let batches = left(machine)
            if batches > 2 { broken("P4", "\(machine.name) still holds \(batches) usage batches") }
            let wanted = Set(instances.filter { $0.node == node.id && $0.desired == .running }.map(\.id))
            for domain in machine.hypervisor.running {
                let id = domain.assignment.instance
                if !wanted.contains(id), !instances.contains(where: { $0.id == id && mayNeverStop($0) }),
                    !instances.contains(where: { $0.id == id && $0.status == .error })
                {
                    broken("P1", "\(machine.name) runs instance \(id.short), which should not run there")
                }
            }
            checkKeptSet(machine, instances.filter { $0.node == node.id && $0.status != .deleted })
        }
    }

    /// The record knows of each host whether its own operator has taken it back, and nothing runs there then.
    private func checkDeparture(_ machine: Machine, _ node: Node) {
        guard machine.departure != nil else {
            if node.hostHold != nil { broken("P6", "\(machine.name) was given back, and the record does not know") }
            return
        }
        if node.enabled || node.hostHold == nil || node.disabledBy != "host" {
            broken("P6", "\(machine.name) was taken back by its operator, and the record does not know")
        }
        if let domain = machine.hypervisor.running.first {
            broken(
                "P6",
                "\(machine.name) was taken back by its operator and runs instance \(domain.assignment.instance.short)")
        }
    }

    /// The set that a host has kept is the one that the record has for it.
    private func checkKeptSet(_ machine: Machine, _ instances: [Instance]) {
        guard let kept = keptSet(of: machine) else { return }
        let wanted = Dictionary(uniqueKeysWithValues: instances.map { ($0.id, $0) })
        for (id, generation) in kept.sorted(by: { $0.key < $1.key }) {
            if wanted[id] == nil {
                broken(
                    "P2", "\(machine.name) keeps an assignment of instance \(id.short), which is not its own any more")
            } else if let instance = wanted[id], instance.generation.value != generation {
                broken("P2", "\(machine.name) keeps an old wish for instance \(id.short)")
            }
        }
        for id in wanted.keys.sorted() where kept[id] == nil {
            broken("P2", "\(machine.name) has not kept the assignment of instance \(id.short)")
        }
    }

    private func checkImages(_ nodes: [Node]) {
        for node in nodes {
            for placement in read({ try $0.images.placements(on: node.id) }) ?? [] {
                switch placement.state {
                case .held:
                    if machines.first(where: { $0.identity?.node == node.id })?.images[placement.image] == nil {
                        broken("P2", "\(node.name) is recorded to hold an image that it does not hold")
                    }
                case .fetching where !node.enabled, .failed where !node.enabled:
                    // It gets nothing until it is enabled.
                    break
                case .fetching, .failed, .removing:
                    broken("P2", "an image on \(node.name) is still \(placement.state.rawValue)")
                }
            }
        }
        for machine in machines {
            for (image, held) in machine.images.sorted(by: { $0.key < $1.key }) {
                if let truth = evidence.imageBytes[image], held.chunks.isComplete, held.bytes != truth {
                    broken("P7", "\(machine.name) holds an image with a changed byte")
                }
            }
        }
    }
}
