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

    public init(
        name: String, flavor: String, image: String, keyName: String? = nil, userData: [UInt8] = [],
        metadata: [String: String] = [:], count: Int = 1, node: String? = nil, excludedNodes: [String] = [],
        availabilityZone: String? = nil, serverGroup: String? = nil, hostName: String? = nil,
        onHostLoss: HostLossPolicy? = nil
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
    }
}

extension Commands {
    /// Places and records instances: claim, row, operation, event and image assignment in one transaction.
    ///
    /// - Throws: `Refusal` (`not_found`, `image_not_ready`, `flavor_too_small`, `quota_exceeded`, `no_capacity`).
    public func createInstances(_ creation: InstanceCreation) throws -> [Instance] {
        let (owner, flavor, image, key, group) = try parts(of: creation)
        try checkQuota(of: owner, for: .instances(max(1, creation.count), of: flavor))

        let directory = HostDirectory.of(sql)
        var request = try placementRequest(
            flavor, image,
            PlacementWish(
                nodes: creation.node.map { [$0] } ?? [], excludedNodes: creation.excludedNodes,
                availabilityZone: creation.availabilityZone), in: group)
        let hardware = try hardware(of: flavor, requirements(of: flavor), image).settings
        let (policy, limits) = try hostLoss(of: creation, flavor, excluded: request.excluded)
        if creation.count > 1 { try gather(&request, count: creation.count, directory) }

        var created: [Instance] = []
        for index in 1...max(1, creation.count) {
            switch try directory.place(request, in: sql, at: now) {
            case .refused(let counts):
                throw noCapacity(
                    counts, flavor: flavor, group, placed: created.count, wanted: creation.count,
                    hosts: directory.count, shortage: try deviceShortage(of: flavor.devices))
            case .placed(let host):
                let node = host.id
                let number = creation.count > 1 ? "-\(index)" : creation.number.map { "-\($0)" } ?? ""
                let name = creation.name + number
                let id = InstanceID.generate(at: now)
                let (ipAddress, macAddress) = try freeAddresses(on: host, directory)
                let hostName = Self.hostName(from: creation.hostName ?? creation.name, number: number, id: id)
                var instance = Instance(
                    id: id, name: name, owner: owner.id, account: owner.account, flavor: flavor, image: image.id,
                    keyName: key?.name, sshKeys: key.map { [$0.publicKey] } ?? [], userData: creation.userData,
                    metadata: creation.metadata, hostName: hostName, node: node,
                    macAddress: macAddress, ipAddress: ipAddress, serverGroup: group?.id, createdAt: now)
                instance.hardware = hardware
                let operation = try beginOperation(.instanceCreate, ResourceReference(instance), owner: owner.id)
                instance.operation = operation.id
                (instance.onHostLoss, instance.placementLimits) = (policy, limits)
                try sql.instances.insert(instance, on: host)
                try claimDevices(for: instance, on: host)
                try claimPlace(request.cells, for: &instance)
                directory.recorded(request, on: host, in: sql)
                request.group?.add(to: node)
                try wantImage(image.id, on: node, operation: nil, priority: .launch)
                try event(
                    "instance.created", ResourceReference(instance), owner: owner.id,
                    data: ["node": host.name, "flavor": flavor.name, "image": image.name], operation: operation.id,
                    changes: Event.differences(from: nil, to: instance))
                created.append(instance)
            }
        }
        return created
    }

    /// Starts a stopped instance on its node.
    public func startInstance(_ reference: String) throws -> Instance {
        let instance = try instance(reference)
        guard let node = try sql.nodes.find(instance.node) else { throw Refusal.notFound("node", "\(instance.node)") }
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
        let started = try request(.instanceStart, of: instance) { machine throws(Refusal) in
            try machine.start(timeoutSeconds: settings.stopTimeoutSeconds, at: now)
        }
        try claimDevices(for: started, on: node)
        return started
    }

    public func stopInstance(_ reference: String, force: Bool) throws -> Instance {
        let instance = try instance(reference)
        return try request(.instanceStop, of: instance, superseding: force) { machine throws(Refusal) in
            try machine.stop(force: force, timeoutSeconds: settings.stopTimeoutSeconds, at: now)
        }
    }

    public func rebootInstance(_ reference: String, force: Bool) throws -> Instance {
        let instance = try instance(reference)
        guard try sql.nodes.find(instance.node)?.enabled == true else {
            throw Refusal(.nodeDisabled, "the node of this instance is disabled; enable it first")
        }
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
    func perform(_ effects: [InstanceMachine.Effect], on instance: Instance, from old: Instance) throws {
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
        let reasons = counts.filter { $0.hosts > 0 }.map { "\($0.filter) removed \($0.hosts)" }.joined(separator: ", ")
        let what =
            wanted > 1
            ? "only \(placed) of \(wanted) instances fit, so none was created" : "no node can take this instance"
        return Refusal(
            .noCapacity,
            "\(what): flavor '\(flavor.name)' wants \(flavor.vcpus) vCPUs, \(flavor.ramMiB) MiB of RAM and \(flavor.diskGiB) GiB of disk"
                + (group.map { ", server group '\($0.name)' \($0.policy.rawValue)" } ?? "")
                + (hosts == 0 ? "; no node has joined yet" : "; of \(hosts) nodes, \(reasons)")
                + (shortage.map { "; \($0)" } ?? ""),
            removedBy: counts)
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
    }
}
