public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// The rules about the list of those who may register (POR-12, POR-13).
public struct WhitelistService: Sendable {
    /// The list is looked through for each who registers.
    static let maximumEntries = 10_000

    public init() {}

    public func add(
        _ pattern: String, description: String, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws -> WhitelistEntry {
        guard let pattern = WhitelistPattern(pattern) else {
            throw Refusal(
                .invalidRequest, "this is no pattern of people",
                fields: [.init(pointer: "/pattern", detail: "must be \(WhitelistPattern.form)")])
        }
        guard try transaction.registrations.entry(pattern) == nil else {
            throw Refusal(.nameTaken, "'\(pattern)' is on the list already")
        }
        guard try transaction.registrations.entries().count < Self.maximumEntries else {
            throw Refusal(
                .conflict,
                "the list has \(Self.maximumEntries) entries, which is the most; use patterns such as *@example.org")
        }
        let entry = WhitelistEntry(
            id: .generate(at: now), pattern: pattern, description: description, createdAt: now)
        try transaction.registrations.insert(entry)
        try event("registration_entry.created", entry, by: actor, at: now, in: transaction)
        return entry
    }

    public func remove(
        _ entry: WhitelistEntry, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws {
        try transaction.registrations.remove(entry.id)
        try event("registration_entry.deleted", entry, by: actor, at: now, in: transaction)
    }

    private func event(
        _ kind: String, _ entry: WhitelistEntry, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws {
        try transaction.events.append(
            kind, actor: actor, owner: nil,
            resource: ResourceReference(kind: "registration_entry", id: "\(entry.id)", name: entry.pattern.text),
            at: now)
    }
}
