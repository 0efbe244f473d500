import Logging
import ManagerIdentity
import ManagerModel
import ManagerStore
import ProtocolModel
import ServiceLifecycle

/// What tokens need done while nobody asks: uses of API keys are written down, and the keys that sign are renewed.
struct TokenKeeper: Service {
    static let interval = Duration.seconds(5)

    let tokens: TokenService
    let keys: SigningKeys
    let keyAge: Duration
    let store: Store
    let time: any TimeSource
    let logger: Logger

    /// Every manager's own: what it has seen of API keys.
    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                try? await Task.sleep(for: Self.interval)
                await record()
            }
        }
        await record()
    }

    private func record() async {
        do {
            try await tokens.recordUses()
        } catch {
            logger.warning("uses of API keys not written down", metadata: ["error": "\(error)"])
        }
    }

    /// The leader's work, until cancelled.
    func lead(as term: Term) async {
        while !Task.isCancelled {
            do {
                let now = time.timestamp
                if try await store.read({ sql in try SigningKeys.needsTending(age: keyAge, at: now, in: sql) }) {
                    try await store.write(as: term) { sql in try keys.tend(age: keyAge, at: now, in: sql) }
                    logger.info("keys that sign tokens were looked after")
                }
                try await Task.sleep(for: .seconds(30))
            } catch is CancellationError {
                return
            } catch {
                logger.error("keys that sign tokens not looked after", metadata: ["error": "\(error)"])
                do { try await Task.sleep(for: .seconds(30)) } catch { return }
            }
        }
    }
}
