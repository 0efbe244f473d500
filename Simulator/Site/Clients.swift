import Foundation
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel
import SimulatorWorld

/// Users and operators, who want this and that, sensible or not, and ask again where no answer comes.
public final class Clients {
    /// What a request led to, as its answer says it.
    private struct Answer: Codable {
        var instances: [String] = []
        var operation: String?
    }

    private struct Request {
        let name: String
        let kind: String
        let actor: Actor
        /// Of its identifiers, so that a repetition makes the same ones.
        let seed: UInt64
        let body: (Commands, Transaction) throws -> Answer
    }

    /// The share of answers that do not arrive.
    var lostAnswers = 0.0
    private let site: Site
    private let world: World
    private var requests = 0
    private var isOver = false
    /// Instances that clients know of, by their owner's name.
    private var known: [(owner: String, instance: InstanceID)] = []
    /// Of the site's proxy: any manager that listens, whether or not it answers.
    private var manager: SimulatedManager? { world.random.pick(site.managers.compactMap(\.process)) }
    private var images = ["base"]
    /// Attempts of hosts to join again; only the last of each counts.
    private var joins: [Int: Int] = [:]
    private var watch: (any SiteWatch)?

    static let instanceLimit = 9

    init(site: Site, watch: (any SiteWatch)?) {
        self.site = site
        self.world = site.world
        self.watch = watch
    }

    func start() {
        for _ in 0..<3 { create() }
        act()
    }

    /// Nobody wants anything new from now on.
    func stop() { isOver = true }

    private func act() {
        world.after(world.random.time(.milliseconds(500)...(.seconds(9)))) {
            guard !self.isOver else { return }
            self.wantSomething()
            self.act()
        }
    }

    private func wantSomething() {
        switch world.random.below(100) {
        case 0..<22: create()
        case 22..<60: changeInstance()
        case 60..<68: disableOrEnable()
        case 68..<74: prefill()
        case 74..<79: changeImages()
        case 79..<84: replace()
        case 84..<88: rejoin()
        default: look()
        }
    }

    private var anybody: Actor { world.random.pick(site.users + [site.administrator]) ?? site.administrator }

    // MARK: Instances

    private func create() {
        let random = world.random
        let actor = anybody
        var flavor = random.chance(0.05) ? "none" : random.chance(0.8) ? "small" : "large"
        if let chance = site.deviceChance, chance.chance(0.7) { flavor = chance.pick(Site.deviceFlavors) ?? flavor }
        let image = random.chance(0.05) ? "none" : random.pick(images) ?? "base"
        let count = random.chance(0.2) ? 2 : 1
        let node = random.chance(0.15) ? random.pick(site.machines)?.name : nil
        let limit = Self.instanceLimit
        request("create", by: actor) { [site, watch] commands, sql, name in
            var filter = InstanceRepository.Filter()
            filter.includesDeleted = false
            guard try sql.instances.list(filter).count < limit else { throw Refusal(.noCapacity, "enough") }
            let disabled = try sql.nodes.list().filter { !$0.enabled }
            if site.planted == .disabledNodePlacedOn {
                try sql.spoil("UPDATE nodes SET enabled = 1")
                for node in disabled { sql.nodeChanges.changed(node.id) }
            }
            let created = try commands.createInstances(
                InstanceCreation(name: name, flavor: flavor, image: image, count: count, node: node))
            if site.planted == .disabledNodePlacedOn {
                for node in disabled {
                    try sql.spoil("UPDATE nodes SET enabled = 0 WHERE id = '\(node.id)'")
                    sql.nodeChanges.changed(node.id)
                }
            }
            if site.planted == .deviceGivenTwice {
                // Forgotten as soon as it is told to the host: the next request may be given the same.
                for instance in created where !instance.devices.isEmpty { self.forgetLater(instance.id) }
            }
            if site.planted == .limitNotCounted {
                try sql.spoil("UPDATE quota_use SET instances = 0, vcpus = 0 WHERE subject_kind = 'user'")
            }
            watch?.created(created, disabled: disabled.map(\.id))
            return Answer(
                instances: created.map { "\($0.id)" }, operation: created.first?.operation.map { "\($0)" })
        }
    }

    /// What a manager with the planted fault does with a claim.
    private func forgetLater(_ instance: InstanceID) {
        world.after(.seconds(20)) { [self] in
            manager?.write({ sql in
                try sql.spoil(
                    "UPDATE devices SET status = 'free', instance_id = NULL WHERE instance_id = '\(instance)'")
                for node in try sql.nodes.list() { sql.nodeChanges.changed(node.id) }
            }) { _ in }
        }
    }

    private func changeInstance() {
        let random = world.random
        guard let (owner, instance) = random.pick(known) else { return create() }
        // Sometimes it is not theirs.
        let actor = random.chance(0.85) ? site.users.first { $0.name == owner } ?? site.administrator : anybody
        let force = random.chance(0.25)
        let reference = "\(instance)"
        switch random.below(10) {
        case 0..<3: change("stop", actor, owner) { try $0.stopInstance(reference, force: force) }
        case 3..<6: change("start", actor, owner) { try $0.startInstance(reference) }
        case 6..<8: change("reboot", actor, owner) { try $0.rebootInstance(reference, force: force) }
        default:
            change("delete", actor, owner) { [site] commands in
                let deleted = try commands.deleteInstance(reference)
                if site.planted == .addressGivenTwice { self.freeEarly.insert(deleted.id) }
                return deleted
            }
        }
    }

