import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel

// Instances that wait for room. Whether any waits, in which order, and which hosts are kept for them is in the record alone, so
// that a restart and a change of leader need nothing of their own.
extension Commands {
    /// A host that is kept for somebody, and what that one asks for.
    struct Keeper {
        var node: NodeID
        var request: PlacementRequest
    }

    // MARK: Coming

    /// Refuses to let wait for what this site, as it is, will never have.
    func checkIsPossible(_ request: PlacementRequest, _ flavor: Flavor, _ directory: HostDirectory) throws {
        guard try !directory.couldEverTake(request, in: sql, at: now) else { return }
        throw Refusal(
            .unprocessable,
            directory.count == 0
                ? "no node has joined this site yet, so the instance would wait for ever"
                : "no node of this site could take flavor '\(flavor.name)' as it is asked for, even if nothing else ran there, "
                    + "so the instance would wait for ever; choose a smaller flavor, or ask for less of its node",
            fields: [.init(pointer: "/flavor", detail: "fits no node, not even an empty one")])
    }

    /// What somebody who waits is told.
    func waiting(
        _ counts: [Refusal.FilterCount], flavor: Flavor, _ group: ServerGroup?, hosts: Int, shortage: String?
    ) -> String {
        shortage.map { "waits for devices: \($0)" }
            ?? "waits for room: \(Self.standing(counts, flavor, group, hosts: hosts))"
    }

    /// Records a new instance that has no host yet.
    ///
    /// - Parameter node: is kept for it, since others yield their room there.
    func enqueueNew(
        _ instance: inout Instance, _ wish: QueuedWish, keeping node: NodeID?, reason: String, image: Image,
        flavor: Flavor
    ) throws {
        instance.statusCode = InstanceMachine.queued
        instance.statusReason = reason
        var operation = try beginOperation(.instanceCreate, ResourceReference(instance), owner: instance.owner)
        operation.note(step: "queue", reason, at: now)
        try sql.operations.update(operation)
        instance.operation = operation.id
        try sql.instances.insert(instance)
        try enter(instance, wish, reserved: node, reason: reason)
        try event(
            "instance.created", ResourceReference(instance), owner: instance.owner, detail: reason,
            data: ["flavor": flavor.name, "image": image.name], operation: operation.id,
            changes: Event.differences(from: nil, to: instance))
    }

    /// A stopped one waits until its node has what it needs to start.
    func enqueueAgain(_ instance: Instance, code: String, reason: String) throws -> Instance {
        let waiting = try request(.instanceStart, of: instance) { machine throws(Refusal) in
            try machine.wait(code, reason, at: now)
        }
        try enter(waiting, QueuedWish(), reserved: nil, reason: reason)
        return waiting
    }

    private func enter(_ instance: Instance, _ wish: QueuedWish, reserved: NodeID?, reason: String) throws {
        var entry = QueueEntry(
            instance: instance.id, priority: instance.priority, queuedAt: now, wish: wish,
            isPreemptible: instance.preemption != nil, reason: reason)
        try sql.queue.insert(entry)
        entry.reserved = reserved
        if reserved != nil { try sql.queue.reserve(reserved, for: entry) }
    }

    // MARK: Its own node

    /// What a stopped instance needs of its node to start; `nil`: nothing that it has not.
    func returning(_ instance: Instance) throws -> PlacementRequest? {
        guard let node = instance.node, instance.room == .released || !instance.devices.isEmpty else { return nil }
        let isReleased = instance.room == .released
        return PlacementRequest(
            vcpus: isReleased ? instance.vcpus : 0, ramMiB: isReleased ? instance.ramMiB : 0, diskGiB: 0, nodes: [node],
            devices: try deviceRequests(instance.devices), needsAddress: false)
    }

