import Foundation
import Glibc
public import ProtocolModel

/// Why a backup, restore or copy was not made; says what to do.
public enum MaintenanceError: Error, Sendable, Equatable, CustomStringConvertible {
    case exists(String)
    case absent(String)
    case notEmpty(String)
    case running(String)
    case notBackup(String, String)
    case differs(table: String)
    case files(String)

    public var description: String {
        switch self {
        case .exists(let path): "\(path) exists already; name another file, or remove it first"
        case .absent(let path): "there is no record at \(path)"
        case .notEmpty(let place):
            "\(place) holds a record already; --force replaces it (take a backup of it before: roost-manager store backup)"
        case .running(let place): "a manager uses \(place); stop every manager of the site first"
        case .notBackup(let path, let reason): "\(path) is no backup that this program can read: \(reason)"
        case .differs(let table):
            "the copy differs from its source in the table \(table); it is not to be used, and the source is as it was"
        case .files(let message): message
        }
    }
}

/// Backups, restores and copies of a whole record. Calls block.
public struct StoreMaintenance {
    public typealias Progress = (MaintenanceProgress) -> Void

    private let progress: Progress
    private let time: any TimeSource

    public init(time: any TimeSource = SystemTime(), progress: @escaping Progress = { _ in }) {
        self.time = time
        self.progress = progress
    }

    // MARK: Backup

    /// Writes the record as it is at this moment into a new file; a manager may go on meanwhile. The file is an SQLite
    /// database with the same tables, whichever engine holds the record.
    ///
    /// - Returns: what was written, read back and compared.
    public func backup(_ location: StoreLocation, to path: String) throws -> [TableSum] {
        guard !FileManager.default.fileExists(atPath: path) else { throw MaintenanceError.exists(path) }
        let source = try Self.existing(location)
        try source.beginRead()
        defer { source.endRead() }
        return try writeFile(path, from: source)
    }

    /// Makes an SQLite file beside `path`, which takes that name once it is whole and on the disk.
    private func writeFile(_ path: String, from source: any SQLConnection) throws -> [TableSum] {
        let part = path + ".part"
        Self.removeFile(part)
        do {
            let sums = try fill(part, from: source)
            try Self.synchronise(part)
            guard rename(part, path) == 0 else {
                throw MaintenanceError.files(Self.reason("cannot name the file", path))
            }
            try Self.synchronise(URL(fileURLWithPath: path).deletingLastPathComponent().path)
            return sums
        } catch {
            Self.removeFile(part)
            throw error
        }
    }

    private func fill(_ path: String, from source: any SQLConnection) throws -> [TableSum] {
        let target = try SQLiteConnection(path: path, role: .writing)
        guard chmod(path, 0o600) == 0 else {
            throw MaintenanceError.files(Self.reason("cannot protect the file", path))
        }
        let sums = try copy(from: source, to: target)
        // One file, without a log beside it.
        try target.run("PRAGMA wal_checkpoint(TRUNCATE)")
        try target.run("PRAGMA journal_mode = DELETE")
        return sums
    }

    // MARK: Restore

    /// Puts a backup where the record is. A record that is there already is replaced only if `force`; an SQLite file is then
    /// set aside, not removed.
    ///
    /// - Returns: what was written, read back and compared; and where the former file is.
    public func restore(
        _ path: String, into location: StoreLocation, force: Bool
    ) throws -> (sums: [TableSum], setAside: String?) {
        guard FileManager.default.fileExists(atPath: path) else { throw MaintenanceError.absent(path) }
        let source: SQLiteConnection
        do {
            source = try SQLiteConnection(path: path, role: .archive)
            guard try source.query("PRAGMA integrity_check").first?["integrity_check"] == .text("ok") else {
                throw StoreError.corrupt("its pages do not fit together")
            }
            _ = try Self.migrations(of: source)
        } catch {
            throw MaintenanceError.notBackup(path, "\(error)")
        }
        try source.beginRead()
        defer { source.endRead() }
        switch location {
        case .file(let target): return try restore(source, toFile: target, force: force)
        case .mariaDB(let address):
            return (try fill(address, from: source, force: force), nil)
        }
    }

