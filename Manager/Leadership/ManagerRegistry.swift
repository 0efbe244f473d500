public import Logging
public import ManagerModel
public import ManagerStore
public import ProtocolModel
public import ServiceLifecycle
import Synchronization

/// Puts this manager on the site's record, says there that it lives, and watches the others.
public final class ManagerRegistry: Service {
    private let own: ManagerRecord
    private let store: Store
    private let interval: Duration
    private let time: any TimeSource
    private let logger: Logger
    private let state: Mutex<(watch: ManagerWatch, managers: [ManagerRecord])>

    /// - Parameter interval: between two signs of life.
    public init(
        own: ManagerRecord, store: Store, interval: Duration, time: any TimeSource = SystemTime(), logger: Logger
    ) {
        self.own = own
        self.store = store
        self.interval = interval
        self.time = time
        self.logger = logger
        state = Mutex((ManagerWatch(patience: interval * 3), [own]))
    }

    public func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await self.renew()
                } catch {
                    self.logger.debug("sign of life not recorded", metadata: ["error": "\(error)"])
                }
                try? await Task.sleep(for: self.interval)
            }
        }
    }

    /// Says that this manager lives, and looks at the others.
    func renew() async throws {
        let own = self.own
        let managers = try await store.write { sql in
            if try !sql.managers.renew(own.id) || sql.managers.find(own.id)?.startedAt != own.startedAt {
                try sql.managers.register(own)
            }
            return try sql.managers.list()
        }
        let now = time.uptime
        state.withLock { state in
            state.watch.observe(managers, at: now)
            state.managers = managers
        }
    }

    /// Every manager on record, and whether it lives.
    public var managers: [(manager: ManagerRecord, liveness: ManagerWatch.Liveness)] {
        let now = time.uptime
        return state.withLock { state in
            state.managers.map { manager in
                (manager, manager.id == own.id ? .alive : state.watch.liveness(of: manager.id, at: now))
            }
        }
    }

    /// Where agents may find a manager: this one first, and none that has fallen silent.
    public var agentAddresses: [String] {
        let others = managers.filter { $0.manager.id != own.id && $0.liveness != .silent }
        return [own.agentAddress] + others.map(\.manager.agentAddress)
    }
}
