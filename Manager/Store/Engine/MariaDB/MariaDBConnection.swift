import Glibc
import ManagerModel
import ProtocolModel

/// The record on MariaDB: finds a server that serves, keeps the connection, and makes transactions of all managers serial.
///
/// **The turn.** Each batch begins with an update of one row of `write_turn`. On one server the row's lock, across Galera
/// nodes a certification conflict, lets one batch at a time commit, so that what a write reads is the last commit, as on
/// SQLite. **The mark.** The same statement counts up a row of this writer's own. When a connection ends during a commit,
/// the writer takes the turn anew, which waits for whatever became of the old transaction, and reads its mark. **The count.**
/// The turn's row counts batches, so that a writer knows whether others had the turn since its own last batch.
final class MariaDBConnection: SQLConnection {
    enum Role {
        case writing
        case reading
        /// Migrations, backups and copies: long statements, and long pauses between them.
        case maintaining
    }

    let engine = StoreEngine.mariadb
    let inventories: DecodedColumn<NodeInventory>
    /// Other managers write, too; the turn tells when.
    let nodeChanges = NodeChanges(isShared: true)
    let memory = BatchMemory()
    private(set) var broken: StoreError?
    /// Whether reads are answered by a node without quorum, and so may be old.
    private(set) var readsOld = false

    private let address: MariaDBAddress
    private let role: Role
    private let times: MariaDBSession.Times
    private var session: MariaDBSession?
    /// Whether a transaction was begun that the caller has not ended.
    private var isBegun = false
    private var hostIndex = 0
    /// Hosts whose disk is full, with the time until which others are preferred to them.
    private var fullUntil: [Int: ContinuousClock.Instant] = [:]
    /// Whether the session is to end with its transaction, for one on another host.
    private var leavesHost = false
    private let clock = ContinuousClock()
    /// No attempt to connect before this, and the reason.
    private var closedUntil: (ContinuousClock.Instant, StoreError)?
    private var nextLook: ContinuousClock.Instant

    private let writer: String
    /// The mark of this writer's last batch that is in; `nil` while it is not known.
    private var mark: Int64?
    /// The turn's count in the batch that is open, and in this writer's last batch that is in.
    private var turn: Int64?
    private var lastTurn: Int64?

    init(
        _ address: MariaDBAddress, role: Role, times: MariaDBSession.Times = .init(),
        inventories: DecodedColumn<NodeInventory> = .ofNodes()
    ) throws(StoreError) {
        var times = times
        if role == .maintaining {
            times.answerSeconds = 600
            times.idleTransactionSeconds = 600
        }
        self.address = address
        self.inventories = inventories
        self.role = role
        self.times = times
        var random = SystemRandomNumberGenerator()
        writer = String(random.next(), radix: 36) + String(random.next(), radix: 36)
        nextLook = clock.now
        _ = try ready()
    }

    /// The server that answers, for a person.
    var host: MariaDBAddress.Host? { session?.host }
    var changes: Int { session?.changes ?? 0 }

    // MARK: Statements

    func query(_ sql: String, _ arguments: [SQLValue]) throws(StoreError) -> [SQLRow] {
        try guarded { session throws(StoreError) in try session.query(sql, arguments) }
    }

    func run(_ sql: String, _ arguments: [SQLValue]) throws(StoreError) {
        try guarded { session throws(StoreError) in
            if arguments.isEmpty {
                try session.command(sql)
            } else {
                _ = try session.query(sql, arguments)
            }
        }
    }

    /// Rows as text, of a statement that servers answer in every state.
    func report(_ sql: String) throws(StoreError) -> [MariaDBSession.TextRow] {
        try guarded { session throws(StoreError) in try session.command(sql).rows }
    }

    private func guarded<Result>(
        _ body: (MariaDBSession) throws(StoreError) -> Result
    ) throws(StoreError) -> Result {
        if let broken { throw broken }
        let session = try ready()
        do throws(StoreError) {
            return try body(session)
        } catch {
            let error = leaving(session.host, for: error)
            if MariaDBFault.endsTransaction(error) { broken = error }
            // An error that this program does not know may have ended the transaction, and the next statement would be kept
            // alone.
            if case .engine = error, isBegun, (try? session.isInTransactionNow()) != true {
                broken = .conflict("\(error)")
            }
            throw error
        }
    }

