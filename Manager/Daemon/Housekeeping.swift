import Logging
import ManagerImages
import ManagerModel
import ManagerStore
import ProtocolModel
import ServiceLifecycle

/// Removes what has had its day: kept answers after a day, expired tokens, files of deleted images.
struct Housekeeping: Service {
    let store: Store
    let images: ImageStore
    let time: any TimeSource
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do { try await tidy() } catch { logger.error("housekeeping failed", metadata: ["error": "\(error)"]) }
                do { try await Task.sleep(for: .seconds(60)) } catch { return }
            }
        }
    }

    private func tidy() async throws {
        let now = time.timestamp
        let deleted = try await store.write { sql in
            try sql.idempotency.remove(before: now - .seconds(86_400))
            try sql.users.removeRefreshTokens(expiredBefore: now)
            return try sql.images.list(status: .deleted).map(\.id)
        }
        for image in deleted { images.remove(image) }
    }
}
