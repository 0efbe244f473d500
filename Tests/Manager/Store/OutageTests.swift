import Foundation
import ManagerModel
import ProtocolModel
import Synchronization
import Testing
import TestsSupportStore

@testable import ManagerStore

/// What happens to writes when the database does not do as it is told.
@Suite("Store under faults", .serialized)
struct OutageTests {
    private let place: StorePlace
    private let address: MariaDBAddress
    private let server: MariaDBServer

    init() throws {
        server = try MariaDBServer.shared()
        place = try StorePlace(.mariadb)
        guard case .mariaDB(let address) = place.location else { throw StoreError.badLocation("") }
        self.address = address
    }

    private func store(hosts: String? = nil, writing: Duration = .seconds(12)) throws -> Store {
        var patience = StorePatience()
        patience.writing = writing
        patience.reading = writing
        return try Store(server.location(of: address.database, hosts: hosts), patience: patience)
    }

    /// Counts up, in a way that shows a write that was lost, done twice, or did not see the one before.
    private static func count(_ sql: Transaction) throws {
        let value = try sql.siteSettings.value("count").flatMap(Int.init) ?? 0
        try sql.siteSettings.set("count", String(value + 1))
    }

    private func counted(_ store: Store) async throws -> Int {
        try await store.read { sql in try sql.siteSettings.value("count").flatMap(Int.init) ?? 0 }
    }

    @Test("writes of two managers are serial: each sees the one before")
    func serial() async throws {
        let stores = [try store(), try store()]
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<200 {
                group.addTask { try await stores[number % 2].write { sql in try Self.count(sql) } }
            }
            try await group.waitForAll()
        }
        for store in stores { #expect(try await counted(store) == 200) }
        for store in stores { store.close() }
    }

    @Test("a writer knows whether another has written since its own last batch")
    func turns() async throws {
        let (first, second) = (try store(), try store())
        defer {
            first.close()
            second.close()
        }
        func hasMissed(_ store: Store) async throws -> Bool {
            try await store.write { sql in
                try Self.count(sql)
                defer { sql.nodeChanges.caughtUp() }
                return sql.nodeChanges.hasMissed
            }
        }
        // What was before is not known.
        #expect(try await hasMissed(first))
        #expect(try await !hasMissed(first))
        #expect(try await !hasMissed(first))
        #expect(try await hasMissed(second))
        #expect(try await hasMissed(first))
        #expect(try await !hasMissed(first))
        // What another began and undid is nothing that was missed.
        try? await second.write { sql in
            try Self.count(sql)
            throw CancellationError()
        }
        #expect(try await !hasMissed(first))
        #expect(try await counted(first) == 7)
    }

    @Test("a batch whose connection is killed is run again as a whole, even where a body hides the error")
    func killedInTheMiddle() async throws {
        let store = try store()
        let runs = Mutex(0)
        let server = server
        try await store.write { sql in
            try Self.count(sql)
            if runs.withLock({
                $0 += 1; return $0
            }) == 1 {
                let id = try #require(try sql.query("SELECT CONNECTION_ID() AS id").first).integer("id")
                try server.administer("KILL \(id)")
            }
            // Hidden on purpose. Outside the transaction it would be kept alone.
            try? sql.siteSettings.set("second", "done")
        }
        #expect(runs.withLock { $0 } == 2)
        #expect(try await counted(store) == 1)
        #expect(try await store.read { sql in try sql.siteSettings.value("second") } == "done")
        store.close()
    }

    @Test(
        "a connection that is lost at the commit loses nothing and does nothing twice: the mark decides",
        arguments: [CuttingProxy.Cut.before, .after])
    func lostCommit(_ cut: CuttingProxy.Cut) async throws {
        let proxy = CuttingProxy(to: server.port)
        let store = try store(hosts: "127.0.0.1:\(proxy.port)")
        try await store.write { sql in try Self.count(sql) }
        for round in 2...6 {
            let runs = Mutex(0)
            proxy.cut(cut, at: "COMMIT")
            try await store.write { sql in
                runs.withLock { $0 += 1 }
                try Self.count(sql)
            }
            #expect(proxy.cutsLeft == 0)
            #expect(runs.withLock { $0 } == (cut == .before ? 2 : 1))
            #expect(try await counted(store) == round)
        }
        store.close()
    }

