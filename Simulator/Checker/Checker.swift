import AgentReconcile
public import ManagerModel
package import ManagerStore
import ProtocolMessages
public import ProtocolModel
public import SimulatorWorld
import SwiftProtobuf

/// Looks at machines, record and what was said, and knows nothing of how the programs decide: whether the promises hold
/// (DESIGN §4).
public final class Checker: SiteWatch {
    let world: World
    let store: SynchronousStore
    let evidence: Evidence
    let machines: [Machine]
    /// Managers whose process runs.
    let managers: () -> [ManagerSight]
    private var strangers: [NodeID: SimulatedTime] = [:]
    var leaders = Leaders()

    package init(
        world: World, store: SynchronousStore, evidence: Evidence, machines: [Machine],
        managers: @escaping () -> [ManagerSight]
    ) {
        self.world = world
        self.store = store
        self.evidence = evidence
        self.machines = machines
        self.managers = managers
        evidence.leaderWatch = self
        evidence.runs.started = { [unowned self] in started($0, $1) }
        evidence.runs.cut = { [unowned self] in cut($0, $1) }
    }

    func broken(_ promise: String, _ sentence: @autoclosure () -> String) {
        evidence.broken(promise, sentence())
    }

    /// Reads the record; what cannot be read is a broken promise too.
    func read<Answer>(_ body: (Transaction) throws -> Answer) -> Answer? {
        do {
            return try store.read(body)
        } catch {
            broken("P10", "the record cannot be read: \(error)")
            return nil
        }
    }

    // MARK: As it happens

    /// A domain starts on a host.
    private func started(_ host: Int, _ domain: SimulatedHypervisor.Domain) {
        let id = domain.assignment.instance
        let machine = machines[host]
        for other in machines where other.index != host {
            if other.hypervisor.domains[id]?.observation.isRunning == true {
                broken("P1", "instance \(id.short) runs on \(other.name) and \(machine.name)")
            }
        }
        for other in machines {
            for running in other.hypervisor.running where running.assignment.instance != id {
                let (ours, theirs) = (domain.assignment.guest, running.assignment.guest)
                if ours.macAddress == theirs.macAddress || (other.index == host && ours.ipAddress == theirs.ipAddress) {
                    broken(
                        "P3",
                        "\(ours.ipAddress) belongs to \(id.short) and to \(running.assignment.instance.short), which both run"
                    )
                }
            }
        }
        checkDevices(of: domain, on: machine)
        if let departure = machine.departure, world.now > departure.at + Self.longestCall {
            broken("P6", "\(machine.name) was taken back by its operator and starts instance \(id.short)")
        }
        checkImage(of: domain, on: machine)
        checkKept(id, on: machine)
    }

    /// A device is in one running domain at most, and in that of no other than the record says.
    private func checkDevices(of domain: SimulatedHypervisor.Domain, on machine: Machine) {
        let id = domain.assignment.instance
        let addresses = domain.assignment.guest.devices.map(\.address)
        guard !addresses.isEmpty else { return }
        for other in machine.hypervisor.running where other.assignment.instance != id {
            for device in other.assignment.guest.devices where addresses.contains(device.address) {
                broken(
                    "P3",
                    "\(device.address) of \(machine.name) is in the running domains of \(id.short) and \(other.assignment.instance.short)"
                )
            }
        }
        guard let node = machine.identity?.node, let devices = read({ try $0.devices.list(on: node) }) else { return }
        for device in devices where addresses.contains(device.facts.address) {
            if let claim = device.claim, claim.instance != id {
                broken(
                    "P3",
                    "\(device.facts.address) of \(machine.name) belongs to \(claim.instance.short), and \(id.short) starts with it"
                )
            }
        }
    }

