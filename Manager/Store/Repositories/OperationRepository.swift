public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var operations: OperationRepository { OperationRepository(sql: self) }
}

public struct OperationRepository {
    let sql: Transaction

    public func find(_ id: OperationID) throws -> Operation? {
        try sql.query("SELECT * FROM operations WHERE id = ?", id).first.map(Operation.init(row:))
    }

    public func list(_ scope: Scope, _ page: Page = .everything) throws -> [Operation] {
        var conditions = Conditions()
        conditions.add(scope)
        conditions.add(page)
        return try sql.query(
            "SELECT * FROM operations\(conditions.sql)\(page.tail)",
            arguments: conditions.arguments + [page.limit]
        ).map(Operation.init(row:))
    }

    public func running(_ kind: Operation.Kind) throws -> [Operation] {
        try sql.query("SELECT * FROM operations WHERE status = 'running' AND kind = ? ORDER BY id", kind.rawValue)
            .map(Operation.init(row:))
    }

    /// Prefills with hosts to which nothing is sent yet.
    public func waitingPrefills() throws -> [OperationID] {
        try sql.query(
            """
            SELECT id FROM operations WHERE status = 'running' AND kind = ? AND hosts LIKE '%"state":"waiting"%' ORDER BY id
            """, Operation.Kind.imagePrefill.rawValue
        ).map { try $0.id("id") }
    }

    public func insert(_ operation: Operation) throws {
        try sql.execute(
            """
            INSERT INTO operations (id, kind, status, progress, steps, resource_kind, resource_id, resource_name, owner_id,
                parameters, hosts, error_code, error_detail, created_at, finished_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            operation.id, operation.kind.rawValue, operation.status.rawValue, operation.progress,
            try jsonText(operation.steps), operation.resource.kind, operation.resource.id, operation.resource.name,
            operation.owner, try jsonText(operation.parameters), try jsonText(operation.hosts), operation.errorCode,
            operation.errorDetail, operation.createdAt, operation.finishedAt)
        sql.note(.operation(operation.id))
    }

    public func update(_ operation: Operation) throws {
        try sql.execute(
            """
            UPDATE operations SET status = ?, progress = ?, steps = ?, parameters = ?, hosts = ?, error_code = ?,
                error_detail = ?, finished_at = ? WHERE id = ?
            """,
            operation.status.rawValue, operation.progress, try jsonText(operation.steps),
            try jsonText(operation.parameters), try jsonText(operation.hosts),
            operation.errorCode, operation.errorDetail, operation.finishedAt, operation.id)
        sql.note(.operation(operation.id))
    }
}

extension Operation {
    init(row: SQLRow) throws {
        self.init(
            id: try row.id("id"), kind: try row.choice("kind"), status: try row.choice("status"),
            progress: try row.int("progress"), steps: try row.json("steps"),
            resource: ResourceReference(
                kind: try row.text("resource_kind"), id: try row.text("resource_id"),
                name: try row.text("resource_name")),
            owner: try row.optionalID("owner_id"), parameters: try row.json("parameters"), hosts: try row.json("hosts"),
            errorCode: try row.optionalText("error_code"), errorDetail: try row.optionalText("error_detail"),
            createdAt: try row.timestamp("created_at"), finishedAt: try row.optionalTimestamp("finished_at"))
    }
}