    @Test("the fate of a commit is asked for again where the connection is lost while it is asked for")
    func lostSettling() async throws {
        let proxy = CuttingProxy(to: server.port)
        let store = try store(hosts: "127.0.0.1:\(proxy.port)")
        try await store.write { sql in try Self.count(sql) }
        // The commit of the batch, and those of the first two questions after it.
        proxy.cut(.after, at: "COMMIT", times: 3)
        try await store.write { sql in try Self.count(sql) }
        #expect(proxy.cutsLeft == 0)
        #expect(try await counted(store) == 2)
        store.close()
    }

    @Test("a host that is gone is replaced by the next in the URL, with a batch under way")
    func failover() async throws {
        let proxy = CuttingProxy(to: server.port)
        let store = try store(hosts: "127.0.0.1:\(proxy.port),127.0.0.1:\(server.port)")
        try await store.write { sql in try Self.count(sql) }
        let closes = Mutex(true)
        try await store.write { sql in
            try Self.count(sql)
            if closes.withLock({
                let first = $0; $0 = false; return first
            }) {
                proxy.close()
            }
            try Self.count(sql)
        }
        #expect(try await counted(store) == 3)
        store.close()
    }

    @Test("while no host answers, writes are refused at once with the reason; then all goes on by itself")
    func away() async throws {
        let proxy = CuttingProxy(to: server.port)
        let store = try store(hosts: "127.0.0.1:\(proxy.port)", writing: .seconds(8))
        try await store.write { sql in try Self.count(sql) }
        #expect(await store.shortcomings() == [])
        proxy.close()
        for _ in 0..<3 {
            await #expect {
                try await store.write { sql in try Self.count(sql) }
            } throws: { error in
                if case StoreError.unavailable(.unreachable) = error { true } else { false }
            }
        }
        await #expect(throws: StoreError.self) { try await counted(store) }
        let reasons = await store.shortcomings()
        #expect(reasons.count == 2)
        #expect(reasons.allSatisfy { $0.contains("no database server can be reached") }, "\(reasons)")
        proxy.open()
        let end = ContinuousClock.now + .seconds(60)
        while await !store.shortcomings().isEmpty, ContinuousClock.now < end {
            try await Task.sleep(for: .milliseconds(20))
        }
        #expect(await store.shortcomings() == [])
        try await store.write { sql in try Self.count(sql) }
        #expect(try await counted(store) == 2)
        store.close()
    }

    @Test("a process that stands still in a transaction holds the others up for seconds only")
    func idle() async throws {
        let store = try store()
        try await store.write { sql in try Self.count(sql) }
        let still = try MariaDBConnection(address, role: .writing)
        try still.beginBatch()
        try still.run("UPDATE settings SET value = '100' WHERE name = 'count'")
        let start = ContinuousClock.now
        try await store.write { sql in try Self.count(sql) }
        #expect(ContinuousClock.now - start < .seconds(60))
        // It wakes up, and finds that its transaction is gone.
        #expect {
            try still.run("UPDATE settings SET value = '100' WHERE name = 'count'")
        } throws: { error in
            if case StoreError.unavailable(.lost) = error { true } else { false }
        }
        #expect(throws: StoreError.self) { try still.commitBatch() }
        #expect(try await counted(store) == 2)
        store.close()
    }

    @Test("a wrong password, user or database is said plainly, without the password, and not tried for long")
    func refused() throws {
        let locations = [
            try server.location(of: address.database, password: "canary"),
            try server.location(of: "roost_absent"), try StoreLocation("mariadb://nobody@127.0.0.1:\(server.port)/x"),
        ]
        for location in locations {
            do {
                _ = try Store(location)
                Issue.record("\(location) was opened")
            } catch StoreError.unavailable(.refused(let message)) {
                #expect(!message.contains("canary"))
                #expect(message.contains("127.0.0.1:\(server.port)"))
            }
        }
    }

    @Test("TLS is used where it is asked for, and the server's certificate must be the authority's and for the name")
    func tls() throws {
        let authority = server.folder + "/ca.pem"
        func cipher(_ host: String, _ options: String) throws -> String {
            let location = try server.location(of: address.database, hosts: "\(host):\(server.port)", options: options)
            guard case .mariaDB(let address) = location else { return "" }
            return try MariaDBConnection(address, role: .maintaining).report("SHOW STATUS LIKE 'Ssl_cipher'")
                .first?["Value"] ?? ""
        }
        #expect(try cipher("127.0.0.1", "?tls=off") == "")
        #expect(try cipher("127.0.0.1", "?tls=unverified") != "")
        #expect(try cipher("localhost", "?tls=required&ca=\(authority)") != "")
        #expect(throws: StoreError.self) { try cipher("localhost", "?tls=required") }
        // On this host too, but not a name that the certificate holds.
        #expect(throws: StoreError.self) { try cipher("127.0.0.2", "?tls=required&ca=\(authority)") }
    }
}

