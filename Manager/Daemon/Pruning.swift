import Logging
import ManagerModel
import ManagerStore
import ProtocolModel
import ServiceLifecycle

/// Removes from the record what the site's policy keeps no longer.
struct Pruning: Service {
    /// Small, so that a request never waits long behind one.
    static let batch = 200

    let store: Store
    let policy: RetentionPolicy
    let time: any TimeSource
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await Task.sleep(for: .seconds(60))
                    try await pruneAll()
                } catch is CancellationError {
                    return
                } catch {
                    logger.error("pruning failed", metadata: ["error": "\(error)"])
                }
            }
        }
    }

    private func pruneAll() async throws {
        for subject in RetentionRepository.Subject.allCases {
            var removed = 0
            while true {
                let now = time.timestamp
                let count = try await store.write { [policy] sql in
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
