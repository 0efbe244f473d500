public import ManagerModel
import ManagerStore
import ManagerPlacement
import ProtocolModel

/// What a caller asks for when creating instances. Lengths and forms were checked at the door.
public struct InstanceCreation: Sendable, Equatable {
    public var name: String
    public var flavor: String
    public var image: String
    public var keyName: String?
    public var userData: [UInt8]
    public var metadata: [String: String]
    /// More than one: named `NAME-1` to `NAME-N`, all or none (CTL-10).
    public var count: Int
    /// Behind the name of one alone, which is one of many that were asked for apart.
    var number: Int?
    /// The operator's choice of a host.
    public var node: String?
    /// Hosts that the operator leaves out.
    public var excludedNodes: [String]
    public var availabilityZone: String?
    /// One of the owner's.
    public var serverGroup: String?
    public var hostName: String?
    /// `nil`: as its flavor says.
    public var onHostLoss: HostLossPolicy?
    /// What finds no room now waits for it, rather than being refused.
    public var queues: Bool
    public var priority: Int
    /// What becomes of it when another needs its room; `nil`: it never yields.
    public var preemption: Preemption?
    /// Whether others may be asked to yield their room to it.
    var mayPreempt = true

    public init(
        name: String, flavor: String, image: String, keyName: String? = nil, userData: [UInt8] = [],
        metadata: [String: String] = [:], count: Int = 1, node: String? = nil, excludedNodes: [String] = [],
        availabilityZone: String? = nil, serverGroup: String? = nil, hostName: String? = nil, queues: Bool = false,
        priority: Int = 0, preemption: Preemption? = nil, onHostLoss: HostLossPolicy? = nil
    ) {
        self.name = name
        self.flavor = flavor
        self.image = image
        self.keyName = keyName
        self.userData = userData
        self.metadata = metadata
        self.count = count
        self.node = node
        self.excludedNodes = excludedNodes
        self.availabilityZone = availabilityZone
        self.serverGroup = serverGroup
        self.hostName = hostName
        self.onHostLoss = onHostLoss
        self.queues = queues
        self.priority = priority
        self.preemption = preemption
    }
}

extension Commands {
    /// Places and records instances: claim, row, operation, event and image assignment in one transaction. What finds no room
    /// waits in the queue where that was asked for, or where others yield their room to it; else all are refused.
    ///
    /// - Throws: `Refusal` (`not_found`, `image_not_ready`, `flavor_too_small`, `quota_exceeded`, `no_capacity`, and
    ///   `unprocessable` where one that is to wait would wait for ever).
    public func createInstances(_ creation: InstanceCreation) throws -> [Instance] {
        let parts = try parts(of: creation)
        try checkQuota(of: parts.owner, for: .instances(max(1, creation.count), of: parts.flavor))

        let directory = HostDirectory.of(sql)
        var request = try placementRequest(
            parts.flavor, parts.image,
            PlacementWish(
                nodes: creation.node.map { [$0] } ?? [], excludedNodes: creation.excludedNodes,
                availabilityZone: creation.availabilityZone), in: parts.group)
        if creation.queues { try checkIsPossible(request, parts.flavor, directory) }
        let wish = QueuedWish(
            nodes: request.nodes.sorted(), excluded: request.excluded.sorted(), zone: request.zone)
        try check(creation.preemption, with: request.cells)
        let hardware = try hardware(of: parts.flavor, requirements(of: parts.flavor), parts.image).settings
        let (policy, limits) = try hostLoss(of: creation, parts.flavor, excluded: request.excluded)
        if creation.count > 1 { try gather(&request, count: creation.count, directory) }
        let keepers = try keepers(bindingPreemptible: creation.preemption != nil)
        if !keepers.isEmpty { try directory.keepUp(in: sql, at: now) }

        var created: [Instance] = []
        var promised: [NodeID: YieldPromise] = [:]
        var full: Offer?
        for index in 1...max(1, creation.count) {
            let number = creation.count > 1 ? "-\(index)" : creation.number.map { "-\($0)" } ?? ""
            var instance = blank(creation, parts, number: number)
            instance.hardware = hardware
            (instance.onHostLoss, instance.placementLimits) = (policy, limits)
            heed(keepers, in: &request) { directory[$0] }
            // Where there was no room for one, there is none for its like.
            switch try full ?? offer(request, creation, avoiding: Set(keepers.map(\.node)), promised, directory) {
            case .room(let host):
                try put(&instance, on: host, request, image: parts.image, flavor: parts.flavor, directory)
                request.group?.add(to: host.id)
            case .yielding(let plan):
                // The first of a request keeps the host for all of them that are to be there.
                try enqueueNew(
                    &instance, wish, keeping: promised[plan.node] == nil ? plan.node : nil,
                    reason: Self.sentence(about: plan, settings), image: parts.image, flavor: parts.flavor)
                promised[plan.node, default: YieldPromise()].leaving += plan.yielders
                promised[plan.node]?.coming.append(request)
                request.group?.add(to: plan.node)
            case .none(let counts):
                let shortage = try deviceShortage(of: parts.flavor.devices)
                guard creation.queues else {
                    throw noCapacity(
                        counts, flavor: parts.flavor, parts.group, placed: created.count, wanted: creation.count,
                        hosts: directory.count, shortage: shortage)
                }
                full = Offer.none(counts)
                try enqueueNew(
                    &instance, wish, keeping: nil,
                    reason: waiting(
                        counts, flavor: parts.flavor, parts.group, hosts: directory.count, shortage: shortage),
                    image: parts.image, flavor: parts.flavor)
            }
            created.append(instance)
        }
        return created
    }

