public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var managers: ManagerRepository { ManagerRepository(sql: self) }
    public var leadership: LeaseRepository { LeaseRepository(sql: self) }
}

/// The managers of the site.
public struct ManagerRepository {
    let sql: Transaction

    /// Writes who a manager is now, under its ID.
    public func register(_ manager: ManagerRecord) throws {
        try sql.execute("DELETE FROM managers WHERE id = ?", manager.id)
        try sql.execute(
            """
            INSERT INTO managers (id, name, api_address, agent_address, chunk_address, version, started_at, renewals)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            """,
            manager.id, manager.name, manager.apiAddress, manager.agentAddress, manager.chunkAddress, manager.version,
            manager.startedAt, manager.renewals)
    }

    /// Says that a manager lives.
    ///
    /// - Returns: `false` where it is not on record any more.
    public func renew(_ id: ManagerID) throws -> Bool {
        try sql.execute("UPDATE managers SET renewals = renewals + 1 WHERE id = ?", id) > 0
    }

    public func find(_ id: ManagerID) throws -> ManagerRecord? {
        try sql.query("SELECT * FROM managers WHERE id = ?", id).first.map(ManagerRecord.init(row:))
    }

    /// In order of name.
    public func list() throws -> [ManagerRecord] {
        try sql.query("SELECT * FROM managers ORDER BY name").map(ManagerRecord.init(row:))
    }

    /// Forgets a manager that is gone for good, with the images' files that it had.
    public func remove(_ id: ManagerID) throws {
        try sql.execute("DELETE FROM image_files WHERE manager_id = ?", id)
        try sql.execute("DELETE FROM managers WHERE id = ?", id)
    }

    // MARK: Files of images

    /// The manager that has, or receives, the files of an image.
    public func holder(of image: ImageID) throws -> ManagerID? {
        try sql.query("SELECT manager_id FROM image_files WHERE image_id = ?", image).first?.id("manager_id")
    }

    public func hold(_ image: ImageID, by manager: ManagerID) throws {
        try sql.execute("DELETE FROM image_files WHERE image_id = ?", image)
        try sql.execute("INSERT INTO image_files (image_id, manager_id) VALUES (?, ?)", image, manager)
    }

    /// Where nodes pull an image's chunks that no other node gives them; `nil`: from the manager that they have a session
    /// with, since there is no other.
    public func chunkAddress(of image: ImageID) throws -> String? {
        let managers = try list()
        guard managers.count > 1, let holder = try holder(of: image) else { return nil }
        return managers.first { $0.id == holder }?.chunkAddress
    }
}

/// The lease of leadership. Each change is one statement that says what it expects to find, so that of two managers that
/// want the lease at once one gets it.
public struct LeaseRepository {
    let sql: Transaction

    public func lease() throws -> Lease? {
        try sql.query("SELECT * FROM leadership WHERE id = 1").first.map { row in
            Lease(
                holder: try row.optionalID("holder"), term: Term(try row.integer("term")),
                renewals: try row.integer("renewals"), resignTerm: try row.optionalInteger("resign_term").map(Term.init)
            )
        }
    }

    /// Takes the lease for a new term, unless it has changed since it was `expected`.
    public func acquire(over expected: Lease?, for manager: ManagerID) throws -> Term? {
        let current = try lease()
        guard current?.term == expected?.term, current?.renewals == expected?.renewals else { return nil }
        guard let current else {
            try sql.execute("INSERT INTO leadership (id, holder, term, renewals) VALUES (1, ?, 1, 1)", manager)
            return Term(1)
        }
        let term = Term(current.term.number + 1)
        let count = try sql.execute(
            """
            UPDATE leadership SET holder = ?, term = ?, renewals = renewals + 1, resign_term = NULL
            WHERE id = 1 AND term = ? AND renewals = ?
            """, manager, term.number, current.term.number, current.renewals)
        return count == 1 ? term : nil
    }

    /// Says that the leader of a term lives.
    ///
    /// - Returns: `false` where the term is over.
    public func renew(_ term: Term) throws -> Bool {
        try sql.execute(
            "UPDATE leadership SET renewals = renewals + 1 WHERE id = 1 AND term = ? AND holder IS NOT NULL",
            term.number) == 1
    }

    /// Hands the lease back; nothing where the term is over.
    public func release(_ term: Term) throws {
        try sql.execute(
            "UPDATE leadership SET holder = NULL, renewals = renewals + 1 WHERE id = 1 AND term = ?", term.number)
    }

    /// Asks whoever leads to hand the lease over.
    ///
    /// - Returns: the term that is to end; `nil` where nobody leads.
    public func askToResign() throws -> Term? {
        guard let lease = try lease(), lease.holder != nil else { return nil }
        try sql.execute("UPDATE leadership SET resign_term = term WHERE id = 1 AND term = ?", lease.term.number)
        return lease.term
    }

    /// To be called first in every transaction that a leader makes as such: an old leader changes nothing.
    ///
    /// - Throws: `Refusal.notLeader` where the term is over.
    public func check(_ term: Term) throws {
        guard let lease = try lease(), lease.term == term, lease.holder != nil else {
            throw Refusal(.notLeader, "term \(term) of this manager's leadership is over")
        }
    }
}

extension Store {
    /// A write in the role of the leader: refused, in its own transaction, once another leads (see `Leadership`).
    ///
    /// - Throws: `Refusal.notLeader`, what `body` throws, or a `StoreError`.
    public func write<Result: Sendable>(
        as term: Term, isPatient: Bool = false, _ body: @escaping @Sendable (Transaction) throws -> Result
    ) async throws -> Result {
        try await write(isPatient: isPatient) { sql in
            try sql.leadership.check(term)
            return try body(sql)
        }
    }
}

extension ManagerRecord {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), name: try row.text("name"), apiAddress: try row.text("api_address"),
            agentAddress: try row.text("agent_address"), chunkAddress: try row.text("chunk_address"),
            version: try row.text("version"), startedAt: try row.timestamp("started_at"),
            renewals: try row.integer("renewals"))
    }
}
