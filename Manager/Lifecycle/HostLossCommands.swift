import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel

// Hosts that vanish: who says that one is off, and what becomes of its instances then.
extension Commands {
    /// What confirming that hosts are down would do. Changes nothing.
    public func planConfirmingDown(_ references: [String]) throws -> [NodeAction] {
        try references.map { reference in
            guard let node = try known(reference) else { return Self.unknown(reference) }
            if let objection = objection(toConfirming: node) {
                return NodeAction(node: node.name, ok: false, detail: objection)
            }
            let moving = try leaving(node)
            let staying = max(0, node.instanceCount - moving.count)
            return NodeAction(
                node: node.name, ok: true,
                detail: "would be recorded as off; \(moving.count) instances would be started anew elsewhere, "
                    + "\(staying) stay with it",
                actions: ["record node \(node.name) as off"]
                    + moving.map { "start instance \($0.id) (\($0.name)) anew elsewhere, without its disk" })
        }
    }

    /// Somebody has looked: these machines are off. What runs there all the same would run twice (P1), so nobody else may say so.
    public func confirmDown(_ references: [String], reason: String) throws -> [NodeAction] {
        try references.map { reference in
            guard let node = try known(reference) else { return Self.unknown(reference) }
            if let objection = objection(toConfirming: node) {
                return NodeAction(node: node.name, ok: false, detail: objection)
            }
            var loss = node.loss ?? HostLoss(since: node.lastSeenAt ?? now)
            if let known = loss.certainty {
                return NodeAction(node: node.name, ok: true, detail: "was known to be off: \(known.sentence)")
            }
            let effects = loss.handle(.confirmed(by: actor.name, reason: reason), at: now)
            try save(loss, effects, of: node)
            let moving = try leaving(node)
            return NodeAction(
                node: node.name, ok: true, detail: "recorded as off",
                actions: moving.map { "start instance \($0.id) (\($0.name)) anew elsewhere" })
        }
    }

    private func objection(toConfirming node: Node) -> String? {
        switch node.liveness {
        case .down: nil
        case .never: "has never been heard, so nothing of this site runs there"
        case .alive: "is alive; disable it if it is to run nothing"
        case .suspect: "was heard a moment ago; once it counts as down this can be said of it"
        }
    }

    /// Stores what a node's loss has become, and tells it.
    func save(_ loss: HostLoss, _ effects: [HostLoss.Effect], of before: Node) throws {
        var node = before
        node.loss = loss
        try sql.nodes.setLoss(loss, of: node.id)
        for effect in effects {
            switch effect {
            case .becameCertain(let certainty):
                try event(
                    "node.down_\(certainty.proof.rawValue)", ResourceReference(node), owner: nil,
                    detail: certainty.sentence, changes: Event.differences(from: before, to: node))
                try FleetReports(in: sql, at: now).noteSilence(of: node)
            case .beginFencing(let attempt):
                try event(
                    "node.fencing", ResourceReference(node), owner: nil, detail: "attempt \(attempt)")
            case .fencingFailed(let outcome):
                try event("node.fencing_failed", ResourceReference(node), owner: nil, detail: outcome)
            }
        }
    }

    // MARK: What becomes of instances

    /// Whether instances are to be started on other hosts than theirs. Costs no write, so that it can be asked every few seconds.
    public func isHostLossDue() throws -> Bool {
        try sql.nodes.lost().contains { try $0.loss?.certainty != nil && sql.instances.hasToRestart(on: $0.id) }
    }

    /// Instances that may leave a lost node, or will once it is certain that it is off.
    func leaving(_ node: Node) throws -> [Instance] {
        try sql.instances.listToRestart(on: node.id).filter { objection(toLeaving: node, $0) == nil }
    }

    /// Whether its node runs it no more and it is started elsewhere: whoever empties that node need not wait for it, nor stop it.
    func isLeaving(_ instance: Instance, _ node: Node) -> Bool {
        guard node.loss?.certainty != nil, instance.onHostLoss == .restart, instance.room == .held else { return false }
        let isToRun = instance.desired == .running || (instance.desired == .stopped && instance.stoppedByDrain)
        return isToRun && objection(toLeaving: node, instance) == nil
    }

    /// In one transaction.
    private static let mostMoves = 64

    /// Starts elsewhere what is to be, as far as there is room; the rest is tried again.
    public func advanceHostLosses() throws {
        var left = Self.mostMoves
        // Those that want the same need not be tried one after another in vain.
        var refused: [(request: PlacementRequest, reason: String)] = []
        for lost in try sql.nodes.lost() {
            guard let certainty = lost.loss?.certainty, let node = try sql.nodes.find(lost.id) else { continue }
            for instance in try sql.instances.listToRestart(on: node.id) {
                guard left > 0 else { return }
                let place: (host: Node, address: String, cells: CellRequest?)
                do {
                    place = try otherHost(for: instance, from: node, &refused)
                } catch let refusal as Refusal {
                    try wait(instance, refusal.sentence)
                    continue
                }
                // What fails from here on undoes the whole transaction.
                try move(instance, from: node, to: place.host, address: place.address, place.cells, certainty)
                left -= 1
            }
        }
    }