    /// A device is claimed by an instance of its node that is to have devices, which has as many as it is to have.
    private func checkDeviceClaims(_ instances: [Instance]) {
        guard let devices = read({ try $0.devices.list() }), !devices.isEmpty else { return }
        let known = Dictionary(uniqueKeysWithValues: instances.map { ($0.id, $0) })
        var held: [InstanceID: Int] = [:]
        for device in devices {
            guard let claim = device.claim else { continue }
            held[claim.instance, default: 0] += 1
            if known[claim.instance]?.node != device.node {
                broken("P3", "\(device.facts.address) is claimed by \(claim.instance.short), which is not on its node")
            }
            if device.status == .free { broken("P3", "\(device.facts.address) is claimed, and called free") }
        }
        for instance in instances where instance.status == .active {
            let wanted = instance.devices.reduce(0) { $0 + $1.count }
            if held[instance.id] ?? 0 != wanted {
                broken("P3", "instance \(instance.id.short) runs with \(held[instance.id] ?? 0) devices of \(wanted)")
            }
        }
    }

    private func checkImage(of domain: SimulatedHypervisor.Domain, on machine: Machine) {
        let image = domain.assignment.image
        guard let held = machine.images[image], let truth = evidence.imageBytes[image] else { return }
        if held.bytes != truth { broken("P7", "\(machine.name) boots a guest from an image with a changed byte") }
    }

    /// What a host runs because the manager wants it is on its disk, so that it comes back without the manager.
    private func checkKept(_ id: InstanceID, on machine: Machine) {
        guard let instance = read({ try $0.instances.find(id) }) ?? nil, instance.desired == .running,
            instance.node == machine.identity?.node
        else { return }
        let kept = machine.disk.durableContent("/data/assignments").flatMap { bytes in
            try? Roost_V1_AssignmentSet(serializedBytes: Array(bytes.dropFirst(20)))
        }
        if kept?.instances.contains(where: { InstanceID(bytes: $0.instanceID) == id }) != true {
            broken("P2", "\(machine.name) starts instance \(id.short), which its kept assignments do not name")
        }
    }

    /// An agent ends a run, or asks the guest to end it.
    private func cut(_ host: Int, _ domain: SimulatedHypervisor.Domain) {
        let id = domain.assignment.instance
        // What an operator takes back is emptied, whatever anybody wants; a call of that time may come late.
        if machines[host].departure != nil { return }
        if let returned = machines[host].returnedAt, world.now < returned + Self.longestCall { return }
        guard let instance = read({ try $0.instances.find(id) }) ?? nil else { return }
        if instance.desired == .running, instance.node == machines[host].identity?.node,
            instance.epoch == domain.observation.epoch, instance.powerCycle == domain.observation.powerCycle
        {
            broken("P5", "\(machines[host].name) ends the guest of instance \(id.short), which is to run on")
        }
    }

    public func listed(_ owners: [UserID], to actor: Actor) {
        guard actor.rights != .complete else { return }
        if owners.contains(where: { $0 != actor.user }) {
            broken("P9", "\(actor.name) was shown instances of somebody else")
        }
    }

    public func changed(_ instance: Instance, by actor: Actor) {
        guard actor.rights != .complete else { return }
        if instance.owner != actor.user { broken("P9", "\(actor.name) changed an instance of somebody else") }
    }

    // MARK: From time to time

    public func inspect() {
        guard let nodes = read({ try $0.nodes.list() }),
            let instances = read({ try $0.instances.list(InstanceRepository.Filter()) })
        else { return }
        for node in nodes { checkClaims(of: node, instances.filter { $0.node == node.id }) }
        checkLimits(instances)
        checkDeviceClaims(instances)
        checkPlacements(nodes, instances)
        checkDepartures()
        for instance in instances { checkStopped(instance) }
        let known = Set(nodes.map(\.id))
        inspectLeadership(known)
        let open = Set(managers().filter(\.isAwake).flatMap(\.sessions)).subtracting(known)
        strangers = strangers.filter { open.contains($0.key) }
        for node in open.sorted() {
            let since = strangers[node] ?? world.now
            strangers[node] = since
            if world.now - since > .seconds(10) { broken("P9", "node \(node.short) was removed and keeps its session") }
        }
    }

