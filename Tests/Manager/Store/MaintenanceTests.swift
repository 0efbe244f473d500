import Foundation
import Glibc
import ProtocolModel
import Synchronization
import Testing
import TestsSupportStore

@testable import ManagerModel
@testable import ManagerStore

@Suite("Maintenance of the record")
struct MaintenanceTests {
    private static let now = Timestamp(milliseconds: 1_790_000_000_000)

    /// A site with some of everything.
    private static func fill(_ store: Store, instances: Int = 40) async throws {
        let nodes = (0..<4).map { index in
            Node(id: .generate(at: now), name: "host\(index)", certificateSerial: "\(index)", joinedAt: now)
        }
        let flavor = Flavor(id: .generate(at: now), name: "s", vcpus: 2, ramMiB: 512, diskGiB: 3, createdAt: now)
        let user = User(
            id: .generate(at: now), name: "ann", role: .user, account: "default", email: nil, passwordHash: "x",
            tokensValidAfter: now, createdAt: now)
        var image = Image(
            id: .generate(at: now), name: "debian", owner: user.id, visibility: .public, status: .active,
            sizeBytes: 2 << 30, createdAt: now, updatedAt: now)
        image.manifestDigest = ContentDigest(bytes: Array(repeating: 7, count: 32))
        let made = image
        try await store.write { sql in
            for node in nodes { try sql.nodes.insert(node) }
            try sql.flavors.insert(flavor)
            try sql.users.insert(user)
            try sql.images.insert(made)
        }
        for start in stride(from: 0, to: instances, by: 500) {
            try await store.write { sql in
                for number in start..<min(instances, start + 500) {
                    let node = nodes[number % nodes.count]
                    let instance = Instance(
                        id: .generate(at: now), name: "i\(number)", owner: user.id, account: "default", flavor: flavor,
                        image: made.id, keyName: nil, sshKeys: ["ü \(number)"],
                        userData: Array("#\(number)".utf8), metadata: ["a": "\(number)"], hostName: "i",
                        node: node.id,
                        macAddress: "52:54:" + String(number, radix: 16),
                        ipAddress: "10.\(number / 65_536).\(number / 256 % 256).\(number % 256)", createdAt: now)
                    try sql.instances.insert(instance)
                    try sql.usage.setLastNumber(UInt64(number), node: node.id, spool: .generate(at: now), at: now)
                    _ = try sql.events.append(
                        "instance.created", actor: .manager, owner: user.id,
                        resource: ResourceReference(kind: "instance", id: instance.id.description, name: "i\(number)"),
                        at: now)
                }
            }
        }
    }