    private func wait(_ instance: Instance, _ reason: String) throws {
        // One that was stopped on account of its node says so still.
        guard instance.desired == .running else { return }
        var machine = InstanceMachine(instance)
        let effects = machine.waitForHost(
            "its host is lost, and it cannot be started elsewhere yet: \(reason)", at: now)
        guard !effects.isEmpty else { return }
        try perform(effects, on: machine.instance, from: instance)
    }

    /// Where an instance of a lost host goes. Writes nothing.
    ///
    /// - Throws: a `Refusal` that says why it has to wait.
    private func otherHost(
        for instance: Instance, from old: Node, _ refused: inout [(request: PlacementRequest, reason: String)]
    ) throws -> (host: Node, address: String, cells: CellRequest?) {
        if let objection = objection(toLeaving: old, instance) { throw Refusal(.conflict, objection) }
        var request = try request(toMove: instance, from: old)
        if let known = refused.first(where: { $0.request == request }) { throw Refusal(.noCapacity, known.reason) }
        let asked = request
        let directory = HostDirectory.of(sql)
        while true {
            switch try directory.place(request, in: sql, at: now) {
            case .refused(let counts):
                let refusal = noOtherHost(counts)
                if request == asked { refused.append((asked, refusal.sentence)) }
                throw refusal
            case .placed(let host):
                do {
                    return (host, try freeAddresses(on: host, directory).ip, request.cells)
                } catch let refusal as Refusal where refusal.code == .noCapacity {
                    // Guests that have not been seen to be gone there have what looked free.
                    request.excluded.insert(host.id)
                }
            }
        }
    }

    /// Why an instance has to stay although its host runs nothing now: that host might start it after a boot, before it is told
    /// that it is elsewhere (P1).
    func objection(toLeaving node: Node, _ instance: Instance) -> String? {
        guard node.inventory.heedsRestartsElsewhere == true else {
            return "the agent of node '\(node.name)' is older than this policy, and would start the instance by itself "
                + "after a boot; upgrade it once it is back"
        }
        guard !instance.isHostLossPolicyUnconfirmed else {
            return
                "node '\(node.name)' vanished before it knew of this policy, and would start the instance by itself after "
                + "a boot"
        }
        return nil
    }

    /// All that was asked for when it was created, with the size that it has.
    private func request(toMove instance: Instance, from old: Node) throws -> PlacementRequest {
        guard let flavor = try sql.flavors.find(instance.flavor) else { throw Refusal.notFound("flavor", "of it") }
        guard let image = try sql.images.find(instance.image) else { throw Refusal.notFound("image", "of it") }
        guard image.status == .active else {
            throw Refusal(
                .imageNotReady, "its image '\(image.name)' is \(image.status.rawValue), so none can be made from it")
        }
        let limits = instance.placementLimits
        // The hardware is what it has, whatever its image says by now.
        var request = try placementRequest(flavor, nil, PlacementWish(availabilityZone: limits.zone), in: nil)
        (request.architecture, request.image) = (image.properties["architecture"], image.id)
        (request.vcpus, request.ramMiB, request.diskGiB) = (instance.vcpus, instance.ramMiB, instance.diskGiB)
        request.devices = try deviceRequests(instance.devices)
        request.needsHardware = !instance.hardware.isEmpty
        let pages = request.cells?.pages
        request.setCells(instance.place.map { $0.request(instance, anySizeOfPages: pages == .large) })
        request.excluded = Set(limits.excluded)
        request.excluded.insert(old.id)
        // Where an earlier disk of it still lies, a guest would be made from that.
        request.excluded.formUnion(
            try sql.formerPlacements.list(of: instance.id).filter { !$0.isGone }.map(\.node))
        if let group = try instance.serverGroup.flatMap({ try sql.serverGroups.find($0) }) {
            try join(group, &request, for: instance, from: old)
        }
        return request
    }

    /// Its group as it will be without it and without those that leave the lost host as it does: they are nowhere now, and a group
    /// that is to stand together could otherwise never go.
    private func join(
        _ group: ServerGroup, _ request: inout PlacementRequest, for instance: Instance, from old: Node
    ) throws {
        var placement = try placement(of: group)
        let leaving = try leaving(old).count { $0.serverGroup == group.id }
        let staying = (placement.members[old.id] ?? 0) - leaving
        placement.members[old.id] = staying > 0 ? staying : nil
        request.group = placement
        if leaving > 1 { try gather(&request, count: leaving, HostDirectory.of(sql)) }
    }