    private var freeEarly: Set<InstanceID> = []

    private func change(
        _ kind: String, _ actor: Actor, _ owner: String, _ body: @escaping (Commands) throws -> Instance
    ) {
        request(kind, by: actor) { [watch] commands, sql, _ in
            let instance = try body(commands)
            for id in self.freeEarly.sorted() {
                try sql.spoil("UPDATE instances SET ip_address = NULL, mac_address = NULL WHERE id = '\(id)'")
            }
            self.freeEarly = []
            watch?.changed(instance, by: actor)
            return Answer(instances: ["\(instance.id)"], operation: instance.operation.map { "\($0)" })
        }
    }

    /// What rebuilding an instance in place will do: another placement, so another epoch.
    private func replace() {
        guard let (_, id) = world.random.pick(known) else { return }
        request("replace", by: site.administrator) { [world] _, sql, _ in
            guard var instance = try sql.instances.find(id), instance.desired == .running, instance.status == .active,
                try instance.node.flatMap({ try sql.nodes.find($0) })?.enabled == true
            else { throw Refusal(.conflict, "not now") }
            instance.epoch = instance.epoch.next
            instance.generation = instance.generation.next
            instance.powerCycle = instance.powerCycle.next
            instance.status = .building
            instance.statusReason = "placed again"
            instance.updatedAt = world.timestamp
            try sql.instances.update(instance, assigned: true)
            return Answer(instances: ["\(id)"], operation: nil)
        }
    }

    private func look() {
        let actor = anybody
        world.after(.milliseconds(2)) { [self] in
            guard let manager else { return }
            let effective = rights(of: actor)
            manager.whenAwake { [self] in
                manager.read({ sql in
                    guard let scope = effective.scope(.instanceRead) else { return [UserID]() }
                    var filter = InstanceRepository.Filter()
                    filter.scope = scope
                    return try sql.instances.list(filter).map(\.owner)
                }) { [self] result in
                    if let owners = try? result.get() { watch?.listed(owners, to: actor) }
                }
            }
        }
    }

    // MARK: Nodes and images

    private func disableOrEnable() {
        guard let name = world.random.pick(site.machines)?.name else { return }
        if world.random.chance(0.55) {
            request("enable", by: site.administrator) { commands, _, _ in
                _ = try commands.enableNodes([name, "nosuch"])
                return Answer()
            }
        } else {
            let order = DrainOrder(
                vmTimeoutSeconds: world.random.number(5...40), forceShutoff: world.random.chance(0.7), reason: "work")
            request("disable", by: site.administrator) { commands, _, _ in
                Answer(operation: "\(try commands.disableNodes([name], order).id)")
            }
        }
    }

    private func prefill() {
        guard let image = world.random.pick(images) else { return }
        let nodes = site.machines.filter { _ in world.random.chance(0.6) }.map(\.name)
        request("prefill", by: site.administrator) { commands, _, _ in
            Answer(operation: "\(try commands.prefill(image, on: nodes.isEmpty ? ["nosuch"] : nodes).id)")
        }
    }

    private func changeImages() {
        if images.count < 3, world.random.chance(0.6) {
            let name = "image\(requests)"
            let keeper = world.random.pick(site.managers) ?? site.managers[0]
            request("image", by: site.administrator) { [site] commands, sql, _ in
                try site.addImage(name, keptBy: keeper, commands, in: sql)
                return Answer()
            }
            images.append(name)
        } else if let name = world.random.pick(images) {
            request("image delete", by: site.administrator) { commands, _, _ in
                _ = try commands.deleteImage(name)
                return Answer()
            }
        }
    }

    /// Removes a node, and lets its host join again under a new identity.
    private func rejoin() {
        guard let machine = world.random.pick(site.machines) else { return }
        let old = machine.identity
        request("remove", by: site.administrator) { [site] commands, _, _ in
            let node = try commands.removeNode(machine.name)
            site.evidence.removedNodes.insert(node.id)
            return Answer()
        }
        join(machine, after: old, attempts: 6)
    }

