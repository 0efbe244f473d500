import ManagerModel
public import ManagerPlacement
import ManagerStore
import ProtocolModel

extension Commands {
    /// How many of those that wait are looked at in one pass; those behind them come later anyway.
    static let queueDepth = 512

    /// Places those that wait, as far as there is room. To be called every second or so while any waits: each pass is a
    /// transaction, with the claims in it like any other.
    public func advanceQueue(rules: PlacementQueue.Rules = .init()) throws {
        var entries = try sql.queue.list(limit: Self.queueDepth)
        if entries.count == Self.queueDepth {
            // Those further behind for whom a host is kept are not to keep it in vain.
            let known = Set(entries.map(\.instance))
            entries += try sql.queue.reservations(fromPreemptible: true).filter { !known.contains($0.instance) }
        }
        guard !entries.isEmpty else { return }
        var pass = QueuePass(self, try HostDirectory.ready(sql, at: now))
        let waiting = try entries.compactMap { try pass.take($0) }
        var queue = PlacementQueue(waiting, beingLeft: try pass.beingLeft(), rules: rules, at: now)
        var effects = queue.handle(.began)[...]
        while let effect = effects.popFirst() {
            if let event = try pass.carryOut(effect) { effects += queue.handle(event) }
        }
    }
}

/// Carries out what `PlacementQueue` decides, in one transaction.
private struct QueuePass {
    private let commands: Commands
    private let directory: HostDirectory
    private var entries: [InstanceID: QueueEntry] = [:]
    private var instances: [InstanceID: Instance] = [:]
    private var requests: [Shape: PlacementRequest] = [:]
    private var shapes: [Shape: Int] = [:]

    /// What decides what is asked for.
    private struct Shape: Hashable {
        var flavor: FlavorID
        var image: ImageID
        var wish: QueuedWish
        var group: ServerGroupID?
        var node: NodeID?
        var room: InstanceRoom
        var amounts: [Int]
        var devices: [FlavorRequirements.Devices]

        init(_ instance: Instance, _ wish: QueuedWish) {
            (flavor, image, self.wish, group) = (instance.flavor, instance.image, wish, instance.serverGroup)
            (node, room, devices) = (instance.node, instance.room, instance.devices)
            amounts = [instance.vcpus, instance.ramMiB, instance.diskGiB]
        }
    }

    private var sql: Transaction { commands.sql }

    init(_ commands: Commands, _ directory: HostDirectory) {
        self.commands = commands
        self.directory = directory
    }

    mutating func take(_ entry: QueueEntry) throws -> PlacementQueue.Waiting? {
        guard let instance = try sql.instances.find(entry.instance), instance.isWaiting else {
            try sql.queue.remove(entry.instance)
            return nil
        }
        entries[entry.instance] = entry
        instances[entry.instance] = instance
        var waiting = PlacementQueue.Waiting(
            instance: entry.instance, queuedAt: entry.queuedAt, overtaken: entry.overtaken, reserved: entry.reserved,
            isPreemptible: entry.isPreemptible, shape: shapes.count)
        let shape = Shape(instance, entry.wish)
        if let known = shapes[shape] { waiting.shape = known } else { shapes[shape] = shapes.count }
        do {
            if requests[shape] == nil { requests[shape] = try commands.placementRequest(of: instance, entry.wish) }
        } catch let refusal as Refusal {
            waiting.isBlocked = true
            try say(refusal.sentence, of: entry)
        }
        return waiting
    }

    /// Nodes in service on which room, or a device, is on its way.
    func beingLeft() throws -> Set<NodeID> {
        try sql.instances.nodesBeingLeft().union(sql.devices.nodesMakingReady()).filter { node in
            directory[node].map { $0.enabled && $0.alive } ?? false
        }
    }

    mutating func carryOut(_ effect: PlacementQueue.Effect) throws -> PlacementQueue.Event? {
        switch effect {
        case .place(let id, let keepers): return try place(id, keepers) ? .placed(id) : .noRoom(id)
        case .makeRoom(let id, let avoiding):
            guard let entry = entries[id], var request = try request(of: id) else { return .makingRoom(id, on: nil) }
            request.reserved = []
            let plan = try commands.makeRoom(for: request, avoiding: avoiding, directory)
            if let plan { try say(Commands.sentence(about: plan, commands.settings), of: entry) }
            return .makingRoom(id, on: plan?.node)
        case .findHost(let id, let kept, let avoiding, let isSettled):
            let node = try request(of: id).flatMap {
                directory.hostToKeep(for: $0, keeping: kept, avoiding: avoiding, isSettled: isSettled)
            }
            return .found(id, node)
        case .keep(let id, let node):
            if let entry = entries[id] { try sql.queue.reserve(node, for: entry) }
            return nil
        case .overtaken(let id):
            if let entry = entries[id] { try sql.queue.overtake(entry) }
            return nil
        }
    }

