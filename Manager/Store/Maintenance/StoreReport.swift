import Foundation
import ProtocolModel

/// The health of a record in one screen.
public struct StoreReport: Sendable, Codable, Equatable {
    public var verdict: StoreVerdict
    /// What the verdict means, and what to do.
    public var sentence: String
    public var engine: String
    public var location: String
    public var serverVersion: String?
    public var sizeBytes: Int64?
    /// The newest migration that the record has seen, and the newest that this program knows.
    public var schema: Int?
    public var schemaKnown: Int
    public var instances: Int?
    public var nodes: Int?
    public var users: Int?
    public var lastEvent: Int64?
    /// As in RFC 3339.
    public var lastEventAt: String?
    /// Who writes to it: a process or a number of sessions.
    public var writer: String?
    /// Writes, on MariaDB batches of writes, that wait just now.
    public var waitingWrites: Int?
    public var lastCommitAt: String?
    /// The database nodes, where there are any.
    public var databaseNodes: [DatabaseNodeReport] = []
    /// What a person should know beside it.
    public var notes: [String] = []

    enum CodingKeys: String, CodingKey {
        case verdict, sentence, engine, location
        case serverVersion = "server_version"
        case sizeBytes = "size_bytes"
        case schema
        case schemaKnown = "schema_known"
        case instances, nodes, users
        case lastEvent = "last_event"
        case lastEventAt = "last_event_at"
        case writer
        case waitingWrites = "waiting_writes"
        case lastCommitAt = "last_commit_at"
        case databaseNodes = "database_nodes"
        case notes
    }
}

/// One word for the whole.
public enum StoreVerdict: String, Sendable, Codable, CaseIterable {
    case healthy
    /// It serves, with less than all of its nodes.
    case degraded
    /// It serves, and a node is catching up.
    case synchronising
    /// It takes no writes.
    case readOnly = "read_only"
    case noQuorum = "no_quorum"
    /// Its nodes do not belong to one cluster.
    case divided
    case unreachable
    /// There is no record, or one that this program cannot use.
    case unusable
}

/// What one database server says of itself (HA-04).
public struct DatabaseNodeReport: Sendable, Codable, Equatable {
    public var host: String
    /// Why it says nothing; `nil` where it answers.
    public var problem: String?
    public var isGalera = false
    public var isReadOnly = false
    public var flushesEachCommit = true
    /// The `wsrep_` values by their names.
    public var values: [String: String] = [:]

    enum CodingKeys: String, CodingKey {
        case host, problem
        case isGalera = "galera"
        case isReadOnly = "read_only"
        case flushesEachCommit = "flushes_each_commit"
        case values = "wsrep"
    }

    public static let names = [
        "wsrep_last_committed", "wsrep_local_state_comment", "wsrep_incoming_addresses", "wsrep_cluster_size",
        "wsrep_cluster_status", "wsrep_ready", "wsrep_cluster_state_uuid",
    ]

    var isReady: Bool { problem == nil && (!isGalera || values["wsrep_ready"] == "ON") }
    var isPrimary: Bool { problem == nil && (!isGalera || values["wsrep_cluster_status"] == "Primary") }
    var isSynced: Bool { problem == nil && (!isGalera || values["wsrep_local_state_comment"] == "Synced") }
    var size: Int { values["wsrep_cluster_size"].flatMap(Int.init) ?? 0 }

    /// What a value says, for a person.
    public static func meaning(of name: String, _ value: String, hosts: Int) -> String {
        switch name {
        case "wsrep_last_committed": "number of the last transaction; it only grows"
        case "wsrep_local_state_comment":
            switch value {
            case "Synced": "has everything"
            case "Donor/Desynced": "gives another node its data meanwhile"
            case "Initialized": "not connected to the others"
            case let text where text.hasPrefix("Join") || text.hasPrefix("Waiting"): "still synchronises"
            default: "in between"
            }
        case "wsrep_incoming_addresses": "nodes of the cluster"
        case "wsrep_cluster_size": "of \(hosts) in the URL; alone it says nothing of health"
        case "wsrep_cluster_status": value == "Primary" ? "has quorum" : "has no quorum: takes no writes"
        case "wsrep_ready": value == "ON" ? "takes requests" : "takes no requests"
        default: ""
        }
    }
}