    /// Where no answer comes, the operator looks whether the node is there, removes it, and lets the host join once more.
    private func join(_ machine: Machine, after old: Machine.Identity?, attempts: Int) {
        joins[machine.index, default: 0] += 1
        let number = joins[machine.index]
        let secret = "again \(machine.index) \(number ?? 0)"
        world.after(world.random.time(.seconds(2)...(.seconds(20)))) { [self] in
            guard machine.identity == old, joins[machine.index] == number else { return }
            world.after(.seconds(40)) { [self] in
                guard machine.identity == old, joins[machine.index] == number, attempts > 1 else { return }
                join(machine, after: old, attempts: attempts - 1)
            }
            guard let manager, !manager.isStopped, machine.isUp else { return }
            manager.write({ [self] sql -> Machine.Identity? in
                guard joins[machine.index] == number else { return nil }
                let now = manager.now.timestamp
                let commands = site.commands(site.administrator, sql, at: now)
                if let node = try sql.nodes.find(name: machine.name) {
                    // Only where it was removed.
                    guard node.id != old?.node else { return nil }
                    site.evidence.removedNodes.insert(try commands.removeNode(machine.name).id)
                }
                _ = try commands.token(secret)
                return try site.join(machine, secret, in: sql, at: now)
            }) { [self] result in
                guard let identity = try? result.get(), joins[machine.index] == number else { return }
                world.trace.note(world, "joined", identity.node.mark, 0, machine.name)
                machine.identity = identity
                site.restartAgent(machine, after: .milliseconds(500))
            }
        }
    }

    // MARK: Asking

    private func rights(of actor: Actor) -> Actor {
        guard site.planted == .userTakenForSuperuser, let user = actor.user else { return actor }
        return Actor(user: user, name: actor.name, role: .superuser)
    }

    private func request(
        _ kind: String, by actor: Actor, _ body: @escaping (Commands, Transaction, String) throws -> Answer
    ) {
        requests += 1
        let name = "r\(requests)"
        ask(
            Request(name: name, kind: kind, actor: actor, seed: world.random.next()) { try body($0, $1, name) },
            attempt: 0)
    }

    private func ask(_ request: Request, attempt: Int) {
        world.after(world.random.time(.milliseconds(1)...(.milliseconds(20)))) { [self] in
            guard let manager else { return askAgain(request, attempt) }
            var isAnswered = false
            func answer(_ result: Result<Answer, any Error>) {
                guard !isAnswered else { return }
                isAnswered = true
                // Otherwise the client waits in vain, and asks again below.
                if !self.world.random.chance(self.lostAnswers) { self.answered(request, result, attempt) }
            }
            manager.whenAwake { [self] in
                if site.planted == .acknowledgementBeforeCommit {
                    var early: Result<Answer, any Error> = .failure(Refusal(.busy, ""))
                    try? site.store.abandon(by: manager.door.writer) { [self] sql in
                        early = Result { try perform(request, by: manager, in: sql) }
                    }
                    answer(early)
                }
                manager.write({ [self] in try perform(request, by: manager, in: $0) }) { answer($0) }
            }
            world.after(.seconds(12)) { if !isAnswered { isAnswered = true; self.askAgain(request, attempt) } }
        }
    }

    /// As the API's door does it: a repetition gets the answer of the first time.
    private func perform(_ request: Request, by manager: SimulatedManager, in sql: Transaction) throws -> Answer {
        let now = manager.now.timestamp
        let identifiers = Randomness(seed: request.seed)
        return try SimulatedRandomness.$source.withValue(SimulatedRandomness.Source { identifiers.next() }) {
            guard let user = request.actor.user else { throw Refusal(.forbidden, "nobody") }
            let digest = try ContentDigest(bytes: [UInt8](repeating: 1, count: 32)).orThrow()
            if site.planted != .retryNotIdempotent, let kept = try sql.idempotency.find(user: user, key: request.name) {
                return try JSONDecoder().decode(Answer.self, from: Data(kept.body))
            }
            let answer = try request.body(site.commands(rights(of: request.actor), sql, at: now), sql)
            if site.planted != .retryNotIdempotent {
                try sql.idempotency.insert(
                    .init(
                        requestDigest: digest, status: 202, headers: [:],
                        body: Array(try JSONEncoder().encode(answer))),
                    user: user, key: request.name, at: now)
            }
            return answer
        }
    }

    private func askAgain(_ request: Request, _ attempt: Int) {
        guard attempt < 3 else { return }
        world.after(world.random.time(.seconds(1)...(.seconds(5)))) { self.ask(request, attempt: attempt + 1) }
    }

    private func answered(_ request: Request, _ result: Result<Answer, any Error>, _ attempt: Int) {
        switch result {
        case .success(let answer):
            let instances = answer.instances.compactMap { InstanceID($0) }
            world.trace.note(
                world, "accepted", UInt64(instances.count), instances.first?.mark ?? 0,
                "\(request.kind) \(request.name) of \(request.actor.name): \(instances.map(\.short))")
            site.evidence.acknowledgements.append(
                Evidence.Acknowledgement(
                    at: world.now, request: request.name, kind: request.kind, instances: instances,
                    operation: answer.operation.flatMap { OperationID($0) }))
            if request.kind == "create" { known += instances.map { (request.actor.name, $0) } }
            if known.count > 40 { known.removeFirst(known.count - 40) }
        case .failure(let refusal as Refusal):
            world.trace.note(
                world, "refused", UInt64(request.kind.utf8.count), 0,
                "\(request.kind) \(request.name) of \(request.actor.name): \(refusal)")
        case .failure: askAgain(request, attempt)
        }
    }
}

extension Optional {
    fileprivate func orThrow() throws -> Wrapped {
        guard let self else { throw Refusal(.invalidRequest, "nothing") }
        return self
    }
}