    @Test(
        "a backup made while the manager writes restores to the same, into either engine, and a manager starts on it",
        arguments: StoreEngine.allCases, StoreEngine.allCases)
    func backup(_ engine: StoreEngine, _ target: StoreEngine) async throws {
        let (place, files, other) = (try StorePlace(engine), try StorePlace(.sqlite), try StorePlace(target))
        guard case .file(let base) = files.location else { return }
        let file = base + ".backup"
        let store = try Store(place.location)
        try await Self.fill(store)
        let load = Load()
        let sums = try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                var number = 0
                while !load.isOver {
                    number += 1
                    let name = "n\(number)"
                    try await store.write { sql in try sql.siteSettings.set(name, "x") }
                }
            }
            let sums = try StoreMaintenance().backup(place.location, to: file)
            load.end()
            try await group.waitForAll()
            return sums
        }
        #expect(sums.first { $0.table == "instances" }?.rows == 40)
        #expect(throws: MaintenanceError.exists(file)) { try StoreMaintenance().backup(place.location, to: file) }
        let mode = try FileManager.default.attributesOfItem(atPath: file)[.posixPermissions] as? NSNumber
        #expect(mode?.intValue == 0o600)
        // Not over the manager that runs, nor over a record unless told to.
        if engine == .sqlite {
            #expect(throws: StoreError.self) {
                try StoreMaintenance().restore(file, into: place.location, force: true)
            }
        } else {
            #expect(throws: MaintenanceError.running("\(place.location)")) {
                try StoreMaintenance().restore(file, into: place.location, force: true)
            }
        }
        store.close()
        #expect(throws: MaintenanceError.notEmpty("\(place.location)")) {
            try StoreMaintenance().restore(file, into: place.location, force: false)
        }
        let restored = try StoreMaintenance().restore(file, into: other.location, force: false)
        #expect(restored.sums == sums)
        let again = try Store(other.location)
        #expect(try await again.read { try $0.instances.list(.init()).count } == 40)
        #expect(try await again.read { try $0.nodes.find(name: "host1")?.instanceCount } == 10)
        try await again.write { try $0.siteSettings.set("after", "x") }
        again.close()
        #expect(try StoreCheck.run(other.location) == [])

        let replaced = try StoreMaintenance().restore(file, into: place.location, force: true)
        #expect(replaced.sums == sums)
        #expect((replaced.setAside != nil) == (engine == .sqlite))
        withExtendedLifetime((place, files, other)) {}
    }

    @Test("a site of 10,000 instances is moved from SQLite to MariaDB, and back, verified equal")
    func copy() async throws {
        let (place, other, third) = (try StorePlace(.sqlite), try StorePlace(.mariadb), try StorePlace(.sqlite))
        let store = try Store(place.location)
        try await Self.fill(store, instances: 10_000)
        #expect(throws: StoreError.self) {
            try StoreMaintenance().copy(place.location, to: other.location, online: false)
        }
        store.close()
        let there = try StoreMaintenance().copy(place.location, to: other.location, online: false)
        #expect(there.first { $0.table == "instances" }?.rows == 10_000)
        #expect(try StoreCheck.run(other.location) == [])
        #expect(throws: MaintenanceError.notEmpty("\(other.location)")) {
            try StoreMaintenance().copy(place.location, to: other.location, online: false)
        }
        #expect(try StoreMaintenance().copy(other.location, to: third.location, online: false) == there)
        withExtendedLifetime((place, other, third)) {}
    }

    @Test("a copy that was not finished is refused by the manager, and one that differs is noticed")
    func unfinished() async throws {
        let (place, other) = (try StorePlace(.sqlite), try StorePlace(.mariadb))
        let store = try Store(place.location)
        try await Self.fill(store)
        store.close()
        // The copy is spoilt behind its back, before it is verified.
        let spoiling = StoreMaintenance { progress in
            guard progress.step == "copying users" else { return }
            try? other.location.connection().run("UPDATE nodes SET name = 'spoilt' WHERE name = 'host3'")
        }
        #expect(throws: MaintenanceError.differs(table: "nodes")) {
            try spoiling.copy(place.location, to: other.location, online: false)
        }
        #expect(throws: StoreError.incomplete) { try Store(other.location) }
        #expect(StoreReport.of(other.location).verdict == .unusable)
        _ = try StoreMaintenance().restoreOver(place, other)
        try Store(other.location).close()
        withExtendedLifetime((place, other)) {}
    }

    @Test("a file that is no backup is refused, and changes nothing")
    func noBackup() throws {
        let place = try StorePlace(.sqlite)
        guard case .file(let path) = place.location else { return }
        let file = path + ".other"
        try Data("no database at all, but long enough to be looked at as one".utf8).write(
            to: URL(fileURLWithPath: file))
        #expect {
            try StoreMaintenance().restore(file, into: place.location, force: true)
        } throws: { error in
            if case MaintenanceError.notBackup = error { true } else { false }
        }
        #expect(throws: MaintenanceError.absent(path + ".absent")) {
            try StoreMaintenance().restore(path + ".absent", into: place.location, force: true)
        }
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    private static let groupID = "00000000-0000-7000-8000-00000000000a"
    /// Two on host0, one on host1.
    private static let regroup =
        "UPDATE instances SET server_group_id = CASE WHEN name IN ('i0', 'i1', 'i4') THEN '\(groupID)' ELSE NULL END"

    @Test("each fault that is planted in a record is found and named", arguments: StoreEngine.allCases)
    func check(_ engine: StoreEngine) async throws {
        let place = try StorePlace(engine)
        let store = try Store(place.location)
        try await Self.fill(store)
        store.close()
        let groups = try place.location.connection()
        try groups.run(
            """
            INSERT INTO server_groups (id, name, owner_id, policy, max_per_host, created_at)
            SELECT '\(Self.groupID)', 'web', id, 'anti-affinity', 2, 0 FROM users WHERE name = 'ann'
            """)
        try groups.run(Self.regroup)
        #expect(try StoreCheck.run(place.location) == [])
        let faults: [(kind: String, plant: String, mend: String)] = [
            (
                "claim", "UPDATE nodes SET claimed_vcpus = claimed_vcpus + 1 WHERE name = 'host2'",
                "UPDATE nodes SET claimed_vcpus = claimed_vcpus - 1 WHERE name = 'host2'"
            ),
            (
                "claim", "UPDATE nodes SET instance_count = instance_count - 1 WHERE name = 'host2'",
                "UPDATE nodes SET instance_count = instance_count + 1 WHERE name = 'host2'"
            ),
            (
                "revision", "UPDATE instances SET assignment_revision = 10000 WHERE name = 'i3'",
                "UPDATE instances SET assignment_revision = 1 WHERE name = 'i3'"
            ),
            (
                "quota", "UPDATE quota_use SET vcpus = vcpus - 1 WHERE subject_kind = 'user' AND flavor_id = ''",
                "UPDATE quota_use SET vcpus = vcpus + 1 WHERE subject_kind = 'user' AND flavor_id = ''"
            ),
            ("quota", "DELETE FROM quota_use WHERE subject_kind = 'account' AND flavor_id <> ''", ""),
            (
                "server_group", "UPDATE instances SET server_group_id = '\(Self.groupID)' WHERE name = 'i8'",
                Self.regroup
            ),
            (
                "server_group", "UPDATE server_groups SET max_per_host = NULL",
                "UPDATE server_groups SET max_per_host = 2"
            ),
            (
                "server_group", "UPDATE server_groups SET policy = 'affinity'",
                "UPDATE server_groups SET policy = 'anti-affinity'"
            ),
            (
                "server_group", "UPDATE server_groups SET owner_id = 'x'",
                "UPDATE server_groups SET owner_id = (SELECT id FROM users WHERE name = 'ann')"
            ),
            ("orphan", "UPDATE server_groups SET id = 'x'", "UPDATE server_groups SET id = '\(Self.groupID)'"),
            ("orphan", "UPDATE users SET id = 'x' WHERE name = 'ann'", ""),
            (
                "operation",
                """
                INSERT INTO operations (id, kind, status, progress, steps, resource_kind, resource_id, resource_name,
                    parameters, hosts, created_at)
                VALUES ('00000000-0000-7000-8000-000000000000', 'instance.stop', 'running', 0, '[]', 'instance', 'absent', 'n',
                    '{}', '[]', 0)
                """, "DELETE FROM operations"
            ),
            ("events", "DELETE FROM event_log WHERE sequence = 7", ""),
            ("value", "UPDATE nodes SET inventory = '[' WHERE name = 'host1'", ""),
        ]
        let connection = try place.location.connection()
        for fault in faults {
            try connection.run(fault.plant)
            let found = try StoreCheck.run(on: connection)
            #expect(found.contains { $0.kind == fault.kind && !$0.sentence.isEmpty }, "\(fault.plant): \(found)")
            if !fault.mend.isEmpty {
                try connection.run(fault.mend)
                #expect(try !StoreCheck.run(on: connection).contains { $0.kind == fault.kind })
            }
        }
        withExtendedLifetime(place) {}
    }

    @Test(
        "a record from before limits is counted when it is opened, also where that was cut off before",
        arguments: StoreEngine.allCases)
    func counting(_ engine: StoreEngine) async throws {
        let place = try StorePlace(engine)
        let store = try Store(place.location)
        try await Self.fill(store)
        store.close()
        let connection = try place.location.connection()
        let counted = try connection.query("SELECT * FROM quota_use ORDER BY subject_kind, subject, flavor_id")
        #expect(counted.count == 4)
        for leftover in [
            "DELETE FROM quota_use", "DELETE FROM quota_use WHERE flavor_id <> ''", "DROP TABLE quota_use",
        ] {
            try connection.run(leftover)
            try connection.run("DELETE FROM schema_migrations WHERE number = 14")
            try Store(place.location).close()
            let again = try connection.query("SELECT * FROM quota_use ORDER BY subject_kind, subject, flavor_id")
            #expect(again.map(\.values) == counted.map(\.values), "\(leftover)")
        }
        #expect(try StoreCheck.run(on: connection) == [])
        withExtendedLifetime(place) {}
    }

    @Test(
        "counters of limits that have drifted are counted anew, and only while no manager runs",
        arguments: StoreEngine.allCases)
    func recountQuotas(_ engine: StoreEngine) async throws {
        let place = try StorePlace(engine)
        let store = try Store(place.location)
        try await Self.fill(store)
        #expect(throws: (any Error).self) { try StoreMaintenance().recountQuotas(place.location) }
        store.close()
        #expect(try StoreMaintenance().recountQuotas(place.location) == [])
        do {
            let connection = try place.location.connection()
            for drift in [
                "UPDATE quota_use SET vcpus = vcpus + 7 WHERE subject_kind = 'user' AND flavor_id = ''",
                "DELETE FROM quota_use WHERE subject_kind = 'account'",
            ] {
                try connection.run(drift)
            }
        }
        let found = try StoreCheck.run(place.location)
        #expect(!found.isEmpty && found.allSatisfy { $0.kind == StoreCheck.quotaKind })
        #expect(try StoreMaintenance().recountQuotas(place.location) == found)
        #expect(try StoreCheck.run(place.location) == [])
        withExtendedLifetime(place) {}
    }

    @Test("the report says what there is, who writes, and what is wrong", arguments: StoreEngine.allCases)
    func report(_ engine: StoreEngine) async throws {
        let place = try StorePlace(engine)
        #expect(StoreReport.of(place.location).verdict == .unusable)
        let store = try Store(place.location)
        try await Self.fill(store)
        let running = StoreReport.of(place.location)
        #expect(running.verdict == .healthy, "\(running.sentence)")
        #expect(running.instances == 40)
        #expect(running.lastEvent == 40)
        #expect(running.waitingWrites == 0)
        #expect(running.writer == (engine == .sqlite ? "process \(getpid())" : "4 sessions"))
        store.close()
        if engine == .sqlite { #expect(StoreReport.of(place.location).writer == nil) }
        try place.location.connection().run(
            "INSERT INTO schema_migrations (number, name, applied_at) VALUES (999, 'later', 0)")
        #expect(StoreReport.of(place.location).verdict == .unusable)
        withExtendedLifetime(place) {}
    }
}

