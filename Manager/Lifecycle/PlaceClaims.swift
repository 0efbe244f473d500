public import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel

// Where guests lie whose flavors ask for processors of their own, NUMA nodes or huge pages: claimed in the transaction that
// places them, and theirs until they are deleted, as their share of vCPUs and RAM is.
extension Commands {
    /// Gives a new instance its place on its node, beside its devices where that can be. Whoever decided that there is one did so
    /// in this transaction.
    ///
    /// - Throws: `Refusal.noCapacity` where there is none after all.
    func claimPlace(_ wanted: CellRequest?, for instance: inout Instance) throws {
        guard let wanted else { return }
        guard let node = try instance.node.flatMap({ try sql.nodes.find($0) }), let topology = node.inventory.topology
        else {
            throw Refusal(.noCapacity, "nothing is known of the processors of the node of instance '\(instance.name)'")
        }
        let near = Set(try sql.devices.list(of: instance.id).compactMap(\.facts.numaNode))
        let cells = HostCells(
            topology, dedicated: node.dedicatedCPUs ?? .none, places: node.places.values)
        guard let place = cells.place(wanted, near: near) else {
            throw Refusal(.noCapacity, "node '\(node.name)' has no place left for instance '\(instance.name)'")
        }
        instance.place = place
        try sql.instances.setPlace(place, of: instance.id, on: node)
    }

    /// Gives an instance that is stopped another place on its node where the host has no longer what the old one names: processors
    /// were taken offline, or huge pages given back.
    ///
    /// - Throws: `Refusal.noCapacity` where there is no other.
    func renewPlace(of instance: inout Instance, on node: Node) throws {
        guard let place = instance.place, instance.status == .stopped, let topology = node.inventory.topology else {
            return
        }
        var others = node.places
        others[instance.id] = nil
        guard !place.isThere(in: topology, beside: others.values) else { return }
        let near = Set(try sql.devices.list(of: instance.id).compactMap(\.facts.numaNode))
        let cells = HostCells(topology, dedicated: node.dedicatedCPUs ?? .none, places: others.values)
        guard let new = cells.place(place.request(instance), near: near) else {
            throw Refusal(
                .noCapacity,
                "node '\(node.name)', which holds its disk, has no longer the processors or huge pages of instance "
                    + "'\(instance.name)', nor others for it; 'roost node cpus \(node.name)' shows what it has")
        }
        instance.place = new
        try sql.instances.setPlace(new, of: instance.id, on: node)
    }

    /// Which processors of a node guests may have alone. Instances are told at once which are left to share, and heed it from
    /// their next start on; what an instance has alone stays its own.
    ///
    /// - Parameter text: `4-31`; `nil` or empty: none.
    /// - Throws: `Refusal.unprocessable`.
    public func setDedicatedCPUs(_ reference: String, to text: String?) throws -> Node {
        let node = try node(reference)
        var wanted: ProcessorSet?
        if let text, !text.isEmpty {
            func refuse(_ detail: String) -> Refusal {
                Refusal(
                    .unprocessable, "node '\(node.name)': dedicated_cpus \(detail)",
                    fields: [.init(pointer: "/dedicated_cpus", detail: detail)])
            }
            guard let set = ProcessorSet(text), !set.isEmpty else {
                throw refuse("must be processors as Linux writes them, such as 4-31,36-63")
            }
            guard let topology = node.inventory.topology else {
                throw refuse("cannot be set before its agent says which processors there are; update the agent")
            }
            let absent = set.subtracting(topology.processors)
            guard absent.isEmpty else {
                throw refuse("names \(absent), which it does not have; it has \(topology.processors)")
            }
            // What guests have alone stays theirs, whatever is dedicated from now on.
            let owned = ProcessorSet(node.places.values.flatMap { $0.cells.flatMap(\.processors) })
            let rest = topology.processors.subtracting(set).subtracting(owned)
            guard !rest.isEmpty else {
                throw refuse(
                    "must leave one at least for the host itself and for guests that share"
                        + (owned.isEmpty ? "" : "; instances have \(owned) alone"))
            }
            for cell in node.places.values.flatMap(\.cells) where cell.processors.isEmpty {
                let own = topology.cells.first { $0.number == cell.host }?.processors ?? .none
                guard rest.intersection(own).isEmpty, !own.isEmpty else { continue }
                throw refuse(
                    "must leave one of \(own) at least, which instances share that lie on NUMA node \(cell.host)")
            }
            wanted = set
        }
        guard wanted != node.dedicatedCPUs else { return node }
        let changed = try updateNode(node.id.description) { $0.dedicatedCPUs = wanted }
        try sql.instances.retell(on: node.id)
        return changed
    }
}

extension GuestPlace {
    /// Whether the host still has all that is named here.
    func isThere(in topology: HostTopology, beside others: some Collection<GuestPlace>) -> Bool {
        cells.allSatisfy { cell in
            guard let host = topology.cells.first(where: { $0.number == cell.host }), !host.cores.joined().isEmpty,
                cell.processors.allSatisfy(host.processors.contains)
            else { return false }
            guard let pageKiB else { return true }
            let used = others.filter { $0.pageKiB == pageKiB }.flatMap(\.cells).filter { $0.host == cell.host }
                .reduce(cell.memoryMiB) { $0 + $1.memoryMiB }
            let all = host.pages.filter { $0.sizeKiB == pageKiB }.reduce(0) { $0 + $1.memoryMiB }
            return used <= all
        }
    }

    /// One like it, for the same guest.
    ///
    /// - Parameter anySizeOfPages: its huge pages may be of another size.
    func request(_ instance: Instance, anySizeOfPages: Bool = false) -> CellRequest {
        CellRequest(
            vcpus: instance.vcpus, memoryMiB: instance.ramMiB, cells: cells.count, isDedicated: dedicated > 0,
            pages: pageKiB.map { anySizeOfPages ? .large : .size(kib: $0) } ?? .small)
    }
}
