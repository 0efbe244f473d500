public import Logging
public import ManagerStore
public import ProtocolModel
public import ServiceLifecycle
import Synchronization

/// Tells this manager what the others changed, so that it wakes those who wait as after a commit of its own.
public final class FeedFollower: Service {
    /// Between two looks. A look is one read of an index.
    public static let interval = Duration.milliseconds(200)

    private let store: Store
    private let time: any TimeSource
    private let logger: Logger
    private let position: Mutex<FeedPosition>

    public init(store: Store, time: any TimeSource = SystemTime(), logger: Logger) {
        self.store = store
        self.time = time
        self.logger = logger
        position = Mutex(FeedPosition(at: time.uptime))
    }

    /// Why this manager may be behind the others; `nil` where it is not.
    public var shortcoming: String? {
        guard store.isShared else { return nil }
        return position.withLock { $0.shortcoming(at: time.uptime) }
    }

    /// Whether all that others committed more than `patience` ago has been heard of.
    public func isCurrent(within patience: Duration) -> Bool {
        guard store.isShared else { return true }
        return position.withLock { $0.isCurrent(within: patience, at: time.uptime) }
    }

    public func run() async throws {
        // Nobody else writes a record of one's own.
        guard store.isShared else {
            try? await gracefulShutdown()
            return
        }
        await cancelWhenGracefulShutdown {
            var isFailing = false
            while !Task.isCancelled {
                do {
                    try await self.look()
                    isFailing = false
                } catch {
                    if !isFailing, !Task.isCancelled {
                        self.logger.warning("changes of other managers not read", metadata: ["error": "\(error)"])
                    }
                    isFailing = true
                }
                try? await Task.sleep(for: Self.interval)
            }
        }
    }

    /// Reads and tells all that is new.
    func look() async throws {
        var hasMore = true
        while hasMore {
            let began = time.uptime
            let last = position.withLock { $0.last }
            let look = try await store.read { sql in try FeedPosition.look(after: last, in: sql) }
            let news = position.withLock { $0.take(look, writer: store.writer, began: began) }
            store.tell(news.changes)
            hasMore = news.hasMore
        }
    }
}
