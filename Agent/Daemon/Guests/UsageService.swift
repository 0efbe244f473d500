import AgentReconcile
import AgentUsage
import Logging
import ProcessThreads
import ProtocolMessages
import ProtocolModel
import ServiceLifecycle
import Synchronization

/// Samples running guests and hands the batches out to whoever sends them.
final class UsageService: Service {
    private let host: any GuestHost
    private let recorder: Mutex<UsageRecorder>
    private let thread = BlockingThreads(name: "roost-usage")
    private let interval: Mutex<Duration>
    private let time: any TimeSource
    private let logger: Logger
    private let kept: @Sendable () -> Void
    private let ends = Mailbox<InstanceID>()
    private let intervalChanged = Bell()

    /// - Parameter kept: is told when there is a new batch to send.
    init(
        host: any GuestHost, recorder: UsageRecorder, interval: Duration, time: any TimeSource, logger: Logger,
        kept: @escaping @Sendable () -> Void
    ) {
        self.host = host
        self.recorder = Mutex(recorder)
        self.interval = Mutex(interval)
        self.time = time
        self.logger = logger
        self.kept = kept
    }

    /// Takes effect at once, also where a longer wait is under way.
    func setInterval(_ new: Duration) {
        let isOther = interval.withLock { interval in
            defer { interval = new }
            return interval != new
        }
        if isOther { intervalChanged.ring() }
    }

    /// A domain's run ended just now.
    func stopped(_ id: InstanceID) {
        if !ends.offer(id) { logger.warning("more guests stop than can be counted to their last second") }
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.sampleRegularly() }
                group.addTask { await self.sampleEnds() }
            }
        }
        // Counted to the end: the next process goes on from here.
        await sample()
        thread.close()
    }

    private func sampleRegularly() async {
        while !Task.isCancelled {
            await sample()
            await intervalChanged.heard(within: interval.withLock { $0 })
        }
    }

    private func sampleEnds() async {
        while !Task.isCancelled {
            for id in ends.takeAll() {
                let (now, uptime) = (time.timestamp, time.uptime)
                await record { recorder throws(SpoolError) in try recorder.stopped(id, at: now, uptime) }
            }
            await ends.wait()
        }
    }

    private func sample() async {
        do throws(ActionFailure) {
            let readings = try await host.readings()
            let (now, uptime) = (time.timestamp, time.uptime)
            await record { recorder throws(SpoolError) in try recorder.sample(readings, at: now, uptime) }
        } catch {
            logger.warning(
                "guests could not be sampled; the next sample covers the time", metadata: ["error": "\(error.sentence)"]
            )
        }
    }

    private func record(
        _ body: @escaping @Sendable (inout UsageRecorder) throws(SpoolError) -> [SpoolNotice]
    ) async {
        do {
            let notices = try await onThread { recorder in try body(&recorder) }
            for notice in notices { notice.log(to: logger) }
            kept()
        } catch {
            logger.error(
                "usage could not be kept; it is added to the next sample", metadata: ["error": "\(error)"])
        }
    }

    private func onThread<Answer: Sendable>(
        _ body: @escaping @Sendable (inout UsageRecorder) throws -> Answer
    ) async throws -> Answer {
        try await thread.run {
            try self.recorder.withLock { recorder in try body(&recorder) }
        }
    }

    /// Batches that are not acknowledged, behind a position.
    func batches(
        after position: SpoolPosition?, limit: Int
    ) async -> [(position: SpoolPosition, batch: Roost_V1_UsageBatch)] {
        do {
            return try await onThread { try $0.batches(after: position, limit: limit) }
        } catch {
            logger.error("usage batches could not be read", metadata: ["error": "\(error)"])
            return []
        }
    }

    func acknowledge(_ spool: SpoolID, upTo number: UInt64) async {
        try? await onThread { $0.acknowledge(spool, upTo: number) }
    }
}

extension SpoolNotice {
    func log(to logger: Logger) {
        switch self {
        case .tornTailRemoved(let file):
            logger.notice("a usage batch that was not whole was removed", metadata: ["file": "\(file)"])
        case .damaged(let file):
            logger.error(
                "a file of the usage spool is damaged; what is readable is sent", metadata: ["file": "\(file)"])
        case .overBudget(let lost):
            logger.error(
                "the usage spool is over its budget and lost its oldest batches; check why the manager does not fetch them",
                metadata: ["batches_lost": "\(lost)"])
        }
    }
}