    /// A full disk is one host's trouble as long as there is another: then it is left, as if the connection had been lost.
    private func leaving(_ host: MariaDBAddress.Host, for error: StoreError) -> StoreError {
        guard case .diskFull = error else { return error }
        fullUntil[hostIndex] = clock.now + .seconds(30)
        guard address.hosts.indices.contains(where: hasSpace) else { return error }
        leavesHost = true
        return .unavailable(.lost("\(host): its disk is full"))
    }

    private func hasSpace(_ index: Int) -> Bool {
        fullUntil[index].map { $0 <= clock.now } ?? true
    }

    // MARK: Transactions

    func beginRead() throws(StoreError) {
        lookForBetter()
        try run("START TRANSACTION READ ONLY")
        isBegun = true
    }

    func endRead() {
        isBegun = false
        guard broken == nil else { return rollBack() }
        do throws(StoreError) { try run("COMMIT") } catch { rollBack() }
    }

    func beginBatch() throws(StoreError) {
        lookForBetter()
        // Twice where this writer has no row yet.
        for _ in 0..<2 {
            let (rows, changes) = try guarded { session throws(StoreError) in
                try session.command(
                    """
                    START TRANSACTION; UPDATE write_turn SET batch = batch + 1 WHERE writer IN ('', '\(writer)'); \
                    SELECT batch FROM write_turn WHERE writer = ''
                    """)
            }
            if changes == [0, 2, 1] {
                isBegun = true
                turn = rows.first?["batch"].flatMap { Int64($0) }
                if turn == nil || turn != lastTurn.map({ $0 + 1 }) { nodeChanges.missed() }
                if mark == nil { mark = try ownMark().map { $0 - 1 } }
                return
            }
            try run("ROLLBACK")
            try register()
        }
        throw .engine(code: 0, message: "the table write_turn cannot be written")
    }

    private func ownMark() throws(StoreError) -> Int64? {
        do {
            return try query("SELECT batch FROM write_turn WHERE writer = ?", [.text(writer)]).first?.integer("batch")
        } catch let error as StoreError {
            throw error
        } catch {
            throw .corrupt("the table write_turn")
        }
    }

    /// Gives this writer its row, and removes those of writers long gone.
    private func register() throws(StoreError) {
        let kept = 1_000_000
        mark = nil
        try run("START TRANSACTION; UPDATE write_turn SET batch = batch + 1 WHERE writer = ''")
        let rows = try query("SELECT batch FROM write_turn WHERE writer = ''")
        guard case .integer(let turn)? = rows.first?["batch"] else { throw .corrupt("write_turn has no turn") }
        try run(
            "INSERT INTO write_turn (writer, batch, registered) VALUES (?, 0, ?)", [.text(writer), .integer(turn)])
        try run("DELETE FROM write_turn WHERE writer <> '' AND registered < ?", [.integer(turn - Int64(kept))])
        try run("COMMIT")
        mark = 0
    }

    func beginWrite() throws(StoreError) { try run("SAVEPOINT w") }
    func undoWrite() throws(StoreError) { try run("ROLLBACK TO w") }
    /// The next `SAVEPOINT w` takes the place of this one.
    func keepWrite() throws(StoreError) {}

    func commitBatch() throws(StoreError) {
        guard session?.isInTransaction == true else { throw .conflict("the server ended the transaction") }
        do throws(StoreError) {
            isBegun = false
            try run("COMMIT")
            mark = mark.map { $0 + 1 }
            lastTurn = turn
        } catch {
            lastTurn = nil
            // The server says of these that nothing was done; after anything else, only the mark can tell.
            if case .conflict = error { throw error }
            throw .unavailable(.outcomeUnknown)
        }
    }

    func settle() throws(StoreError) -> Bool {
        guard let last = mark else { throw .unavailable(.outcomeUnknown) }
        // What the old connection left is decided before this one has the turn.
        try run("START TRANSACTION; UPDATE write_turn SET batch = batch + 1 WHERE writer = ''")
        let found = try ownMark()
        try run("COMMIT")
        guard let found else {
            mark = nil
            throw .unavailable(.outcomeUnknown)
        }
        mark = found
        return found > last
    }

    func rollBack() {
        let isLost = leavesHost || (session?.isLost ?? true)
        broken = nil
        isBegun = false
        leavesHost = false
        guard !isLost else {
            session = nil
            return
        }
        // Where the rollback fails the session goes, and with it the transaction.
        do throws(StoreError) { _ = try session?.command("ROLLBACK") } catch { session = nil }
    }

