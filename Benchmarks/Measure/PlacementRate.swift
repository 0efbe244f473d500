import ArgumentParser
import CSQLite
import ManagerPlacement
import ProtocolModel

/// Decisions a second on one thread, and beside it the same decisions by an SQL query: filter, order by weight, first row.
struct PlacementRate: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "placement")

    @Option(help: "Hosts.")
    var hosts = 10_000

    @Option(help: "How long each way is measured, in seconds.")
    var seconds = 3.0

    func run() throws {
        let fleet = Self.fleet(hosts)
        var table = HostTable(fleet)
        let image = ImageID.generate(at: SystemTime().timestamp)
        table.setHeldBy(fleet.enumerated().filter { $0.offset % 10 == 0 }.map(\.element.node), image: image)
        report(
            "decisions_per_second",
            Self.rate(for: seconds) { number in
                let placed = table.place(Self.request(number, image))
                if case .refused = placed { fatalError("the fleet is to have room") }
            })
        // Room for nobody: the pass, and the count of each filter's hosts for the refusal.
        let whole = PlacementRequest(vcpus: 1 << 20, ramMiB: 1, diskGiB: 1)
        report("refusals_per_second", Self.rate(for: seconds) { _ in _ = table.place(whole) })
        let database = try Database(fleet)
        report(
            "sql_decisions_per_second",
            Self.rate(for: seconds) { number in
                database.place(Self.request(number, image))
            })
    }

    /// Hosts of three sizes, each filled to some part; every tenth is out of service.
    private static func fleet(_ count: Int) -> [HostSnapshot] {
        let now = SystemTime().timestamp
        return (0..<count).map { number in
            let size = [32, 64, 128][number % 3]
            let used = (number * 7919) % (size / 2)
            return HostSnapshot(
                node: .generate(at: now), name: "cn\(number)", enabled: number % 20 != 3, alive: number % 20 != 13,
                architecture: "x86_64", vcpus: size * 1000, ramMiB: size * 4096 * 1000, diskGiB: size * 1_000_000,
                claimedVCPUs: used * 1000, claimedRAMMiB: used * 4096 * 1000, claimedDiskGiB: used * 1000,
                freeAddresses: 1_000_000)
        }
    }

    private static func request(_ number: Int, _ image: ImageID) -> PlacementRequest {
        let size = 1 << (number % 4)
        return PlacementRequest(
            vcpus: size, ramMiB: size * 2048, diskGiB: size * 10, architecture: number % 2 == 0 ? "x86_64" : nil,
            image: image)
    }

    private static func rate(for limit: Double, _ body: (Int) -> Void) -> Double {
        var count = 0
        let clock = ContinuousClock()
        let began = clock.now
        var elapsed = Duration.zero
        while elapsed < .seconds(limit) {
            for _ in 0..<16 {
                body(count)
                count += 1
            }
            elapsed = clock.now - began
        }
        return Double(count) / (Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18)
    }
}

/// Hosts in a table in memory, with prepared statements: what a program does that leaves the choice to its database.
private final class Database {
    private var handle: OpaquePointer?
    private var choose: OpaquePointer?
    private var claim: OpaquePointer?

    init(_ fleet: [HostSnapshot]) throws {
        guard sqlite3_open(":memory:", &handle) == SQLITE_OK else { throw ExitCode.failure }
        run(
            """
            CREATE TABLE hosts (number INTEGER PRIMARY KEY, name TEXT NOT NULL, enabled INTEGER, alive INTEGER, architecture TEXT,
                vcpus INTEGER, ram INTEGER, disk INTEGER, claimed_vcpus INTEGER, claimed_ram INTEGER, claimed_disk INTEGER,
                free_addresses INTEGER, holds INTEGER)
            """)
        run("BEGIN")
        for (number, host) in fleet.enumerated() {
            run(
                """
                INSERT INTO hosts VALUES (\(number), '\(host.name)', \(host.enabled ? 1 : 0), \(host.alive ? 1 : 0),
                    '\(host.architecture)', \(host.vcpus), \(host.ramMiB), \(host.diskGiB), \(host.claimedVCPUs),
                    \(host.claimedRAMMiB), \(host.claimedDiskGiB), \(host.freeAddresses), \(number % 10 == 0 ? 1 : 0))
                """)
        }
        run("COMMIT")
        choose = prepare(
            """
            SELECT number FROM hosts WHERE enabled AND alive AND (?1 IS NULL OR architecture = ?1)
                AND claimed_vcpus + ?2 <= vcpus AND claimed_ram + ?3 <= ram AND claimed_disk + ?4 <= disk AND free_addresses > 0
            ORDER BY 1 - max((claimed_vcpus + ?2) * 1.0 / vcpus, (claimed_ram + ?3) * 1.0 / ram) + holds * 0.25 DESC, name
            LIMIT 1
            """)
        claim = prepare(
            """
            UPDATE hosts SET claimed_vcpus = claimed_vcpus + ?2, claimed_ram = claimed_ram + ?3,
                claimed_disk = claimed_disk + ?4, free_addresses = free_addresses - 1 WHERE number = ?1
            """)
    }

    deinit {
        sqlite3_finalize(choose)
        sqlite3_finalize(claim)
        sqlite3_close(handle)
    }

    func place(_ request: PlacementRequest) {
        bind(choose, request)
        if request.architecture == nil {
            sqlite3_bind_null(choose, 1)
        } else {
            sqlite3_bind_text(choose, 1, "x86_64", -1, unsafeBitCast(-1, to: sqlite3_destructor_type.self))
        }
        guard sqlite3_step(choose) == SQLITE_ROW else { fatalError("the fleet is to have room") }
        let number = sqlite3_column_int64(choose, 0)
        sqlite3_reset(choose)
        bind(claim, request)
        sqlite3_bind_int64(claim, 1, number)
        guard sqlite3_step(claim) == SQLITE_DONE else { fatalError("the claim failed") }
        sqlite3_reset(claim)
    }

    private func bind(_ statement: OpaquePointer?, _ request: PlacementRequest) {
        sqlite3_bind_int64(statement, 2, Int64(request.vcpus))
        sqlite3_bind_int64(statement, 3, Int64(request.ramMiB))
        sqlite3_bind_int64(statement, 4, Int64(request.diskGiB))
    }

    private func prepare(_ sql: String) -> OpaquePointer? {
        var statement: OpaquePointer?
        guard sqlite3_prepare_v2(handle, sql, -1, &statement, nil) == SQLITE_OK else {
            fatalError(String(cString: sqlite3_errmsg(handle)))
        }
        return statement
    }

    private func run(_ sql: String) {
        guard sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK else {
            fatalError(String(cString: sqlite3_errmsg(handle)))
        }
    }
}