    private func checkClaims(of node: Node, _ instances: [Instance]) {
        let sums = (
            instances.filter { $0.room != .released }.map(\.vcpus).reduce(0, +),
            instances.filter { $0.room != .released }.map(\.ramMiB).reduce(0, +),
            instances.map(\.diskGiB).reduce(0, +), instances.count
        )
        let claimed = (node.claimedVCPUs, node.claimedRAMMiB, node.claimedDiskGiB, node.instanceCount)
        if sums != claimed { broken("P3", "\(node.name) claims \(claimed), its instances \(sums)") }
        let vcpus = Int(Double(node.inventory.cpuCount) * AllocationRatios(of: node, in: []).cpu)
        if node.claimedVCPUs > vcpus { broken("P3", "\(node.name) has \(vcpus) vCPUs and claims \(node.claimedVCPUs)") }
        if Set(instances.compactMap(\.ipAddress)).count < instances.compactMap(\.ipAddress).count {
            broken("P3", "two instances on \(node.name) have one address")
        }
    }

    /// Nobody has more than their limit, and what is counted against it is what there is.
    private func checkLimits(_ instances: [Instance]) {
        guard let limit = read({ try $0.quotas.settings(of: .everyUser).limits[.instances] }) ?? nil else { return }
        for (owner, own) in Dictionary(grouping: instances, by: \.owner).sorted(by: { $0.key < $1.key }) {
            guard let counted = read({ try $0.quotas.use(of: .user(owner)).amounts }) else { return }
            if own.count > limit { broken("P3", "a user may have \(limit) instances and has \(own.count)") }
            let vcpus = own.map(\.vcpus).reduce(0, +)
            if (counted.instances, counted.vcpus) != (own.count, vcpus) {
                broken(
                    "P3",
                    "\(counted.instances) instances and \(counted.vcpus) vCPUs of a user are counted, and there are \(own.count) and \(vcpus)"
                )
            }
        }
    }

    /// An instance counts as stopped once its host has kept that it is to be: until then a boot of the host starts it again.
    private func checkStopped(_ instance: Instance) {
        guard instance.status == .stopped, instance.desired == .stopped,
            let machine = machines.first(where: { $0.identity?.node == instance.node })
        else { return }
        if let kept = keptSet(of: machine)?[instance.id], kept < instance.generation.value {
            broken("P6", "instance \(instance.id.short) is STOPPED, and \(machine.name) has not kept that wish")
        }
    }

    /// How long a call of the hypervisor may take, and how long before its effect it was decided on.
    private static let longestCall = SimulatedTime.seconds(90)

    /// A host that was taken back runs no guest after the deadline, unless something kept its agent from ending them.
    private func checkDepartures() {
        for machine in machines {
            guard let departure = machine.departure, machine.isUp,
                world.now > departure.at + departure.deadline + .seconds(2),
                let domain = machine.hypervisor.running.first,
                !machine.faults.contains(where: { $0.at + $0.lasting + Self.longestCall > departure.at })
            else { continue }
            broken(
                "P6",
                "\(machine.name) was taken back by its operator and still runs instance \(domain.assignment.instance.short)"
            )
        }
    }

    private func checkPlacements(_ nodes: [Node], _ instances: [Instance]) {
        for node in nodes where !node.enabled {
            guard let machine = machines.first(where: { $0.identity?.node == node.id }) else { continue }
            if node.drainState == .drained, let domain = machine.hypervisor.running.first {
                broken(
                    "P6", "\(node.name) is drained and runs instance \(domain.assignment.instance.short)")
            }
        }
    }

    /// A request placed instances; told in the transaction, with what the node was before it.
    public func created(_ instances: [Instance], disabled: [NodeID]) {
        for instance in instances where instance.node.map(disabled.contains) == true {
            broken("P6", "instance \(instance.id.short) was placed on a disabled node")
        }
    }
}