extension StoreMaintenance {
    /// Backup and restore in one, over what is there.
    fileprivate func restoreOver(_ place: StorePlace, _ other: StorePlace) throws -> [TableSum] {
        guard case .file(let path) = place.location else { return [] }
        _ = try backup(place.location, to: path + ".again")
        return try restore(path + ".again", into: other.location, force: true).sums
    }
}

/// The values that are recorded for each state (HA-05 to HA-07, HA-11).
@Suite("Verdict over Galera nodes")
struct VerdictTests {
    private func node(
        _ host: String, _ state: String = "Synced", size: Int = 3, _ status: String = "Primary", ready: Bool = true,
        cluster: String = "c", readOnly: Bool = false
    ) -> DatabaseNodeReport {
        var node = DatabaseNodeReport(host: host)
        node.isGalera = true
        node.isReadOnly = readOnly
        node.values = [
            "wsrep_local_state_comment": state, "wsrep_cluster_size": "\(size)", "wsrep_cluster_status": status,
            "wsrep_ready": ready ? "ON" : "OFF", "wsrep_cluster_state_uuid": cluster,
        ]
        return node
    }

    private func gone(_ host: String) -> DatabaseNodeReport {
        var node = DatabaseNodeReport(host: host)
        node.problem = "does not answer"
        return node
    }

