import Logging
import ManagerImages
import ManagerModel
import ManagerStore
import ProtocolModel
import ServiceLifecycle

/// Removes from this manager's disk the files of images that were deleted, and of uploads that nobody goes on with; packs
/// what could not be packed before.
struct Housekeeping: Service {
    let store: Store
    let images: ImageStore
    let imports: ImageImports
    /// Uploads are kept for so long after their last byte.
    let uploadPatience: Duration
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
            images.discardUpload(image)
            images.remove(image)
        }
        try await imports.expire(idleFor: uploadPatience)
        imports.packRest()
    }
}
