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
        let pattern = try Self.free(pattern, in: transaction)
        guard try transaction.registrations.entries().count < Self.maximumEntries else {
            throw Refusal(
                .conflict,
                "the list has \(Self.maximumEntries) entries, which is the most; use patterns such as *@example.org")
        }
        let entry = WhitelistEntry(
            id: .generate(at: now), pattern: pattern, description: description, createdAt: now)
        try transaction.registrations.insert(entry)
        try event("registration_entry.created", from: nil, to: entry, by: actor, at: now, in: transaction)
        return entry
    }

    public func change(
        _ entry: WhitelistEntry, pattern: String? = nil, description: String? = nil, by actor: Actor,
        at now: Timestamp, in transaction: Transaction
    ) throws -> WhitelistEntry {
        var changed = entry
        if let pattern { changed.pattern = try Self.free(pattern, but: entry.id, in: transaction) }
        changed.description = description ?? entry.description
        guard changed != entry else { return entry }
        try transaction.registrations.update(changed)
        try event("registration_entry.changed", from: entry, to: changed, by: actor, at: now, in: transaction)
        return changed
    }

    public func remove(
        _ entry: WhitelistEntry, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws {
        try transaction.registrations.remove(entry.id)
        try event("registration_entry.deleted", from: entry, to: nil, by: actor, at: now, in: transaction)
    }

    /// The pattern that a text says, where no other entry has it.
    private static func free(
        _ text: String, but present: WhitelistEntryID? = nil, in transaction: Transaction
    ) throws -> WhitelistPattern {
        guard let pattern = WhitelistPattern(text) else {
            throw Refusal(
                .invalidRequest, "this is no pattern of people",
                fields: [.init(pointer: "/pattern", detail: "must be \(WhitelistPattern.form)")])
        }
        if let other = try transaction.registrations.entry(pattern), other.id != present {
            throw Refusal(.nameTaken, "'\(pattern)' is on the list already")
        }
        return pattern
    }

    private func event(
        _ kind: String, from old: WhitelistEntry?, to new: WhitelistEntry?, by actor: Actor, at now: Timestamp,
        in transaction: Transaction
    ) throws {
        guard let entry = new ?? old else { return }
        try transaction.events.append(
            kind, actor: actor, owner: nil,
            resource: ResourceReference(kind: "registration_entry", id: "\(entry.id)", name: entry.pattern.text),
            changes: Event.differences(from: old, to: new), at: now)
    }
}