    @Test("one verdict from all values; a joining node counts in the size and is not health")
    func verdicts() {
        let cases: [(nodes: [DatabaseNodeReport], verdict: StoreVerdict)] = [
            ([node("a"), node("b"), node("c")], .healthy),
            ([node("a", size: 2), node("b", size: 2), gone("c")], .degraded),
            ([node("a"), node("b"), node("c", "Joining: receiving State Transfer", ready: false)], .synchronising),
            ([node("a", "Joining", ready: false), gone("b"), gone("c")], .synchronising),
            ([node("a", "Initialized", size: 1, "non-Primary", ready: false), gone("b"), gone("c")], .noQuorum),
            ([gone("a"), gone("b")], .unreachable),
            ([node("a", readOnly: true), node("b", readOnly: true), node("c", readOnly: true)], .readOnly),
            ([node("a", cluster: "x"), node("b", cluster: "y"), node("c", cluster: "x")], .divided),
            (
                [
                    node("a", size: 2), node("b", size: 2),
                    node("c", "Initialized", size: 1, "non-Primary", ready: false),
                ], .degraded
            ),
            ([DatabaseNodeReport(host: "single")], .healthy),
        ]
        for (nodes, verdict) in cases {
            let found = StoreVerdict.of(nodes)
            #expect(found.verdict == verdict, "\(nodes.map(\.values)): \(found)")
            #expect(!found.sentence.isEmpty)
        }
    }
}
