import Foundation
import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization
import Testing
import TestsSupportStore

@testable import ManagerLifecycle

/// A manager's record of its own: users `root` (superuser), `ann` and `bob`, hosts `cn1` and on, a flavor, an
/// image, and a clock that only the test moves.
final class TestRecord: Sendable {
    let store: Store
    let root: Actor
    let ann: Actor
    let bob: Actor
    let flavor: Flavor
    let image: Image
    private let place: StorePlace
    private let clock = Mutex(Timestamp(milliseconds: 1_790_000_000_000))

    /// Each host takes four instances of the flavor: 16 vCPUs after overcommit, 8 GiB of RAM, 100 GiB of disk.
    init(hosts: Int = 2, engine: StoreEngine = StorePlace.engine) async throws {
        place = try StorePlace(engine)
        store = try Store(place.location)
        let now = clock.withLock { $0 }
        let users = [("root", Role.superuser), ("ann", .user), ("bob", .user)].map { name, role in
            User(
                id: .generate(at: now), name: name, role: role, account: "default", email: nil, passwordHash: "",
                tokensValidAfter: now, createdAt: now)
        }
        (root, ann, bob) = (users[0].acting, users[1].acting, users[2].acting)
        let flavor = Flavor(
            id: .generate(at: now), name: "small", vcpus: 4, ramMiB: 2048, diskGiB: 10, createdAt: now)
        var image = Image(
            id: .generate(at: now), name: "debian", owner: users[0].id, visibility: .public, status: .active,
            sizeBytes: 2 << 30, createdAt: now, updatedAt: now)
        image.manifestDigest = ContentDigest(bytes: Array(repeating: 7, count: 32))
        self.flavor = flavor
        self.image = image
        let recorded = image
        try await store.write { sql in
            for user in users { try sql.users.insert(user) }
            try sql.flavors.insert(flavor)
            try sql.images.insert(recorded)
            for number in 1...max(1, hosts) where hosts > 0 { try sql.nodes.insert(Self.host(number, at: now)) }
        }
    }

    deinit {
        store.close()
    }

    static func host(_ number: Int, at now: Timestamp) -> Node {
        var node = Node(id: .generate(at: now), name: "cn\(number)", certificateSerial: "\(number)", joinedAt: now)
        node.liveness = .alive
        node.inventory.cpuCount = 4
        node.inventory.memoryBytes = 8 << 30
        node.inventory.diskBytes = 100 << 30
        node.inventory.architecture = "x86_64"
        node.inventory.guestSubnet = "10.77.\(number).0/24"
        return node
    }

    var now: Timestamp { clock.withLock { $0 } }

    func pass(_ duration: Duration) { clock.withLock { $0 = $0 + duration } }

    /// One request of somebody, in a transaction of its own.
    @discardableResult
    func request<Answer: Sendable>(
        by actor: Actor, _ body: @escaping @Sendable (Commands) throws -> Answer
    ) async throws -> Answer {
        let now = now
        return try await store.write { sql in
            try body(Commands(in: sql, actor: actor, at: now, settings: LifecycleSettings()))
        }
    }

    func create(
        _ name: String, by actor: Actor, count: Int = 1, node: String? = nil
    ) async throws -> [Instance] {
        try await request(by: actor) { commands in
            try commands.createInstances(
                InstanceCreation(name: name, flavor: "small", image: "debian", count: count, node: node))
        }
    }

    /// The host of an instance says how it is, as it was last told to be.
    func report(
        _ id: InstanceID, _ state: ObservedInstance.State, code: String = "", isFinal: Bool = false
    ) async throws {
        let now = now
        try await store.write { sql in
            let instance = try #require(try sql.instances.find(id))
            try FleetReports(in: sql, at: now).observe(
                [
                    ObservedInstance(
                        instance: id, epoch: instance.epoch, generation: instance.generation,
                        powerCycle: instance.powerCycle, state: state, reasonCode: code, at: now,
                        failureIsFinal: isFinal)
                ], on: try #require(instance.node))
        }
    }

    func instance(_ id: InstanceID) async throws -> Instance {
        try await store.read { try #require(try $0.instances.find(id)) }
    }

    func node(_ name: String) async throws -> Node {
        try await store.read { try #require(try $0.nodes.find(name: name)) }
    }

    func operation(_ id: OperationID?) async throws -> ManagerModel.Operation {
        let id = try #require(id)
        return try await store.read { try #require(try $0.operations.find(id)) }
    }

    /// The running drains look at their guests again, as they do once a second.
    func advanceDrains() async throws {
        let now = now
        try await store.write { sql in
            for drain in try sql.operations.running(.nodeDisable) {
                try Commands(in: sql, actor: .manager, at: now, settings: LifecycleSettings()).advanceDrain(drain)
            }
        }
    }

    /// All that a request could have changed.
    struct Everything: Equatable {
        var instances: [Instance]
        var nodes: [Node]
        var operations: [ManagerModel.Operation]
        var placements: [ImagePlacement]
        var lastEvent: Int64
    }

    func everything() async throws -> Everything {
        let image = image.id
        return try await store.read { sql in
            var filter = InstanceRepository.Filter()
            filter.includesDeleted = true
            return Everything(
                instances: try sql.instances.list(filter), nodes: try sql.nodes.list(),
                operations: try sql.operations.list(.everything, .everything),
                placements: try sql.images.placements(of: image), lastEvent: try sql.events.lastSequence())
        }
    }

    /// What the record's own check finds wrong.
    func findings() async throws -> [StoreFinding] { try StoreCheck.run(place.location) }

    func eventKinds() async throws -> [String] {
        try await store.read { try $0.events.list(after: 0, .everything, limit: 10_000).map(\.kind) }
    }

    /// Expects that a request is refused with a code, and has changed nothing.
    @discardableResult
    func refused<Answer: Sendable>(
        _ code: Refusal.Code, by actor: Actor, _ body: @escaping @Sendable (Commands) throws -> Answer,
        at location: SourceLocation = #_sourceLocation
    ) async throws -> Refusal? {
        let before = try await everything()
        let refusal = await #expect(throws: Refusal.self, sourceLocation: location) {
            try await self.request(by: actor, body)
        }
        #expect(refusal?.code == code, "\(refusal as Any)", sourceLocation: location)
        #expect(try await everything() == before, sourceLocation: location)
        return refusal
    }
}

extension User {
    fileprivate var acting: Actor {
        Actor(user: id, name: name, role: Role(rawValue: roles[0]) ?? .user, account: account)
    }
}
