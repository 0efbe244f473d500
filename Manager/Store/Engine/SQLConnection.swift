import ManagerModel

/// One connection to the record, of either engine. Used by one thread at a time; the store's threads see to that.
///
/// Work comes in reads (a snapshot of the last commit) and batches (one transaction with a part for each write). A batch
/// or read whose transaction the engine has ended on its own is `broken`: every further statement fails with the same
/// error until `rollBack`, so that no body can go on outside its transaction unawares.
protocol SQLConnection: AnyObject {
    var engine: StoreEngine { get }
    /// What was decoded for those who read through this connection.
    var inventories: DecodedColumn<NodeInventory> { get }
    /// Kept up by those who write through this connection.
    var nodeChanges: NodeChanges { get }
    /// What a batch has read already.
    var memory: BatchMemory { get }
    /// Why the transaction that was begun is gone; `nil` while it stands.
    var broken: StoreError? { get }
    /// Rows that the last statement matched.
    var changes: Int { get }

    func query(_ sql: String, _ arguments: [SQLValue]) throws(StoreError) -> [SQLRow]
    /// Runs a statement whose rows, if any, nobody wants.
    func run(_ sql: String, _ arguments: [SQLValue]) throws(StoreError)

    func beginRead() throws(StoreError)
    func endRead()

    func beginBatch() throws(StoreError)
    /// Begins one write's part of the batch.
    func beginWrite() throws(StoreError)
    /// Undoes the part that `beginWrite` began.
    func undoWrite() throws(StoreError)
    func keepWrite() throws(StoreError)
    /// - Throws: `.conflict` where the batch is certainly not in; `.unavailable(.outcomeUnknown)` where `settle` must say.
    func commitBatch() throws(StoreError)
    /// Ends whatever is open and makes the connection fit for the next transaction.
    func rollBack()
    /// Whether the batch is in whose `commitBatch` threw `.outcomeUnknown`. May be asked again after it threw.
    func settle() throws(StoreError) -> Bool

    /// Runs `body` while no other process runs the same: the lock of migrations. Between statements that may take long,
    /// `body` calls what it is given.
    func exclusively(_ body: (_ renew: () throws -> Void) throws -> Void) throws
    /// Whether the table has the column.
    func hasColumn(_ column: String, in table: String) throws(StoreError) -> Bool
}

extension SQLConnection {
    func run(_ sql: String) throws(StoreError) { try run(sql, []) }
    func query(_ sql: String) throws(StoreError) -> [SQLRow] { try query(sql, []) }
}
