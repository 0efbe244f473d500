import AgentImages
import AgentReconcile
import ChunkPlane
import Logging
import ProcessThreads
import ProtocolModel
import ProtocolTransfer
import ServiceLifecycle
import Synchronization

/// Receives images and serves them on: the cache's news go to those who wait for them, and a renewed certificate is shown
/// from the next connection on.
final class ChunkService: Service {
    private let cache: ImageCache
    private let identity: IdentityKeeper
    private let makeServer: @Sendable (TLSCredentials) throws(TransferError) -> ChunkServer
    private let server: Mutex<ChunkServer>
    private let thread = BlockingThreads(name: "roost-chunks")
    private let status: @Sendable (ImageStatusValue) -> Void
    private let logger: Logger

    init(
        cache: ImageCache, identity: IdentityKeeper, logger: Logger,
        makeServer: @escaping @Sendable (TLSCredentials) throws(TransferError) -> ChunkServer,
        status: @escaping @Sendable (ImageStatusValue) -> Void
    ) throws(TransferError) {
        self.cache = cache
        self.identity = identity
        self.makeServer = makeServer
        self.server = Mutex(try makeServer(identity.credentials))
        self.status = status
        self.logger = logger
    }

    /// Listens; throws where the address is taken.
    func start() throws(TransferError) {
        try server.withLock { $0 }.start()
        identity.onRenewal { [weak self] _ in self?.replaceServer() }
    }

    var port: UInt16 { server.withLock { $0 }.port }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            for await status in self.cache.statuses { self.status(status) }
        }
        try? await thread.run {
            self.server.withLock { $0 }.stop()
            self.cache.stop()
        }
        thread.close()
    }

    private func replaceServer() {
        Task {
            try? await thread.run {
                self.server.withLock { $0 }.stop()
                do throws(TransferError) {
                    let fresh = try self.makeServer(self.identity.credentials)
                    try fresh.start()
                    self.server.withLock { $0 = fresh }
                } catch {
                    self.logger.error(
                        "chunks are not served with the renewed certificate; restart the agent",
                        metadata: ["error": "\(error)"])
                }
            }
        }
    }
}
