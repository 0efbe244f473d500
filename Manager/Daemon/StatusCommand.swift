import ArgumentParser
import Foundation
import ManagerLeadership
import ManagerModel
import ManagerStore
import ProtocolModel

/// What an operator asks on a manager's host, of the record itself: it works also where no API answers.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Lists the site's managers: who leads, and which are alive.",
        discussion: "Watches the record for some seconds, and reads only. For a site on MariaDB.")

    @OptionGroup var options: SettingsOptions

    func run() async throws {
        let store = try options.read().sharedStore()
        defer { store.close() }
        let time = SystemTime()
        var watch = ManagerWatch()
        let end = time.uptime + watch.patience
        var (managers, lease) = try await Self.look(store)
        watch.observe(managers, at: time.uptime)
        while time.uptime < end, managers.contains(where: { watch.liveness(of: $0.id, at: time.uptime) != .alive }) {
            try await Task.sleep(for: .milliseconds(250))
            (managers, lease) = try await Self.look(store)
            watch.observe(managers, at: time.uptime)
        }
        let now = time.uptime
        let rows = managers.map { manager in
            [
                manager.name, manager.id == lease?.holder ? "leader" : "follower",
                watch.liveness(of: manager.id, at: now).rawValue, manager.apiAddress, manager.agentAddress,
                manager.version,
            ]
        }
        Self.print([["NAME", "ROLE", "STATUS", "API", "AGENTS", "VERSION"]] + rows)
        if lease?.holder == nil { Swift.print("nobody leads just now") }
    }

    private static func look(_ store: Store) async throws -> ([ManagerRecord], Lease?) {
        try await store.read { sql in (try sql.managers.list(), try sql.leadership.lease()) }
    }

    private static func print(_ rows: [[String]]) {
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        for row in rows {
            let cells = zip(row, widths).map { text, width in text.padding(toLength: width, withPad: " ", startingAt: 0)
            }
            Swift.print(cells.joined(separator: "  "))
        }
    }
}

struct StepDownCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stepdown",
        abstract: "Asks the manager that leads to hand leadership over, before an upgrade, say.",
        discussion: "Returns once another leads. A manager that is stopped hands it over by itself.")

    @OptionGroup var options: SettingsOptions

    func run() async throws {
        let store = try options.read().sharedStore()
        defer { store.close() }
        guard let term = try await store.write({ sql in try sql.leadership.askToResign() }) else {
            print("nobody leads just now")
            return
        }
        let time = SystemTime()
        let end = time.uptime + .seconds(15)
        while time.uptime < end {
            let (lease, leader) = try await store.read { sql in
                let lease = try sql.leadership.lease()
                return (lease, try lease?.holder.flatMap { try sql.managers.find($0) })
            }
            if let lease, lease.term > term, let leader {
                print("\(leader.name) leads now")
                return
            }
            try await Task.sleep(for: .milliseconds(200))
        }
        throw SiteError.files("nobody else took over within 15 s; look at 'roost-manager status'")
    }
}

struct ForgetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget", abstract: "Forgets a manager that is gone for good.",
        discussion: "Images that only it had must be uploaded again.")

    @OptionGroup var options: SettingsOptions
    @Argument(help: "Its name or ID.") var manager: String

    func run() async throws {
        let store = try options.read().sharedStore()
        defer { store.close() }
        let reference = manager
        let found = try await store.read { sql in
            try sql.managers.list().filter { $0.name == reference || "\($0.id)" == reference }
        }
        guard let record = found.first, found.count == 1 else {
            throw SiteError.files(
                "there is no manager '\(reference)', or several; give an ID of 'roost-manager status'")
        }
        print("looking for seven seconds whether \(record.name) is alive")
        try await Task.sleep(for: .seconds(7))
        try await store.write { sql in
            guard let now = try sql.managers.find(record.id) else { return }
            guard now.renewals == record.renewals else {
                throw SiteError.files("'\(record.name)' is alive; stop it first")
            }
            try sql.managers.remove(record.id)
        }
        print("\(record.name) is forgotten")
    }
}

extension ManagerSettings {
    /// The record of a site with several managers, beside those that run.
    fileprivate func sharedStore() throws -> Store {
        let location = try storeLocation()
        guard location.engine == .mariadb else {
            throw SiteError.files(
                "this site's record is in an SQLite file, so it has one manager, which leads; see also 'roost-manager store status'"
            )
        }
        return try Store(location)
    }
}
