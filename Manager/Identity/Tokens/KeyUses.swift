import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization

/// When and from where API keys were used lately, kept until it is written for all of them at once: a write for each request
/// would cost more than the request.
final class KeyUses: Sendable {
    struct Use: Sendable {
        var at: Timestamp
        var address: String
    }

    private static let limit = 100_000
    private let uses = Mutex<[APIKeyID: Use]>([:])

    func note(_ key: APIKeyID, at now: Timestamp, from address: String) {
        uses.withLock { uses in
            // A second is near enough, and most requests come within one.
            if let last = uses[key], now - last.at < .seconds(1) { return }
            guard uses.count < Self.limit || uses[key] != nil else { return }
            uses[key] = Use(at: now, address: address)
        }
    }

    func take() -> [APIKeyID: Use] {
        uses.withLock { uses in
            defer { uses.removeAll(keepingCapacity: true) }
            return uses
        }
    }
}

extension TokenService {
    /// Writes down when API keys were used last. To be called every few seconds, and at the end.
    public func recordUses() async throws {
        let uses = uses.take()
        guard !uses.isEmpty else { return }
        do {
            try await store.store.write(isPatient: true) { sql in
                for (key, use) in uses { try sql.apiKeys.markUsed(key, at: use.at, from: use.address) }
            }
        } catch {
            // Not lost with one outage of the database.
            for (key, use) in uses { self.uses.note(key, at: use.at, from: use.address) }
            throw error
        }
    }
}
