import Foundation

/// Lets one process at a time migrate a database that several share.
///
/// MariaDB commits at each DDL statement, so that no transaction can hold the lock, and Galera knows no named locks: it is a
/// row that its holder counts up before each statement. Who sees it stand still for long enough takes it over; should the
/// first holder come back after all, statements that may run twice do no harm.
struct MigrationLock {
    let holder: String
    var patience: Duration = .seconds(20)
    var pause: () -> Void = { Thread.sleep(forTimeInterval: 0.25) }

    func hold(on connection: MariaDBConnection, _ body: (_ renew: () throws -> Void) throws -> Void) throws {
        try connection.run("INSERT IGNORE INTO migration_lock (name, holder, renewals) VALUES ('migrations', '', 0)")
        try connection.run("INSERT IGNORE INTO write_turn (writer, batch, registered) VALUES ('', 0, 0)")
        try take(on: connection)
        defer {
            try? connection.run(
                "UPDATE migration_lock SET holder = '' WHERE name = 'migrations' AND holder = ?", [.text(holder)])
        }
        try body {
            try connection.run(
                "UPDATE migration_lock SET renewals = renewals + 1 WHERE name = 'migrations' AND holder = ?",
                [.text(holder)])
        }
    }

    private func take(on connection: MariaDBConnection) throws {
        let clock = ContinuousClock()
        var seen: (holder: String, renewals: Int64)?
        var since = clock.now
        while true {
            let rows = try connection.query("SELECT holder, renewals FROM migration_lock WHERE name = 'migrations'")
            guard let row = rows.first else { throw StoreError.corrupt("the table migration_lock") }
            let found = (holder: try row.text("holder"), renewals: try row.integer("renewals"))
            if seen == nil || seen! != found { (seen, since) = (found, clock.now) }
            if found.holder.isEmpty || clock.now - since > patience {
                try connection.run(
                    """
                    UPDATE migration_lock SET holder = ?, renewals = renewals + 1
                    WHERE name = 'migrations' AND holder = ? AND renewals = ?
                    """, [.text(holder), .text(found.holder), .integer(found.renewals)])
                if connection.changes == 1 { return }
            }
            pause()
        }
    }
}
