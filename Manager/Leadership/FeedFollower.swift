public import Logging
public import ManagerStore
public import ProtocolModel
public import ServiceLifecycle
import Synchronization

/// Tells this manager what the others changed, so that it wakes those who wait as after a commit of its own.
public final class FeedFollower: Service {
    /// Between two looks. A look is one read of an index.
    static let interval = Duration.milliseconds(200)
    /// A manager that could not look for so long serves what may be out of date.
    static let patience = Duration.seconds(5)
    private static let batch = 500

    private let store: Store
    private let time: any TimeSource
    private let logger: Logger
    private let state: Mutex<State>

    private struct State {
        var last: Int64?
        var looked: Uptime
    }

    public init(store: Store, time: any TimeSource = SystemTime(), logger: Logger) {
        self.store = store
        self.time = time
        self.logger = logger
        state = Mutex(State(looked: time.uptime))
    }

    /// Why this manager may be behind the others; `nil` where it is not.
    public var shortcoming: String? {
        guard store.isShared else { return nil }
        let behind = time.uptime - state.withLock { $0.looked }
        return behind > Self.patience
            ? "not caught up with the other managers for \(behind.milliseconds / 1000) s" : nil
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
        while true {
            let began = time.uptime
            let last = state.withLock { $0.last }
            let (entries, bounds) = try await store.read { sql in
                let bounds = try sql.changeFeed.bounds()
                guard let last else { return ([ChangeFeedRepository.Entry](), bounds) }
                return (try sql.changeFeed.list(after: last, limit: Self.batch), bounds)
            }
            guard let last else {
                // What was before has been read, or will be, by whoever begins now.
                state.withLock { $0 = State(last: bounds?.upperBound ?? 0, looked: began) }
                continue
            }
            var changes = entries.filter { $0.writer != store.writer }.flatMap(\.changes)
            // Rows that were pruned before they were read, or a record that was restored.
            if let bounds, bounds.lowerBound > last + 1 || bounds.upperBound < last { changes = [.everything] }
            let newest = entries.last?.sequence ?? bounds?.upperBound ?? last
            if !changes.isEmpty { store.tell(changes) }
            state.withLock { $0 = State(last: newest, looked: began) }
            if entries.count < Self.batch { return }
        }
    }
}