    /// What has processors or memory of its own gives them to nobody else for a while.
    private func check(_ preemption: Preemption?, with cells: CellRequest?) throws(Refusal) {
        guard preemption != nil, cells != nil else { return }
        throw Refusal(
            .unprocessable,
            "a preemptible instance cannot have processors of its own, NUMA nodes or huge pages, as its flavor asks for; "
                + "choose another flavor, or leave preemptible out",
            fields: [.init(pointer: "/preemptible", detail: "cannot be together with this flavor")])
    }

    /// What there is for a request now.
    private enum Offer {
        case room(Node)
        /// Once they have left.
        case yielding(YieldPlan)
        case none([Refusal.FilterCount])
    }

    private func offer(
        _ request: PlacementRequest, _ creation: InstanceCreation, avoiding: Set<NodeID>,
        _ promised: [NodeID: YieldPromise], _ directory: HostDirectory
    ) throws -> Offer {
        switch try directory.place(request, in: sql, at: now) {
        case .placed(let host): return .room(host)
        case .refused(let counts):
            guard creation.preemption == nil, creation.mayPreempt,
                let plan = try makeRoom(for: request, avoiding: avoiding, promised: promised, directory)
            else { return .none(counts) }
            // Who has no guest has given its share already.
            if plan.guests == 0, case .placed(let host) = try directory.place(request, in: sql, at: now) {
                return .room(host)
            }
            return .yielding(plan)
        }
    }

    /// The instance as it is before it has a host.
    private func blank(
        _ creation: InstanceCreation,
        _ parts: (owner: User, flavor: Flavor, image: Image, key: KeyPair?, group: ServerGroup?), number: String
    ) -> Instance {
        let id = InstanceID.generate(at: now)
        return Instance(
            id: id, name: creation.name + number, owner: parts.owner.id, account: parts.owner.account,
            flavor: parts.flavor, image: parts.image.id, keyName: parts.key?.name,
            sshKeys: parts.key.map { [$0.publicKey] } ?? [], userData: creation.userData, metadata: creation.metadata,
            hostName: Self.hostName(from: creation.hostName ?? creation.name, number: number, id: id), node: nil,
            macAddress: nil, ipAddress: nil, serverGroup: parts.group?.id, priority: creation.priority,
            preemption: creation.preemption, createdAt: now)
    }

    /// Records a new instance on the host that was chosen for it.
    private func put(
        _ instance: inout Instance, on host: Node, _ request: PlacementRequest, image: Image, flavor: Flavor,
        _ directory: HostDirectory
    ) throws {
        instance.node = host.id
        let (ipAddress, macAddress) = try freeAddresses(on: host, directory)
        instance.ipAddress = ipAddress
        instance.macAddress = macAddress
        let operation = try beginOperation(.instanceCreate, ResourceReference(instance), owner: instance.owner)
        instance.operation = operation.id
        try sql.instances.insert(instance, on: host)
        try claimDevices(for: instance, on: host)
        try claimPlace(request.cells, for: &instance)
        directory.recorded(request, on: host, in: sql)
        try wantImage(image.id, on: host.id, operation: nil, priority: .launch)
        try event(
            "instance.created", ResourceReference(instance), owner: instance.owner,
            data: ["node": host.name, "flavor": flavor.name, "image": image.name], operation: operation.id,
            changes: Event.differences(from: nil, to: instance))
    }

