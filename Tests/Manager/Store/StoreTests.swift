import ManagerModel
import ProtocolModel
import Testing
import TestsSupportStore

@testable import ManagerStore

@Suite("Store")
struct StoreTests {
    static let now = Timestamp(milliseconds: 1_790_000_000_000)

    private func withStore(_ engine: StoreEngine, _ body: (Store, StoreLocation) async throws -> Void) async throws {
        let place = try StorePlace(engine)
        let store = try Store(place.location)
        try await body(store, place.location)
        store.close()
        withExtendedLifetime(place) {}
    }

    private struct Stop: Error {}

    @Test("writes share a commit and still fail alone", arguments: StoreEngine.allCases)
    func groups(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store, _ in
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<200 {
                    group.addTask {
                        try? await store.write { sql in
                            try sql.siteSettings.set("s\(number)", "v")
                            if number % 2 == 1 { throw Stop() }
                        }
                    }
                }
            }
            let kept = try await store.read { sql in
                try (0..<200).filter { try sql.siteSettings.value("s\($0)") != nil }
            }
            #expect(kept == Array(stride(from: 0, to: 200, by: 2)))
        }
    }

    @Test(
        "a write sees what an earlier one of its batch changed, and not what one did that failed",
        arguments: StoreEngine.allCases)
    func withinABatch(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store, _ in
            let flavors = (0..<60).map { number in
                Flavor(
                    id: .generate(at: Self.now), name: "f\(number)", vcpus: 1, ramMiB: 1, diskGiB: 1,
                    createdAt: Self.now)
            }
            let actor = Actor.manager
            await withTaskGroup(of: Void.self) { group in
                for (number, flavor) in flavors.enumerated() {
                    group.addTask {
                        try? await store.write { sql in
                            // Asked before it is there, so that a batch that remembered the answer would be wrong.
                            let before = try sql.flavors.find(name: flavor.name)
                            try sql.flavors.insert(flavor)
                            let after = try sql.flavors.find(name: flavor.name)
                            #expect(before == nil && after == flavor)
                            try sql.events.append(
                                "flavor.created", actor: actor, owner: nil,
                                resource: ResourceReference(kind: "flavor", id: "\(flavor.id)", name: flavor.name),
                                at: Self.now)
                            if number % 3 == 0 { throw Stop() }
                        }
                    }
                }
            }
            let (names, events) = try await store.read { sql in
                (try sql.flavors.list().map(\.name), try sql.events.list(after: 0, .everything, limit: 100))
            }
            let kept = (0..<60).filter { $0 % 3 != 0 }.map { "f\($0)" }
            #expect(Set(names) == Set(kept))
            // Numbers without gaps, one for each that is kept.
            #expect(events.map(\.sequence) == Array(1...Int64(kept.count)))
            #expect(Set(events.map(\.resource.name)) == Set(kept))
        }
    }

    @Test(
        "the answer to a keyed request is kept with what was done, or not at all; for each user, and for a while",
        arguments: StoreEngine.allCases)
    func idempotency(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store, location in
            let (ann, bob) = (UserID.generate(at: Self.now), UserID.generate(at: Self.now))
            let digest = try #require(ContentDigest(bytes: Array(repeating: 1, count: 32)))
            let answer = IdempotencyRepository.Answer(
                requestDigest: digest, status: 202, headers: ["Location": "/v1/x"], body: [1, 2, 3])
            try await store.write { try $0.idempotency.insert(answer, user: ann, key: "k", at: Self.now) }
            await #expect(throws: Stop.self) {
                try await store.write { sql in
                    try sql.idempotency.insert(answer, user: bob, key: "k", at: Self.now)
                    throw Stop()
                }
            }
            // Two that did the same thing at once: one of them did it.
            await #expect(throws: StoreError.self) {
                try await store.write { try $0.idempotency.insert(answer, user: ann, key: "k", at: Self.now) }
            }
            store.close()
            let next = try Store(location)
            defer { next.close() }
            #expect(try await next.read { try $0.idempotency.find(user: ann, key: "k") } == answer)
            #expect(try await next.read { try $0.idempotency.find(user: bob, key: "k") } == nil)
            _ = try await next.write { try $0.idempotency.remove(before: Self.now) }
            #expect(try await next.read { try $0.idempotency.find(user: ann, key: "k") } == answer)
            _ = try await next.write { try $0.idempotency.remove(before: Self.now + .milliseconds(1)) }
            #expect(try await next.read { try $0.idempotency.find(user: ann, key: "k") } == nil)
        }
    }

    @Test(
        "what was committed is there for the next process; events are numbered without gaps",
        arguments: StoreEngine.allCases)
    func durable(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store, location in
            for _ in 0..<5 {
                _ = try await store.write { sql in
                    try sql.events.append(
                        "test", actor: .manager, owner: nil,
                        resource: ResourceReference(kind: "node", id: "", name: "n"),
                        at: Self.now)
                }
            }
            store.close()
            let second = try Store(location)
            let events = try await second.read { sql in try sql.events.list(after: 0, .everything, limit: 10) }
            #expect(events.map(\.sequence) == [1, 2, 3, 4, 5])
            second.close()
        }
    }

    @Test(
        "an inventory is read as it was written last, by every reader, whatever was read before",
        arguments: StoreEngine.allCases)
    func inventories(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store, _ in
            var nodes = (0..<3).map { index in
                Node(id: .generate(at: Self.now), name: "host\(index)", certificateSerial: "1", joinedAt: Self.now)
            }
            for round in 0..<20 {
                for index in nodes.indices {
                    nodes[index].inventory.cpuCount = 100 * round + index
                    let node = nodes[index]
                    try await store.write { sql in
                        if round == 0 { try sql.nodes.insert(node) } else { try sql.nodes.update(node) }
                        #expect(try sql.nodes.find(node.id)?.inventory == node.inventory)
                    }
                }
                for _ in 0..<6 {
                    let read = try await store.read { sql in try sql.nodes.list() }
                    #expect(Set(read.map(\.inventory.cpuCount)) == Set(nodes.map(\.inventory.cpuCount)))
                }
            }
            // Undone, so that nothing of it may be kept.
            var node = nodes[0]
            node.inventory.cpuCount = -1
            let undone = node
            await #expect(throws: Stop.self) {
                try await store.write { sql in
                    try sql.nodes.update(undone)
                    #expect(try sql.nodes.find(undone.id)?.inventory.cpuCount == -1)
                    throw Stop()
                }
            }
            let after = try await store.write { sql in try sql.nodes.find(undone.id) }
            #expect(after?.inventory.cpuCount == 1900)
        }
    }

    @Test("a column keeps what it decoded for as many rows as it may")
    func decodedColumn() throws {
        let column = DecodedColumn<[String: Int]>(limit: 20)
        for number in 0..<5 {
            #expect(try column.value(of: "{\"n\": \(number)}", in: "row\(number % 3)") == ["n": number])
        }
        #expect(throws: StoreError.corrupt("the row 'a' holds JSON of the wrong form")) {
            try column.value(of: "[", in: "a")
        }
    }

    @Test(
        "a claim is made and released with its instance (P3), and an address has one owner",
        arguments: StoreEngine.allCases)
    func claims(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store, _ in
            let node = Node(id: .generate(at: Self.now), name: "host1", certificateSerial: "1", joinedAt: Self.now)
            let flavor = Flavor(
                id: .generate(at: Self.now), name: "s", vcpus: 2, ramMiB: 512, diskGiB: 3, createdAt: Self.now)
            func instance(_ mac: String) -> Instance {
                Instance(
                    id: .generate(at: Self.now), name: "i", owner: .generate(at: Self.now), account: "default",
                    flavor: flavor, image: .generate(at: Self.now), keyName: nil, sshKeys: [], userData: [],
                    metadata: [:],
                    hostName: "i", node: node.id, macAddress: mac, ipAddress: "10.0.0.2", createdAt: Self.now)
            }
            let first = instance("52:54:00:00:00:01")
            let second = instance("52:54:00:00:00:02")
            try await store.write { sql in
                try sql.nodes.insert(node)
                try sql.instances.insert(first)
            }
            await #expect(throws: StoreError.self) { try await store.write { sql in try sql.instances.insert(second) } }
            let claimed = try await store.read { sql in try sql.nodes.find(node.id) }
            #expect(claimed?.claimedVCPUs == 2)
            #expect(claimed?.instanceCount == 1)
            try await store.write { sql in try sql.instances.finishDeletion(first) }
            try await store.write { sql in try sql.instances.insert(second) }
            let after = try await store.read { sql in try sql.nodes.find(node.id) }
            #expect(after?.claimedDiskGiB == 3)
            #expect(after?.assignmentRevision == Revision(3))
        }
    }

    @Test("a store of a newer program is refused, not touched", arguments: StoreEngine.allCases)
    func newer(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store, location in
            store.close()
            let connection = try location.connection()
            try connection.run("INSERT INTO schema_migrations (number, name, applied_at) VALUES (999, 'later', 0)")
            let known = try #require(Migration.all.map(\.number).max())
            #expect(throws: StoreError.schemaTooNew(found: 999, known: known)) { _ = try Store(location) }
            #expect(try connection.query("SELECT number FROM schema_migrations").count == Migration.all.count + 1)
        }
    }
}

extension StoreLocation {
    /// A bare connection beside whatever store is open.
    func connection() throws -> any SQLConnection {
        switch self {
        case .file(let path): try SQLiteConnection(path: path, role: .writing)
        case .mariaDB(let address): try MariaDBConnection(address, role: .maintaining)
        }
    }
}