    // MARK: Servers

    /// A session, opened where there is none.
    private func ready() throws(StoreError) -> MariaDBSession {
        if let session { return session }
        if let (end, reason) = closedUntil, clock.now < end { throw reason }
        do throws(StoreError) {
            let hosts = Array(address.hosts.indices)
            let roomy = hosts.filter(hasSpace)
            let (session, index) = try connect(to: roomy.isEmpty ? hosts : roomy, times)
            (self.session, hostIndex) = (session, index)
            closedUntil = nil
            return session
        } catch {
            closedUntil = (clock.now + .seconds(1), error)
            throw error
        }
    }

    /// Tries the hosts in their order. A reader is content with a node without quorum where there is no other.
    private func connect(
        to indices: [Int], _ times: MariaDBSession.Times
    ) throws(StoreError) -> (MariaDBSession, Int) {
        var problems: [StoreError] = []
        var old: (MariaDBSession, Int)?
        for index in indices {
            do throws(StoreError) {
                let session = try MariaDBSession(address.hosts[index], of: address, times)
                let state = try MariaDBNodeState(of: session)
                if let outage = state.outage(forWriting: role != .reading) {
                    problems.append(.unavailable(outage))
                    if role == .reading, old == nil { old = (session, index) }
                    continue
                }
                // Reads of a Galera node wait until it has applied what was committed before them anywhere.
                if state.isGalera, role == .reading { try session.command("SET SESSION wsrep_sync_wait = 1") }
                readsOld = false
                return (session, index)
            } catch {
                problems.append(error)
            }
        }
        if let (session, index) = old {
            try session.command("SET SESSION wsrep_dirty_reads = ON, wsrep_sync_wait = 0")
            readsOld = true
            nextLook = clock.now + .seconds(1)
            return (session, index)
        }
        throw Self.summary(problems)
    }

    /// The reason that says most: a server that answers knows more than one that does not.
    private static func summary(_ problems: [StoreError]) -> StoreError {
        let messages = problems.compactMap { problem in
            if case .unavailable(.unreachable(let message)) = problem { message } else { nil }
        }
        let telling = problems.first { problem in
            if case .unavailable(.unreachable) = problem { false } else { true }
        }
        return telling ?? .unavailable(.unreachable(messages.joined(separator: "; ")))
    }

    /// Between transactions, and seldom: is a node with quorum, or a host that stands earlier in the URL, back? Managers
    /// that share one host do not run into one another's certification.
    private func lookForBetter() {
        guard session != nil, readsOld || hostIndex > 0, clock.now >= nextLook else { return }
        nextLook = clock.now + (readsOld ? .seconds(1) : .seconds(30))
        var quick = times
        quick.connectSeconds = 1
        let indices = (readsOld ? address.hosts.indices : 0..<hostIndex).filter(hasSpace)
        guard !indices.isEmpty else { return }
        let wasOld = readsOld
        do throws(StoreError) {
            let (found, index) = try connect(to: indices, quick)
            guard !readsOld else { return }
            (session, hostIndex) = (found, index)
        } catch {
            readsOld = wasOld
        }
    }

    // MARK: Schema

    func hasColumn(_ column: String, in table: String) throws(StoreError) -> Bool {
        try !query(
            "SELECT 1 FROM information_schema.columns WHERE table_schema = ? AND table_name = ? AND column_name = ?",
            [.text(address.database), .text(table), .text(column)]
        ).isEmpty
    }

    func exclusively(_ body: (_ renew: () throws -> Void) throws -> Void) throws {
        // Where it ended in the middle before, it begins anew.
        rollBack()
        for statement in Self.ownTables { try run(engine.definition(statement)) }
        try MigrationLock(holder: writer).hold(on: self, body)
    }

    /// Tables of this engine alone, which no backup holds.
    static let ownTables = [
        """
        CREATE TABLE IF NOT EXISTS write_turn (
            writer VARCHAR(36) NOT NULL PRIMARY KEY, batch BIGINT NOT NULL, registered BIGINT NOT NULL)
        """,
        """
        CREATE TABLE IF NOT EXISTS migration_lock (
            name VARCHAR(36) NOT NULL PRIMARY KEY, holder VARCHAR(36) NOT NULL, renewals BIGINT NOT NULL)
        """,
    ]

    static let ownTableNames: Set<String> = ["write_turn", "migration_lock"]
}