    /// Starts a stopped instance on its node.
    ///
    /// - Parameter queues: where its node lacks what it needs, it waits for that, rather than being refused.
    public func startInstance(_ reference: String, queues: Bool = false) throws -> Instance {
        var instance = try instance(reference)
        guard !instance.isWaiting, let place = instance.node else {
            throw Refusal(
                .conflict, "instance '\(instance.name)' waits in the queue already, and starts by itself",
                operation: instance.operation)
        }
        guard let node = try sql.nodes.find(place) else { throw Refusal.notFound("node", "\(place)") }
        // Its node runs nothing any more: it is started elsewhere as there is room.
        if instance.desired == .stopped, instance.room == .held, node.loss?.certainty != nil,
            instance.onHostLoss == .restart, objection(toLeaving: node, instance) == nil
        {
            return try request(.instanceStart, of: instance) { machine throws(Refusal) in
                try machine.start(timeoutSeconds: settings.stopTimeoutSeconds, at: now)
            }
        }
        if let host = node.hostHold {
            throw Refusal(
                .nodeDisabled,
                "node '\(node.name)', which holds this instance's disk, was taken back by its host's own operator "
                    + "(\(host.sentence)); the instance can be started once the host is given back")
        }
        guard node.enabled else {
            throw Refusal(
                .nodeDisabled, "node '\(node.name)', which holds this instance's disk, is disabled; enable it first")
        }
        try checkHardware(of: instance, isHeededBy: node)
        if queues, instance.desired == .stopped, let want = try wantOfRoom(for: instance, on: node) {
            return try enqueueAgain(instance, code: InstanceMachine.queued, reason: want.sentence)
        }
        if instance.desired == .stopped {
            try checkRoom(for: instance, on: node)
            try takeRoom(for: &instance)
            try renewPlace(of: &instance, on: node)
        }
        let started = try request(.instanceStart, of: instance) { machine throws(Refusal) in
            try machine.start(timeoutSeconds: settings.stopTimeoutSeconds, at: now)
        }
        try claimDevices(for: started, on: node)
        return started
    }

    public func stopInstance(_ reference: String, force: Bool) throws -> Instance {
        let instance = try instance(reference)
        if instance.isWaiting {
            return try request(.instanceStop, of: instance, superseding: true) { machine throws(Refusal) in
                try machine.leaveQueue(at: now)
            }
        }
        return try request(.instanceStop, of: instance, superseding: force) { machine throws(Refusal) in
            let effects = try machine.stop(force: force, timeoutSeconds: settings.stopTimeoutSeconds, at: now)
            // Who wants it stopped wants it to stay so.
            if machine.instance.room == .yielding { machine.instance.room = .leaving }
            return effects
        }
    }

    public func rebootInstance(_ reference: String, force: Bool) throws -> Instance {
        let instance = try instance(reference)
        let node = try instance.node.flatMap { try sql.nodes.find($0) }
        guard instance.isWaiting || node?.enabled == true else {
            throw Refusal(.nodeDisabled, "the node of this instance is disabled; enable it first")
        }
        if !instance.isWaiting, let node { try checkHardware(of: instance, isHeededBy: node) }
        return try request(.instanceReboot, of: instance) { machine throws(Refusal) in
            try machine.reboot(force: force, timeoutSeconds: settings.stopTimeoutSeconds, at: now)
        }
    }

    /// Deletes whatever the instance is doing: a running operation of it ends as superseded.
    public func deleteInstance(_ reference: String) throws -> Instance {
        let found = try instance(reference)
        // Asked again, perhaps for want of the first answer: what was begun is what was asked for.
        if found.desired == .deleted { return found }
        try endCaptures(of: found.id)
        if found.node == nil {
            return try request(.instanceDelete, of: found, superseding: true) { machine throws(Refusal) in
                machine.discard(at: now)
            }
        }
        return try request(.instanceDelete, of: found, superseding: true) { machine throws(Refusal) in
            try machine.delete(at: now)
        }
    }

