import Foundation
import ManagerModel
import ProtocolModel
import Testing
import TestsSupportStore

@testable import ManagerStore

@Suite("Retention")
struct RetentionTests {
    private static let now = Timestamp(milliseconds: 1_790_000_000_000)
    private static let day = Duration.seconds(86_400)

    private func withStore(_ engine: StoreEngine, _ body: (Store) async throws -> Void) async throws {
        let place = try StorePlace(engine)
        let store = try Store(place.location)
        try await body(store)
        store.close()
        withExtendedLifetime(place) {}
    }

    private func append(_ count: Int, at moment: Timestamp, to store: Store) async throws {
        try await store.write { sql in
            for _ in 0..<count {
                try sql.events.append(
                    "test", actor: .manager, owner: nil, resource: ResourceReference(kind: "node", id: "", name: "n"),
                    at: moment)
            }
        }
    }

    private func prune(
        _ subject: RetentionRepository.Subject, _ policy: RetentionPolicy = RetentionPolicy(), limit: Int = 1000,
        in store: Store
    ) async throws -> Int {
        try await store.write { try $0.retention.prune(subject, policy, at: Self.now, limit: limit) }
    }

    private func kept(_ store: Store) async throws -> ClosedRange<Int64> {
        try await store.read { try $0.events.firstSequence()...$0.events.lastSequence() }
    }

    @Test("events go by age and by number, the oldest first, a batch at a time", arguments: StoreEngine.allCases)
    func events(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store in
            try await append(30, at: Self.now - Self.day * 91, to: store)
            try await append(30, at: Self.now - Self.day * 89, to: store)
            #expect(try await prune(.events, limit: 20, in: store) == 20)
            #expect(try await kept(store) == 21...60)
            #expect(try await prune(.events, limit: 20, in: store) == 10)
            #expect(try await prune(.events, limit: 20, in: store) == 0)
            #expect(try await kept(store) == 31...60)
            var few = RetentionPolicy()
            few.eventCount = 5
            #expect(try await prune(.events, few, in: store) == 25)
            #expect(try await kept(store) == 56...60)
        }
    }

    @Test("a number is never given twice: the newest event stays, however old it is", arguments: StoreEngine.allCases)
    func numbers(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store in
            try await append(3, at: Self.now - Self.day * 1000, to: store)
            #expect(try await prune(.events, in: store) == 2)
            #expect(try await prune(.events, in: store) == 0)
            try await append(1, at: Self.now, to: store)
            #expect(try await kept(store) == 3...4)
        }
    }

    @Test("operations go some time after their end, those that run never", arguments: StoreEngine.allCases)
    func operations(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store in
            func operation(_ age: Int, ended: Int?) -> ManagerModel.Operation {
                let began = Self.now - Self.day * age
                return ManagerModel.Operation(
                    id: .generate(at: began), kind: .instanceStop, status: ended == nil ? .running : .succeeded,
                    resource: ResourceReference(kind: "instance", id: "", name: ""), owner: nil, createdAt: began,
                    finishedAt: ended.map { Self.now - Self.day * $0 })
            }
            let all = [operation(40, ended: 31), operation(40, ended: 29), operation(40, ended: nil)]
            try await store.write { sql in for one in all { try sql.operations.insert(one) } }
            #expect(try await prune(.operations, in: store) == 1)
            let left = try await store.read { try $0.operations.list(.everything).map(\.id) }
            #expect(left == all.dropFirst().map(\.id).sorted())
        }
    }

    @Test(
        "rows of deleted instances and images go; usage reports still name the instance and its flavor",
        arguments: StoreEngine.allCases)
    func deleted(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store in
            let old = Self.now - Self.day * 200
            let node = Node(id: .generate(at: old), name: "cn1", certificateSerial: "1", joinedAt: old)
            let flavor = Flavor(id: .generate(at: old), name: "small", vcpus: 1, ramMiB: 1, diskGiB: 1, createdAt: old)
            var image = Image(
                id: .generate(at: old), name: "debian", owner: .generate(at: old), visibility: .public,
                createdAt: old, updatedAt: old)
            image.status = .deleted
            func instance(_ name: String) -> Instance {
                Instance(
                    id: .generate(at: old), name: name, owner: image.owner, account: "default", flavor: flavor,
                    image: image.id, keyName: nil, sshKeys: [], userData: [], metadata: [:], hostName: name,
                    node: node.id, macAddress: name, ipAddress: name, createdAt: old)
            }
            let (alive, gone, recent) = (instance("alive"), instance("gone"), instance("recent"))
            let gonePicture = image
            try await store.write { sql in
                try sql.nodes.insert(node)
                try sql.flavors.insert(flavor)
                try sql.images.insert(gonePicture)
                for one in [alive, gone, recent] { try sql.instances.insert(one) }
                for (one, days) in [(gone, 91), (recent, 89)] {
                    var ended = one
                    ended.deletedAt = Self.now - Self.day * days
                    try sql.instances.finishDeletion(ended)
                }
                var amounts = UsageAmounts()
                amounts.serverMilliseconds = 3_600_000
                try sql.usage.add([
                    .init(
                        hour: Self.now.milliseconds / 3_600_000, instance: gone.id, owner: gone.owner,
                        account: "default", flavor: flavor.id, amounts: amounts)
                ])
            }
            #expect(try await prune(.images, in: store) == 0, "rows of instances still name it")
            #expect(try await prune(.instances, in: store) == 1)
            let (left, report) = try await store.read { sql in
                var filter = InstanceRepository.Filter()
                filter.includesDeleted = true
                return (
                    try sql.instances.list(filter).map(\.name).sorted(),
                    try sql.usage.report(.everything, from: Self.now.day, to: Self.now.day, by: .instance)
                )
            }
            #expect(left == ["alive", "recent"])
            #expect(report.map(\.instanceName) == ["gone"] && report.map(\.flavor) == ["small"])
        }
    }

    @Test("kept answers go after a day, join tokens a day after they end", arguments: StoreEngine.allCases)
    func secrets(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store in
            let user = UserID.generate(at: Self.now)
            let digest = try #require(ContentDigest(bytes: Array(repeating: 1, count: 32)))
            let answer = IdempotencyRepository.Answer(requestDigest: digest, status: 200, headers: [:], body: [])
            try await store.write { sql in
                for hours in 20...27 {
                    try sql.idempotency.insert(
                        answer, user: user, key: "\(hours)", at: Self.now - .seconds(3600 * hours))
                    try sql.nodes.insert(
                        JoinToken(
                            id: .generate(at: Self.now),
                            secretHash: ContentDigest(bytes: Array(repeating: UInt8(hours), count: 32))!,
                            nodeName: nil, createdBy: "root", createdAt: Self.now,
                            expiresAt: Self.now - .seconds(3600 * hours)))
                }
            }
            #expect(try await prune(.idempotencyKeys, limit: 2, in: store) == 2)
            #expect(try await prune(.idempotencyKeys, in: store) == 1)
            #expect(try await store.read { try $0.idempotency.find(user: user, key: "24") } != nil)
            #expect(try await prune(.joinTokens, in: store) == 3)
        }
    }
}