    /// What one asks for now. Who is in a group changes within a pass.
    private func request(of id: InstanceID) throws -> PlacementRequest? {
        guard let instance = instances[id], let entry = entries[id] else { return nil }
        guard instance.serverGroup == nil else { return try commands.queued(instance, entry.wish) }
        return requests[Shape(instance, entry.wish)]
    }

    private mutating func place(_ id: InstanceID, _ keepers: [NodeID: InstanceID]) throws -> Bool {
        guard let instance = instances[id], let entry = entries[id], var request = try request(of: id) else {
            return false
        }
        let others = try keepers.compactMap { node, keeper in
            try self.request(of: keeper).map { Commands.Keeper(node: node, request: $0) }
        }
        commands.heed(others, in: &request) { directory[$0] }
        switch try directory.place(request, in: sql, at: commands.now) {
        case .refused(let counts):
            try explain(counts, instance, entry)
            return false
        case .placed(let host):
            if instance.node != nil { return try restart(instance, on: host) }
            return try start(instance, on: host, request)
        }
    }

    /// The first of an instance's placements.
    private func start(_ before: Instance, on host: Node, _ request: PlacementRequest) throws -> Bool {
        var instance = before
        do {
            (instance.ipAddress, instance.macAddress) = try commands.freeAddresses(on: host, directory)
        } catch let refusal as Refusal where refusal.code == .noCapacity {
            return false
        }
        instance.node = host.id
        instance.statusCode = "accepted"
        instance.statusReason = "waiting for the node to begin"
        instance.updatedAt = commands.now
        try sql.queue.remove(instance.id)
        try sql.instances.place(instance, on: host)
        try commands.claimDevices(for: instance, on: host)
        try commands.claimPlace(request.cells, for: &instance)
        directory.recorded(request, on: host, in: sql)
        try commands.wantImage(instance.image, on: host.id, operation: nil, priority: .launch)
        if var operation = try instance.operation.flatMap({ try sql.operations.find($0) }) {
            operation.note(step: "placed", "placed on node \(host.name)", at: commands.now)
            try sql.operations.update(operation)
        }
        try commands.event(
            "instance.placed", ResourceReference(instance), owner: instance.owner, detail: "after waiting in the queue",
            data: ["node": host.name], operation: instance.operation,
            changes: Event.differences(from: before, to: instance))
        return true
    }

    /// On the node that has its disk.
    private func restart(_ before: Instance, on host: Node) throws -> Bool {
        var instance = before
        do {
            try commands.claimDevices(for: instance, on: host)
        } catch let refusal as Refusal where refusal.code == .noCapacity {
            return false
        }
        try commands.takeRoom(for: &instance)
        var machine = InstanceMachine(instance)
        let effects = try machine.start(timeoutSeconds: commands.settings.stopTimeoutSeconds, at: commands.now)
        try commands.perform(effects, on: machine.instance, from: before)
        return true
    }

    private func explain(_ counts: [Refusal.FilterCount], _ instance: Instance, _ entry: QueueEntry) throws {
        guard commands.now - entry.reasonAt >= Self.reasonInterval, instance.node == nil,
            let flavor = try sql.flavors.find(instance.flavor)
        else { return }
        let group = try instance.serverGroup.flatMap { try sql.serverGroups.find($0) }
        try say(
            commands.waiting(
                counts, flavor: flavor, group, hosts: directory.count,
                shortage: try commands.deviceShortage(of: instance.devices)), of: entry)
    }

    private func say(_ reason: String, of entry: QueueEntry) throws {
        guard reason != entry.reason else { return }
        try sql.queue.setReason(reason, of: entry.instance, at: commands.now)
    }

    /// What somebody waits for is told anew so often.
    private static let reasonInterval = Duration.seconds(60)
}