    public func updateInstance(
        _ reference: String, name: String?, metadata: [String: String]?, onHostLoss: HostLossPolicy? = nil
    ) throws -> Instance {
        var instance = try instance(reference)
        guard instance.desired != .deleted else { throw Refusal.notFound("instance", reference) }
        let before = instance
        if let name { instance.name = name }
        if let metadata { instance.metadata = metadata }
        instance.updatedAt = now
        if let onHostLoss, onHostLoss != instance.onHostLoss {
            try check(onHostLoss, against: instance.placementLimits)
            var machine = InstanceMachine(instance)
            machine.change(onHostLoss: onHostLoss, at: now)
            instance = machine.instance
            try sql.instances.updateHostLoss(instance)
        }
        try sql.instances.update(
            instance, assigned: metadata != nil || instance.onHostLoss != before.onHostLoss)
        if instance.onHostLoss != before.onHostLoss, let node = try instance.node.flatMap({ try sql.nodes.find($0) }),
            node.loss != nil
        {
            // What it waits for is another matter now.
            try FleetReports(in: sql, at: now).noteSilence(of: node)
        }
        try event(
            "instance.updated", ResourceReference(instance), owner: instance.owner,
            changes: Event.differences(from: before, to: instance))
        return instance
    }

    // MARK: How

    func request(
        _ kind: Operation.Kind, of instance: Instance, superseding: Bool = false,
        _ change: (inout InstanceMachine) throws(Refusal) -> [InstanceMachine.Effect]
    ) throws -> Instance {
        let running = try instance.operation.flatMap { try sql.operations.find($0) }.flatMap {
            $0.status == .running ? $0 : nil
        }
        if let running, !superseding { throw conflict(with: running, on: "instance '\(instance.name)'") }
        var machine = InstanceMachine(instance)
        let effects = try change(&machine)
        if var running {
            running.finish(errorCode: "superseded", detail: "a later \(kind.rawValue) took its place", at: now)
            try sql.operations.update(running)
        }
        machine.instance.operation = try beginOperation(kind, ResourceReference(instance), owner: instance.owner).id
        try perform(effects, on: machine.instance, from: instance)
        return machine.instance
    }

    /// Stores an instance that was `old` and carries out what the machine asked for. What people can see of it has changed
    /// only where an event says so.
    func perform(_ effects: [InstanceMachine.Effect], on result: Instance, from old: Instance) throws {
        var instance = result
        let returns = instance.room == .yielding && instance.status == .stopped
        if instance.status == .stopped && instance.room.isBeingLeft {
            try sql.instances.adjustRoom(of: instance, by: -1)
            instance.room = .released
        }
        if old.isWaiting && !instance.isWaiting { try sql.queue.remove(instance.id) }
        if effects.contains(.release) {
            try sql.instances.finishDeletion(instance)
        } else if effects.contains(.assign) || !instance.isStateOnly(of: old) {
            try sql.instances.update(instance, assigned: effects.contains(.assign))
        } else {
            try sql.instances.updateState(instance)
        }
        if instance.status == .stopped || effects.contains(.release) { try releaseDevices(of: instance) }
        var operation = try instance.operation.flatMap { try sql.operations.find($0) }
        let before = operation
        var isTold = old.status == instance.status
        for effect in effects {
            switch effect {
            case .assign, .release: break
            case .succeed: operation?.finish(at: now)
            case .fail(let code, let sentence): operation?.finish(errorCode: code, detail: sentence, at: now)
            case .step(let name, let detail): operation?.note(step: name, detail, at: now)
            case .event(let kind, let detail):
                isTold = true
                try changed(instance, from: old, kind, detail: detail)
            }
        }
        if !isTold {
            try changed(
                instance, from: old, "instance.\(instance.status.rawValue.lowercased())", detail: instance.statusReason)
        }
        if let operation, operation != before { try sql.operations.update(operation) }
        if returns {
            _ = try enqueueAgain(instance, code: InstanceMachine.preempted, reason: instance.statusReason)
        }
    }

    private func changed(_ instance: Instance, from old: Instance, _ kind: String, detail: String) throws {
        try event(
            kind, ResourceReference(instance), owner: instance.owner, detail: detail, operation: instance.operation,
            changes: Event.differences(from: old, to: instance))
    }

    /// What an instance is made of, checked as far as that needs no host.
    func parts(
        of creation: InstanceCreation
    ) throws -> (owner: User, flavor: Flavor, image: Image, key: KeyPair?, group: ServerGroup?) {
        guard let owner = try actor.user.flatMap({ try sql.users.find($0) }) else {
            throw Refusal(.forbidden, "only a user of this site can own instances")
        }
        let flavor = try flavor(creation.flavor)
        let image = try image(creation.image)
        try check(image, fits: flavor)
        let key = try creation.keyName.map { try keyPair($0) }
        let group = try creation.serverGroup.map { try serverGroup($0, forInstancesOf: owner) }
        return (owner, flavor, image, key, group)
    }