    /// Whether an instance that gave its room away can have it again. Devices are claimed apart.
    ///
    /// - Throws: `Refusal.noCapacity`.
    func checkRoom(for instance: Instance, on node: Node) throws {
        guard var request = try returning(instance) else { return }
        let directory = HostDirectory.of(sql)
        let keepers = try keepers(bindingPreemptible: instance.preemption != nil).filter { $0.node == node.id }
        guard !keepers.isEmpty || instance.room == .released else { return }
        try directory.keepUp(in: sql, at: now)
        heed(keepers, in: &request) { directory[$0] }
        request.devices = []
        if case .refused(let counts) = try directory.place(request, in: sql, at: now) {
            let reasons = counts.filter { $0.hosts > 0 }.map(\.filter).filter {
                $0 != Placement.Filter.requested.rawValue
            }
            throw Refusal(
                .noCapacity,
                "node '\(node.name)', which holds this instance's disk, has no room for it now "
                    + "(\(reasons.joined(separator: ", "))); start it with --queue to let it wait",
                removedBy: counts)
        }
    }

    /// Takes back the share of its node that an instance gave away; `checkRoom` found that it can.
    func takeRoom(for instance: inout Instance) throws {
        guard instance.room == .released else { return }
        try sql.instances.adjustRoom(of: instance, by: 1)
        instance.room = .held
    }

    /// What keeps a stopped instance from being started at once.
    func wantOfRoom(for instance: Instance, on node: Node) throws -> Refusal? {
        do {
            try checkRoom(for: instance, on: node)
            _ = try deviceChoice(for: instance, on: node)
            return nil
        } catch let refusal as Refusal where refusal.code == .noCapacity {
            return refusal
        }
    }

    // MARK: Who waited longer

    /// Hosts that are kept for others.
    func keepers(bindingPreemptible isPreemptible: Bool) throws -> [Keeper] {
        try sql.queue.reservations(fromPreemptible: isPreemptible).compactMap { entry in
            guard let node = entry.reserved, let instance = try sql.instances.find(entry.instance) else { return nil }
            return try queued(instance, entry.wish).map { Keeper(node: node, request: $0) }
        }
    }

    /// Keeps a request away from hosts that are kept for others whom it would delay.
    func heed(_ keepers: [Keeper], in request: inout PlacementRequest, _ host: (NodeID) -> HostSnapshot?) {
        request.reserved = []
        for keeper in keepers {
            guard let host = host(keeper.node), Placement.delays(keeper.request, on: host, by: request) else {
                continue
            }
            request.reserved.insert(keeper.node)
        }
    }

    /// What one that waits asks for now; `nil`: nothing that can be said, since what it was made from has changed.
    func queued(_ instance: Instance, _ wish: QueuedWish) throws -> PlacementRequest? {
        do { return try placementRequest(of: instance, wish) } catch is Refusal { return nil }
    }

    func placementRequest(of instance: Instance, _ wish: QueuedWish) throws -> PlacementRequest {
        if let node = instance.node {
            return try returning(instance)
                ?? PlacementRequest(vcpus: 0, ramMiB: 0, diskGiB: 0, nodes: [node], needsAddress: false)
        }
        guard let flavor = try sql.flavors.find(instance.flavor) else {
            throw Refusal.notFound("flavor", "\(instance.flavor)")
        }
        let group = try instance.serverGroup.flatMap { try sql.serverGroups.find($0) }
        var request = try placementRequest(
            flavor, try sql.images.find(instance.image), PlacementWish(availabilityZone: wish.zone), in: group)
        request.nodes = Set(wish.nodes)
        request.excluded = Set(wish.excluded)
        // What it was created with, and is counted for, whatever has become of the flavor.
        (request.vcpus, request.ramMiB, request.diskGiB) = (instance.vcpus, instance.ramMiB, instance.diskGiB)
        let cells = try requirements(of: flavor).cells(vcpus: instance.vcpus, memoryMiB: instance.ramMiB)
        request.setCells(instance.preemption == nil ? cells : nil)
        request.needsHardware = !instance.hardware.isEmpty
        request.devices = try deviceRequests(instance.devices)
        return request
    }
}