/// These put a whole server out of order, so that they have one of their own.
@Suite("Store and a server's faults", .serialized)
struct ServerFaultTests {
    @Test("a server that crashes under load loses nothing that was acknowledged; read-only is told and ends by itself")
    func crash() async throws {
        let server = try MariaDBServer()
        let location = try server.location(of: server.makeDatabase())
        let store = try Store(location)
        let load = Load()
        let acknowledged = try await withThrowingTaskGroup(of: [String].self) { group in
            for client in 0..<8 {
                group.addTask {
                    var done: [String] = []
                    var number = 0
                    while !load.isOver {
                        let name = "\(client).\(number)"
                        number += 1
                        // One whose answer is an error may be in or not; one with an answer is.
                        if (try? await store.write({ try $0.siteSettings.set(name, "x") })) != nil {
                            done.append(name)
                            load.count()
                        }
                    }
                    return done
                }
            }
            group.addTask {
                for round in 1...3 {
                    while load.total < round * 40 { await Task.yield() }
                    guard round < 3 else { break }
                    try server.kill()
                    try server.start()
                }
                load.end()
                return []
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(acknowledged.count >= 120)
        let lost = try await store.read { sql in
            try acknowledged.filter { try sql.siteSettings.value($0) == nil }
        }
        #expect(lost == [])
        store.close()

        var patience = StorePatience()
        patience.writing = .milliseconds(200)
        let second = try Store(location, patience: patience)
        try server.administer("SET GLOBAL read_only = ON")
        await #expect {
            try await second.write { try $0.siteSettings.set("a", "b") }
        } throws: { error in
            if case StoreError.unavailable(.readOnly) = error { true } else { false }
        }
        #expect(await second.shortcomings().first?.contains("read only") == true)
        #expect(try await second.read { try $0.siteSettings.value("a") } == nil)
        try server.administer("SET GLOBAL read_only = OFF")
        let end = ContinuousClock.now + .seconds(60)
        while await !second.shortcomings().isEmpty, ContinuousClock.now < end {
            try await Task.sleep(for: .milliseconds(20))
        }
        try await second.write { try $0.siteSettings.set("a", "b") }
        second.close()
    }

    /// A file that may not grow is, to the server, a disk that is full.
    private static let smallFile = [
        "--innodb-file-per-table=OFF", "--innodb-data-file-path=ibdata1:4M:autoextend:max:72M",
    ]

    @Test("a full disk refuses writes with that reason, keeps what was acknowledged, and reading goes on")
    func full() async throws {
        let server = try MariaDBServer(Self.smallFile)
        let database = try server.makeDatabase()
        let store = try Store(server.location(of: database))
        try await store.write { try $0.siteSettings.set("first", "kept") }
        try fill(server, database)
        let text = String(repeating: "x", count: 20_000)
        let (acknowledged, failure) = await written(to: store, text)
        #expect(failure == .diskFull)
        await #expect(throws: StoreError.diskFull) { try await store.write { try $0.siteSettings.set("more", text) } }
        #expect(await store.shortcomings().contains { $0.contains("full") })
        let missing = try await store.read { sql in
            try acknowledged.filter { try sql.siteSettings.value($0) != text }
        }
        #expect(missing == [])
        #expect(try await store.read { try $0.siteSettings.value("first") } == "kept")
        store.close()
    }

    @Test("a host whose disk is full is left for the next in the URL, and nobody is refused")
    func fullHost() async throws {
        let (server, other) = (try MariaDBServer(Self.smallFile), try MariaDBServer())
        let database = try server.makeDatabase()
        try #require(try other.makeDatabase() == database)
        try Store(other.location(of: database)).close()
        let hosts = "127.0.0.1:\(server.port),127.0.0.1:\(other.port)"
        let store = try Store(server.location(of: database, hosts: hosts))
        try fill(server, database)
        let (acknowledged, failure) = await written(to: store, String(repeating: "x", count: 20_000))
        #expect(failure == nil)
        #expect(acknowledged.count == 40)
        store.close()
        // These two do not replicate: what the first took before it was full is there alone.
        let onEach = try [server, other].map { server in
            let count = try server.administer("SELECT COUNT(*) FROM \(database).settings WHERE name LIKE 's%'")
            return Int(count.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0
        }
        #expect(onEach.reduce(0, +) == 40)
        #expect(onEach[1] > 0)
    }

    /// InnoDB may give itself up where its disk is full, even over the rollback of what did not fit.
    @Test(
        "a database whose real disk was full goes on once there is room, with all that was acknowledged",
        .enabled(if: geteuid() == 0, "mounting a small disk needs root"))
    func fullDisk() async throws {
        let disk = try SmallDisk(mebibytes: 256)
        let server = try MariaDBServer(in: disk.folder)
        var patience = StorePatience()
        patience.writing = .milliseconds(200)
        let store = try Store(server.location(of: server.makeDatabase()), patience: patience)
        try await store.write { try $0.siteSettings.set("first", "kept") }
        try disk.fill()
        let text = String(repeating: "x", count: 20_000)
        let (acknowledged, failure) = await written(to: store, text)
        #expect(failure != nil)
        #expect(await !store.shortcomings().isEmpty)
        try disk.free()
        try server.kill()
        try server.start()
        let end = ContinuousClock.now + .seconds(60)
        while await !store.shortcomings().isEmpty, ContinuousClock.now < end {
            try await Task.sleep(for: .milliseconds(20))
        }
        try await store.write { try $0.siteSettings.set("more", text) }
        let missing = try await store.read { sql in
            try acknowledged.filter { try sql.siteSettings.value($0) != text }
        }
        #expect(missing == [])
        #expect(try await store.read { try $0.siteSettings.value("first") } == "kept")
        store.close()
        withExtendedLifetime(disk) {}
    }

    private func fill(_ server: MariaDBServer, _ database: String) throws {
        try server.administer("CREATE TABLE \(database).filler (content LONGTEXT) ENGINE=InnoDB")
        // Big pieces, then smaller ones, until nothing fits.
        for size in [8_000_000, 1_000_000, 100_000, 10_000] {
            while (try? server.administer("INSERT INTO \(database).filler VALUES (REPEAT('x', \(size)))")) != nil {}
        }
    }

    /// Writes 40 texts, or up to the first that is refused.
    private func written(to store: Store, _ text: String) async -> ([String], StoreError?) {
        var acknowledged: [String] = []
        for number in 0..<40 {
            do {
                try await store.write { try $0.siteSettings.set("s\(number)", text) }
                acknowledged.append("s\(number)")
            } catch {
                return (acknowledged, error as? StoreError)
            }
        }
        return (acknowledged, nil)
    }
}

/// Tells those who write when to stop.
final class Load: Sendable {
    private let state = Mutex((isOver: false, total: 0))

    var isOver: Bool { state.withLock { $0.isOver } }
    /// Writes that were acknowledged.
    var total: Int { state.withLock { $0.total } }

    func end() { state.withLock { $0.isOver = true } }
    func count() { state.withLock { $0.total += 1 } }
}