    private func restore(
        _ source: any SQLConnection, toFile path: String, force: Bool
    ) throws -> (sums: [TableSum], setAside: String?) {
        let lock = try FileLock(of: path)
        defer { withExtendedLifetime(lock) {} }
        let isThere = FileManager.default.fileExists(atPath: path)
        if isThere, !force, try !Self.isEmpty(SQLiteConnection(path: path, role: .reading)) {
            throw MaintenanceError.notEmpty(path)
        }
        let made = path + ".restored"
        Self.removeFile(made)
        let sums = try writeFile(made, from: source)
        var setAside: String?
        if isThere {
            let former = path + ".replaced-\(time.timestamp.milliseconds)"
            for end in ["", "-wal", "-shm"] where FileManager.default.fileExists(atPath: path + end) {
                guard rename(path + end, former + end) == 0 else {
                    throw MaintenanceError.files(Self.reason("cannot set the former record aside", path + end))
                }
            }
            setAside = former
        }
        guard rename(made, path) == 0 else { throw MaintenanceError.files(Self.reason("cannot name the file", path)) }
        try Self.synchronise(URL(fileURLWithPath: path).deletingLastPathComponent().path)
        return (sums, setAside)
    }

    // MARK: Copy

    /// Copies the record to another place, which must be empty. The manager of the source must be stopped, since what it
    /// wrote later would be missing; `online` makes a trial copy beside it.
    public func copy(_ location: StoreLocation, to target: StoreLocation, online: Bool) throws -> [TableSum] {
        guard location != target else { throw MaintenanceError.notEmpty("\(target)") }
        let lock: FileLock? = if case .file(let path) = location, !online { try FileLock(of: path) } else { nil }
        defer { withExtendedLifetime(lock) {} }
        if case .mariaDB(let address) = location, !online { try Self.refuseRunning(address) }
        let source = try Self.existing(location)
        try source.beginRead()
        defer { source.endRead() }
        switch target {
        case .file(let path): return try restore(source, toFile: path, force: false).sums
        case .mariaDB(let address): return try fill(address, from: source, force: false)
        }
    }

    // MARK: Counters

    /// Counts anew what limits are compared with, where it is wrong. The manager must be stopped: what it counts at the same
    /// time would be lost or counted twice.
    ///
    /// - Returns: what was wrong and is right now.
    public func recountQuotas(_ location: StoreLocation) throws -> [StoreFinding] {
        let lock: FileLock?
        let connection: any SQLConnection
        switch location {
        case .file(let path):
            guard FileManager.default.fileExists(atPath: path) else { throw MaintenanceError.absent(path) }
            lock = try FileLock(of: path)
            connection = try SQLiteConnection(path: path, role: .writing)
        case .mariaDB(let address):
            try Self.refuseRunning(address)
            lock = nil
            connection = try Self.existing(location)
        }
        defer { withExtendedLifetime(lock) {} }
        _ = try Self.migrations(of: connection)
        let wrong = try StoreCheck.run(on: connection).filter { $0.kind == StoreCheck.quotaKind }
        guard !wrong.isEmpty else { return [] }
        do {
            try connection.beginBatch()
            try Transaction(connection).quotas.recountAll()
            try connection.commitBatch()
        } catch {
            connection.rollBack()
            throw error
        }
        return wrong
    }

    // MARK: Parts

    /// Fills a database, which until the end is marked as incomplete: no manager starts on it.
    private func fill(_ address: MariaDBAddress, from source: any SQLConnection, force: Bool) throws -> [TableSum] {
        try Self.refuseRunning(address)
        let target = try MariaDBConnection(address, role: .maintaining)
        if try !Self.isEmpty(target) {
            guard force else { throw MaintenanceError.notEmpty("\(address)") }
        }
        let tables = try StoreTable.all(after: Migration.all).map(\.name) + ["schema_migrations"]
        for table in tables { try target.run("DROP TABLE IF EXISTS \"\(table)\"") }
        return try copy(from: source, to: target)
    }