extension StoreVerdict {
    /// The one verdict from all nodes' values (HA-05 to HA-07, HA-11): the size of the cluster alone is not health.
    static func of(_ nodes: [DatabaseNodeReport]) -> (verdict: Self, sentence: String) {
        let answering = nodes.filter { $0.problem == nil }
        guard !answering.isEmpty else {
            return (.unreachable, "no database server answers: " + nodes.compactMap(\.problem).joined(separator: "; "))
        }
        let clusters = Set(
            answering.filter { $0.isGalera && $0.isPrimary }.compactMap { $0.values["wsrep_cluster_state_uuid"] })
        guard clusters.count <= 1 else {
            return (
                .divided,
                "nodes that should be one cluster are \(clusters.count), with different histories: stop all managers, and find "
                    + "out which has the newest record before anything else"
            )
        }
        guard answering.contains(where: { $0.isReady && $0.isPrimary }) else {
            let joining = answering.filter { $0.isPrimary && !$0.isReady }
            if !joining.isEmpty {
                return (.synchronising, "\(names(joining)) still synchronises, and no node takes requests yet; wait")
            }
            return (
                .noQuorum,
                "no node has quorum: nothing can be changed until more than half of them see each other; start those that are "
                    + "down, or recover the cluster from the newest one"
            )
        }
        let writable = answering.filter { $0.isReady && $0.isPrimary && !$0.isReadOnly }
        guard !writable.isEmpty else {
            return (
                .readOnly,
                "\(names(answering)) is set to read only: nothing can be changed (SET GLOBAL read_only = OFF)"
            )
        }
        let behind = answering.filter { $0.isPrimary && !($0.isReady && $0.isSynced) }
        guard behind.isEmpty else {
            return (
                .synchronising,
                "\(names(behind)) still synchronises, which may take minutes; the others serve; restart no other node until it "
                    + "is Synced"
            )
        }
        let absent = nodes.filter { !$0.isReady || !$0.isPrimary }
        guard absent.isEmpty else {
            return (.degraded, "\(names(absent)) is out; the others have quorum and serve; start it again")
        }
        let size = answering.map(\.size).max() ?? 0
        if answering.contains(where: \.isGalera), size < nodes.count {
            return (.degraded, "the cluster has \(size) of the \(nodes.count) nodes in the URL")
        }
        return (.healthy, "all is well")
    }

    private static func names(_ nodes: [DatabaseNodeReport]) -> String { nodes.map(\.host).joined(separator: ", ") }
}

extension StoreReport {
    /// Looks at a record without changing anything; never fails.
    public static func of(_ location: StoreLocation) -> StoreReport {
        var report = StoreReport(
            verdict: .unusable, sentence: "", engine: location.engine.rawValue, location: "\(location)",
            schemaKnown: Migration.all.map(\.number).max() ?? 0)
        switch location {
        case .file(let path): report.lookAtFile(path)
        case .mariaDB(let address): report.lookAt(address)
        }
        return report
    }

    private mutating func lookAtFile(_ path: String) {
        guard FileManager.default.fileExists(atPath: path) else {
            sentence = "there is no record at \(path); roost-manager init makes one"
            return
        }
        sizeBytes = ["", "-wal"].reduce(0) { size, end in
            let attributes = try? FileManager.default.attributesOfItem(atPath: path + end)
            return size + ((attributes?[.size] as? NSNumber)?.int64Value ?? 0)
        }
        if let holder = FileLock.holder(of: path) {
            writer = "process \(holder.process)"
            waitingWrites = holder.waiting
            lastCommitAt = holder.lastCommit.map { Timestamp(milliseconds: $0).description }
        }
        do {
            let connection = try SQLiteConnection(path: path, role: .reading)
            serverVersion = try connection.query("SELECT sqlite_version() AS v").first?.text("v")
            guard try lookInside(connection) else { return }
            (verdict, sentence) = (.healthy, "all is well")
            // Far below what the record needs to go on for long.
            if let free = Self.freeBytes(path), free < 256 << 20 {
                notes.append(
                    "the disk that holds the record has \(free >> 20) MiB free; once it is full, nothing can be changed"
                )
            }
        } catch {
            sentence = "\(error)"
        }
    }