    private func check(_ image: Image, fits flavor: Flavor) throws {
        guard try isUsable(image), let size = image.sizeBytes else { throw try notReady(image) }
        let neededGiB = max(image.minDiskGiB, Int((size + (1 << 30) - 1) >> 30))
        guard flavor.diskGiB >= neededGiB else {
            throw Refusal(
                .flavorTooSmall,
                "image '\(image.name)' needs a disk of \(neededGiB) GiB, flavor '\(flavor.name)' has \(flavor.diskGiB) GiB"
            )
        }
        guard flavor.ramMiB >= image.minRAMMiB else {
            throw Refusal(
                .flavorTooSmall,
                "image '\(image.name)' needs \(image.minRAMMiB) MiB of RAM, flavor '\(flavor.name)' has \(flavor.ramMiB) MiB"
            )
        }
    }

    /// The first of a group with affinity decides where the others go: of several at once it goes where there is room for all,
    /// if there is such a host.
    func gather(_ request: inout PlacementRequest, count: Int, _ directory: HostDirectory) throws {
        guard let group = request.group, group.policy == .affinity, group.members.isEmpty,
            case .placed(let host) = try directory.place(request.together(count), in: sql, at: now)
        else { return }
        request.nodes = [host.id]
    }

    func noCapacity(
        _ counts: [Refusal.FilterCount], flavor: Flavor, _ group: ServerGroup?, placed: Int, wanted: Int, hosts: Int,
        shortage: String?
    ) -> Refusal {
        let what =
            wanted > 1
            ? "only \(placed) of \(wanted) instances fit, so none was created" : "no node can take this instance"
        return Refusal(
            .noCapacity,
            "\(what): \(Self.standing(counts, flavor, group, hosts: hosts))" + (shortage.map { "; \($0)" } ?? ""),
            removedBy: counts)
    }

    /// What is wanted, and how many hosts each filter removed.
    static func standing(
        _ counts: [Refusal.FilterCount], _ flavor: Flavor, _ group: ServerGroup?, hosts: Int
    ) -> String {
        let reasons = counts.filter { $0.hosts > 0 }.map { "\($0.filter) removed \($0.hosts)" }.joined(separator: ", ")
        return
            "flavor '\(flavor.name)' wants \(flavor.vcpus) vCPUs, \(flavor.ramMiB) MiB of RAM and \(flavor.diskGiB) GiB of disk"
            + (group.map { ", server group '\($0.name)' \($0.policy.rawValue)" } ?? "")
            + (hosts == 0 ? "; no node has joined yet" : "; of \(hosts) nodes, \(reasons)")
    }

    /// Addresses that no other instance has. The indexes on the columns refuse a second owner (P3).
    func freeAddresses(on node: Node, _ directory: HostDirectory) throws -> (ip: String, mac: String) {
        guard let (address, isCardFree) = try directory.takeAddress(on: node, in: sql) else {
            throw Refusal(.noCapacity, "node '\(node.name)' has no free guest address")
        }
        var attempt = isCardFree ? 0 : 1
        while true {
            let card = CardAddress.derived(node: node.id, address: address, attempt: attempt)
            if try attempt == 0 || !sql.instances.hasMACAddress(card) { return (address, card) }
            attempt += 1
        }
    }

    /// A host name from an instance's name (RFC 1123 §2.1), cut so that its number among several stays; where nothing is
    /// left of it, `vm-` and seven characters of the ID's random end (CTL-44, CTL-45).
    static func hostName(from name: String, number: String = "", id: InstanceID) -> String {
        let allowed = name.lowercased().utf8.map { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): byte
            default: UInt8(ascii: "-")
            }
        }
        let hyphen = UInt8(ascii: "-")
        let cut = allowed.drop { $0 == hyphen }.prefix(63 - number.utf8.count)
        let end = cut.lastIndex { $0 != hyphen }.map { $0 + 1 } ?? cut.startIndex
        let trimmed = String(decoding: cut[..<end], as: UTF8.self)
        return (trimmed.isEmpty ? "vm-\(id.description.suffix(7))" : trimmed) + number
    }
}

extension Instance {
    /// Whether it differs from `old` in nothing but its state.
    fileprivate func isStateOnly(of old: Instance) -> Bool {
        name == old.name && metadata == old.metadata && macAddress == old.macAddress && ipAddress == old.ipAddress
            && room == old.room
    }
}