    private func copy(from source: any SQLConnection, to target: any SQLConnection) throws -> [TableSum] {
        let migrations = try Self.migrations(of: source)
        try Migrator(migrations: migrations).run(on: target, now: time.timestamp)
        try target.run(
            "INSERT INTO schema_migrations (number, name, applied_at) VALUES (?, 'incomplete', 0)",
            [.integer(Int64(Migration.incomplete))])
        let copier = RecordCopier(tables: try StoreTable.all(after: migrations), progress: progress)
        let sums = try copier.copy(from: source, to: target)
        try target.beginRead()
        defer { target.rollBack() }
        let found = try copier.sums(of: target)
        for (sum, copy) in zip(sums, found) where sum != copy { throw MaintenanceError.differs(table: sum.table) }
        target.endRead()
        try target.run("DELETE FROM schema_migrations WHERE number = ?", [.integer(Int64(Migration.incomplete))])
        return sums
    }

    /// The migrations that a record has seen.
    static func migrations(of connection: any SQLConnection) throws -> [Migration] {
        let applied = Set(try connection.query("SELECT number FROM schema_migrations").map { try $0.int("number") })
        if applied.contains(Migration.incomplete) { throw StoreError.incomplete }
        let known = Set(Migration.all.map(\.number))
        if let newer = applied.subtracting(known).max() {
            throw StoreError.schemaTooNew(found: newer, known: known.max() ?? 0)
        }
        return Migration.all.filter { applied.contains($0.number) }
    }

    /// A connection for reading a record that is there.
    static func existing(_ location: StoreLocation) throws -> any SQLConnection {
        switch location {
        case .file(let path):
            guard FileManager.default.fileExists(atPath: path) else { throw MaintenanceError.absent(path) }
            return try SQLiteConnection(path: path, role: .reading)
        case .mariaDB(let address):
            let connection = try MariaDBConnection(address, role: .maintaining)
            guard try connection.hasColumn("number", in: "schema_migrations") else {
                throw MaintenanceError.absent("\(address)")
            }
            return connection
        }
    }

    /// Whether there is no site in the record.
    static func isEmpty(_ connection: any SQLConnection) throws -> Bool {
        guard try connection.hasColumn("id", in: "users") else { return true }
        return try connection.query("SELECT 1 FROM users LIMIT 1").isEmpty
    }

    /// - Throws: `MaintenanceError.running` where another process of this database user is connected to any of the hosts.
    static func refuseRunning(_ address: MariaDBAddress) throws {
        // A session that has just ended may be listed for a moment more.
        if try hasSessions(address) {
            Thread.sleep(forTimeInterval: 0.5)
            if try hasSessions(address) { throw MaintenanceError.running("\(address)") }
        }
    }

    private static func hasSessions(_ address: MariaDBAddress) throws -> Bool {
        var found = false
        var reached = false
        var problem: (any Error)?
        for host in address.hosts {
            var one = address
            one.hosts = [host]
            do {
                found = try !sessions(of: MariaDBConnection(one, role: .maintaining)).isEmpty || found
                reached = true
            } catch { problem = problem ?? error }
        }
        if !reached, let problem { throw problem }
        return found
    }

    /// What other connections to the same database do just now.
    static func sessions(of connection: any SQLConnection) throws -> [String] {
        try connection.query(
            """
            SELECT COALESCE(info, '') AS work FROM information_schema.processlist
            WHERE db = DATABASE() AND id <> CONNECTION_ID() AND user = SUBSTRING_INDEX(USER(), '@', 1)
            """
        ).map { try $0.text("work") }
    }

    // MARK: Files

    private static func removeFile(_ path: String) {
        for end in ["", "-wal", "-shm", "-journal"] { unlink(path + end) }
    }

    private static func synchronise(_ path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw MaintenanceError.files(reason("cannot open", path)) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw MaintenanceError.files(reason("cannot write", path)) }
    }

    private static func reason(_ what: String, _ path: String) -> String {
        "\(what): \(path): \(String(cString: strerror(errno)))"
    }
}