    private static func freeBytes(_ path: String) -> Int64? {
        let attributes = try? FileManager.default.attributesOfFileSystem(forPath: path)
        return (attributes?[.systemFreeSize] as? NSNumber)?.int64Value
    }

    private mutating func lookAt(_ address: MariaDBAddress) {
        databaseNodes = address.hosts.map { host in
            var one = address
            one.hosts = [host]
            return DatabaseNodeReport(of: one, host: host)
        }
        (verdict, sentence) = StoreVerdict.of(databaseNodes)
        for node in databaseNodes where !node.flushesEachCommit {
            notes.append(
                "\(node.host) does not write each commit to its disk (innodb_flush_log_at_trx_commit is not 1): a crash of all "
                    + "database machines at once could lose what was acknowledged")
        }
        guard databaseNodes.contains(where: { $0.problem == nil }) else { return }
        do {
            let connection = try MariaDBConnection(address, role: .reading)
            serverVersion = try connection.query("SELECT VERSION() AS v").first?.text("v")
            sizeBytes = try connection.query(
                """
                SELECT COALESCE(SUM(data_length + index_length), 0) AS size FROM information_schema.tables
                WHERE table_schema = DATABASE()
                """
            ).first?.integer("size")
            let sessions = try StoreMaintenance.sessions(of: connection)
            writer = sessions.isEmpty ? nil : "\(sessions.count) sessions"
            waitingWrites = sessions.count { $0.contains("UPDATE write_turn") }
            let isUsable = try lookInside(connection)
            if !isUsable { verdict = .unusable }
        } catch {
            if verdict == .healthy { (verdict, sentence) = (.unusable, "\(error)") }
        }
    }

    /// - Returns: whether this program can use the record.
    private mutating func lookInside(_ connection: any SQLConnection) throws -> Bool {
        guard try connection.hasColumn("number", in: "schema_migrations") else {
            sentence = "the database holds no record yet; roost-manager init makes one"
            return false
        }
        let applied = try connection.query("SELECT MAX(number) AS n FROM schema_migrations").first?.optionalInteger("n")
        if applied == Int64(Migration.incomplete) {
            sentence = "\(StoreError.incomplete)"
            return false
        }
        schema = applied.map(Int.init)
        guard (schema ?? 0) <= schemaKnown else {
            sentence = "\(StoreError.schemaTooNew(found: schema ?? 0, known: schemaKnown))"
            return false
        }
        if (schema ?? 0) < schemaKnown { notes.append("the next start of this version brings the schema up to date") }
        func count(_ table: String, _ condition: String = "1 = 1") throws -> Int? {
            try connection.query("SELECT COUNT(*) AS n FROM \(table) WHERE \(condition)").first?.int("n")
        }
        instances = try count("instances", "status <> 'DELETED'")
        nodes = try count("nodes")
        users = try count("users")
        if let row = try connection.query("SELECT sequence, at FROM event_log ORDER BY sequence DESC LIMIT 1").first {
            lastEvent = try row.integer("sequence")
            lastEventAt = try row.timestamp("at").description
        }
        return true
    }
}

extension DatabaseNodeReport {
    init(of address: MariaDBAddress, host: MariaDBAddress.Host) {
        self.init(host: host.description)
        do throws(StoreError) {
            let session = try MariaDBSession(host, of: address, .init())
            let state = try MariaDBNodeState(of: session)
            isReadOnly = state.isReadOnly
            isGalera = state.isGalera
            let flush = try session.command("SELECT @@global.innodb_flush_log_at_trx_commit AS flush").rows.first?[
                "flush"]
            flushesEachCommit = flush == "1"
            guard isGalera else { return }
            for row in try session.command("SHOW GLOBAL STATUS LIKE 'wsrep_%'").rows {
                if let name = row["Variable_name"], Self.names.contains(name) { values[name] = row["Value"] ?? "" }
            }
        } catch {
            problem = "\(error)"
        }
    }
}