    private func move(
        _ instance: Instance, from old: Node, to host: Node, address: String, _ cells: CellRequest?,
        _ certainty: HostLoss.Certainty
    ) throws {
        try failCaptures(of: instance, on: old)
        try releaseDevices(of: instance)
        var machine = InstanceMachine(instance)
        let effects = machine.startElsewhere(
            on: host.id, address: address, why: certainty.sentence, stopTimeoutSeconds: settings.stopTimeoutSeconds,
            at: now)
        var moved = machine.instance
        moved.place = nil
        try sql.instances.move(moved, from: instance, at: now)
        try claimDevices(for: moved, on: host)
        try claimPlace(cells, for: &moved)
        try wantImage(moved.image, on: host.id, operation: nil, priority: .launch)
        for effect in effects {
            switch effect {
            case .step(let name, let detail):
                guard var operation = try moved.operation.flatMap({ try sql.operations.find($0) }) else { continue }
                operation.note(step: name, detail, at: now)
                try sql.operations.update(operation)
            case .event(let kind, let detail):
                try event(
                    kind, ResourceReference(moved), owner: moved.owner, detail: detail,
                    data: ["from": old.name, "node": host.name], operation: moved.operation,
                    changes: Event.differences(from: instance, to: moved))
            case .assign, .succeed, .fail, .release: continue
            }
        }
    }

    private func failCaptures(of instance: Instance, on node: Node) throws {
        for capture in try sql.imageCaptures.list(of: instance.id) where capture.state == .copying {
            try failCapture(
                capture.image, code: "host_lost",
                sentence: "node '\(node.name)' was lost with the instance's disk before it was copied")
        }
    }

    /// Without numbers, which change all the time: it stands in the instance until there is room.
    private func noOtherHost(_ counts: [Refusal.FilterCount]) -> Refusal {
        let filters = counts.filter { $0.hosts > 0 }.map { "\($0.filter)" }.joined(separator: ", ")
        return Refusal(
            .noCapacity, "no other node can take it; what stands in the way: \(filters.isEmpty ? "no node" : filters)",
            removedBy: counts)
    }

    // MARK: Who has which policy

    /// What becomes of instances that are to be created, and what is remembered for placing them again.
    ///
    /// - Throws: `Refusal.unprocessable` where the operator pins them and they are to move.
    func hostLoss(
        of creation: InstanceCreation, _ flavor: Flavor, excluded: Set<NodeID>
    ) throws(Refusal) -> (HostLossPolicy, PlacementLimits) {
        let limits = PlacementLimits(
            zone: creation.availabilityZone, excluded: excluded.sorted(), isPinned: creation.node != nil)
        if let asked = creation.onHostLoss {
            try check(asked, against: limits)
            return (asked, limits)
        }
        let usual = FlavorProperties.read(flavor.properties).requirements.onHostLoss
        return (limits.isPinned ? .keep : usual, limits)
    }

    func check(_ policy: HostLossPolicy, against limits: PlacementLimits) throws(Refusal) {
        guard policy == .restart, limits.isPinned else { return }
        throw Refusal(
            .unprocessable,
            "an operator chose the very node of this instance, so it cannot be started on another when that is lost; use "
                + "keep, or do not choose a node",
            fields: [.init(pointer: "/on_host_loss", detail: "must be keep where the node is chosen")])
    }
}

extension FleetReports {
    /// A node counts as down: from now on it is lost, until it is heard again.
    func beginLoss(of node: inout Node) throws {
        let loss = HostLoss(since: node.lastSeenAt ?? now)
        node.loss = loss
        try sql.nodes.setLoss(loss, of: node.id)
        try noteSilence(of: node)
    }

    /// Its guests' owners are told why nothing is known of them, and what they may expect.
    func noteSilence(of node: Node) throws {
        guard let loss = node.loss else { return }
        let silence = "node '\(node.name)' has not been heard since \(loss.since)"
        let waits = loss.certainty == nil
        try sql.instances.noteSilence(
            of: node.id,
            [
                .keep: "\(silence); the instance waits for it, with its disk",
                .restart: waits
                    ? "\(silence); once it is certain that it is off the instance is started anew elsewhere"
                    : "\(silence) and is off; the instance is started anew elsewhere as soon as there is room",
            ])
    }

    func endLoss(of node: NodeID) throws {
        try sql.nodes.setLoss(nil, of: node)
        try sql.instances.endSilence(of: node)
    }

    /// What a node says of an instance that was placed elsewhere meanwhile: whether anything of it is left there.
    func observeFormer(_ observed: ObservedInstance, on node: NodeID) throws {
        guard observed.state == .deleted, let former = try sql.formerPlacements.find(observed.instance, on: node),
            !former.isGone, former.epoch == observed.epoch
        else { return }
        try sql.formerPlacements.settle(former)
        guard let instance = try sql.instances.find(observed.instance), let name = try sql.nodes.name(of: node) else {
            // Nobody will ask for what it used any more.
            try sql.formerPlacements.remove(observed.instance, from: node)
            return
        }
        try commands.event(
            "instance.former_removed", ResourceReference(instance), owner: instance.owner,
            detail: "node '\(name)', where it was, is back and has nothing left of it", data: ["node": name])
    }
}
