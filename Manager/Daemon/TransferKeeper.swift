import ChunkPlane
import Logging
import ManagerModel
import ManagerStore
import ProtocolTransfer
import ServiceLifecycle

/// Keeps what this manager sends within what the record says, whichever manager was told to change it.
struct TransferKeeper: Service {
    private static let interval = Duration.seconds(3)

    let store: Store
    let governor: TransferGovernor
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                await look()
                try? await Task.sleep(for: Self.interval)
            }
        }
    }

    private func look() async {
        do {
            let site = try await store.read { try $0.siteSettings.transfers() }
            let limits = TransferLimitsValue(
                sendBytesPerSecond: site.managerSendBytesPerSecond, prefillSharePercent: site.prefillSharePercent)
            if governor.limits != limits { governor.limit(limits) }
        } catch {
            logger.warning("limits of transfers not read", metadata: ["error": "\(error)"])
        }
    }
}
