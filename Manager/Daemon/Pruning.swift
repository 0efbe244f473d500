import Logging
import ManagerModel
import ManagerStore
import ProtocolModel

/// Removes from the record what the site's policy keeps no longer.
struct Pruning: Sendable {
    /// Small, so that a request never waits long behind one.
    static let batch = 200
    /// Batches that a manager may be behind and still catch up one by one.
    private static let feed: Int64 = 10_000

    let store: Store
    let policy: RetentionPolicy
    let time: any TimeSource
    let logger: Logger

    /// The leader's work, until cancelled.
    func run(as term: Term) async {
        while !Task.isCancelled {
            do {
                try await Task.sleep(for: .seconds(60))
                try await pruneAll(as: term)
            } catch is CancellationError {
                return
            } catch {
                logger.error("pruning failed", metadata: ["error": "\(error)"])
            }
        }
    }

    private func pruneAll(as term: Term) async throws {
        _ = try await store.write(as: term) { sql in
            try sql.changeFeed.prune(keeping: Self.feed, limit: 100_000)
        }
        for subject in RetentionRepository.Subject.allCases {
            var removed = 0
            while true {
                let now = time.timestamp
                let count = try await store.write(as: term) { [policy] sql in
                    try sql.retention.prune(subject, policy, at: now, limit: Self.batch)
                }
                removed += count
                if count < Self.batch { break }
                // Requests go first.
                try await Task.sleep(for: .milliseconds(20))
            }
            if removed > 0 {
                logger.info(
                    "old rows removed", metadata: ["subject": "\(subject.rawValue)", "count": "\(removed)"])
            }
        }
    }
}
