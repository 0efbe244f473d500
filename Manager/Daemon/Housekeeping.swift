import Logging
import ManagerImages
import ManagerModel
import ManagerStore
import ProtocolModel
import ServiceLifecycle

/// Removes from this manager's disk the files of images that were deleted.
struct Housekeeping: Service {
    let store: Store
    let images: ImageStore
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
        for image in try await store.read({ sql in try sql.images.list(status: .deleted).map(\.id) }) {
            images.remove(image)
        }
    }
}
