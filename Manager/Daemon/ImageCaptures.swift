import ChunkPlane
import Foundation
import Logging
import ManagerImages
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProcessThreads
import ProtocolModel
import ProtocolTransfer
import ServiceLifecycle
import Synchronization

/// Pulls copies of instances' disks from the nodes that made them, for the images that this manager was asked for. What is to be
/// pulled stands in the record, so that it goes on after a restart of anybody.
struct ImageCaptures: Service {
    private static let interval = Duration.seconds(1)
    private static let parallel = 2

    /// What is to be pulled from where.
    private struct Pull: Sendable, Equatable {
        var image: ImageID
        var node: NodeID
        var nodeName: String
        var address: String
        var digest: ContentDigest
        var sizeBytes: Int64
    }

    private struct Running: Sendable {
        var task: Pull
        var interrupt: TransferInterrupt
    }

    private struct State: Sendable {
        var running: [ImageID: Running] = [:]
        /// Of pulls that broke off.
        var patience: [ImageID: CapturePatience] = [:]
    }

    let own: ManagerID
    let images: ImageStore
    let store: Store
    let governor: TransferGovernor
    let context: @Sendable () throws(TransferError) -> TLSContext
    let verify: PeerVerifier
    let time: any TimeSource
    let logger: Logger
    private let state = Shared()
    private let threads = BlockingThreads(name: "image-capture", threads: Self.parallel)

    private final class Shared: Sendable {
        let value = Mutex(State())
    }

    init(
        own: ManagerID, images: ImageStore, store: Store, governor: TransferGovernor,
        context: @escaping @Sendable () throws(TransferError) -> TLSContext, verify: @escaping PeerVerifier,
        time: any TimeSource, logger: Logger
    ) {
        self.own = own
        self.images = images
        self.store = store
        self.governor = governor
        self.context = context
        self.verify = verify
        self.time = time
        self.logger = logger
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                while !Task.isCancelled {
                    for task in await due() { group.addTask { await take(task) } }
                    try? await Task.sleep(for: Self.interval)
                }
                interrupt { _ in true }
            }
        }
        threads.close()
    }

    /// What is to be begun now; what is not wanted any more, or not so, is stopped.
    private func due() async -> [Pull] {
        let own = own
        let wanted: [Pull]
        do {
            wanted = try await store.read { sql in
                try sql.imageCaptures.list().compactMap { capture in
                    guard capture.state == .ready, let digest = capture.manifestDigest, let size = capture.sizeBytes,
                        try sql.managers.holder(of: capture.image) == own, let node = try sql.nodes.find(capture.node),
                        // One that is away is waited for.
                        node.liveness == .alive || node.liveness == .suspect
                    else { return nil }
                    return Pull(
                        image: capture.image, node: node.id, nodeName: node.name, address: node.inventory.chunkAddress,
                        digest: digest, sizeBytes: size)
                }
            }
        } catch {
            logger.warning("images of disks not read", metadata: ["error": "\(error)"])
            return []
        }
        interrupt { !wanted.contains($0) }
        let now = time.uptime
        return state.value.withLock { state in
            let images = Set(wanted.map(\.image))
            state.patience = state.patience.filter { images.contains($0.key) }
            var due: [Pull] = []
            for task in wanted where state.running[task.image] == nil && state.running.count < Self.parallel {
                if let retryAt = state.patience[task.image]?.retryAt, now < retryAt { continue }
                state.running[task.image] = Running(task: task, interrupt: TransferInterrupt())
                due.append(task)
            }
            return due
        }
    }

    private func interrupt(where matches: (Pull) -> Bool) {
        let stopped = state.value.withLock { $0.running.values.filter { matches($0.task) } }
        for running in stopped { running.interrupt.interrupt() }
    }

    private func take(_ task: Pull) async {
        guard let interrupt = state.value.withLock({ $0.running[task.image]?.interrupt }) else { return }
        defer { state.value.withLock { $0.running[task.image] = nil } }
        logger.info("pulling a copy of a disk", metadata: ["image.id": "\(task.image)", "node.id": "\(task.node)"])
        let hasMoved = Mutex(false)
        let (percents, sink) = AsyncStream<Int>.makeStream(bufferingPolicy: .bufferingNewest(1))
        async let followed: Void = follow(percents, task.image)
        let result: Result<Void, CaptureError>
        do {
            result = try await threads.run {
                Result { () throws(CaptureError) in
                    try pull(task, interrupt) { percent in
                        hasMoved.withLock { $0 = true }
                        sink.yield(percent)
                    }
                }
            }
        } catch {
            result = .failure(.store(.busy))
        }
        sink.finish()
        await followed
        await end(
            task, result, wasInterrupted: interrupt.isInterrupted, hasMoved: hasMoved.withLock { $0 })
    }

    private func pull(
        _ task: Pull, _ interrupt: TransferInterrupt, progress: (Int) -> Void
    ) throws(CaptureError) {
        try images.takeIn(
            task.image, manifestDigest: task.digest, sizeBytes: task.sizeBytes,
            connect: { () throws(TransferError) in
                var configuration = ChunkClient.Configuration()
                configuration.governor = governor
                return try ChunkClient(
                    source: ChunkSource(node: task.node, address: task.address), context: try context(), verify: verify,
                    counters: TransferCounters(), interrupt: interrupt, configuration: configuration)
            }, progress: progress)
    }

    private func follow(_ percents: AsyncStream<Int>, _ image: ImageID) async {
        for await percent in percents {
            try? await record { try $0.noteCapturePull(image, percent: percent) }
        }
    }

    private func end(
        _ task: Pull, _ result: Result<Void, CaptureError>, wasInterrupted: Bool, hasMoved: Bool
    ) async {
        switch result {
        case .success:
            do {
                try await record {
                    try $0.finishCapture(task.image, manifestDigest: task.digest, sizeBytes: task.sizeBytes)
                }
                logger.info(
                    "an image was made of a disk",
                    metadata: ["image.id": "\(task.image)", "manifest": "\(task.digest)"])
            } catch is Refusal {
                // It was deleted meanwhile, or is copied anew.
                images.remove(task.image)
            } catch {
                logger.warning("an image of a disk not recorded", metadata: ["error": "\(error)"])
            }
            state.value.withLock { $0.patience[task.image] = nil }
        case .failure where wasInterrupted: return
        case .failure(.store(let error)):
            await fail(task, code: error.code, sentence: error.sentence)
        case .failure(.transfer(let error)):
            guard isGivenUp(task, error, hasMoved) else { return }
            await fail(
                task, code: "capture_not_pulled",
                sentence: "node '\(task.nodeName)' at \(task.address) does not give its copy of the disk: \(error); "
                    + "the manager must reach that address")
        }
    }

    private func isGivenUp(_ task: Pull, _ error: TransferError, _ hasMoved: Bool) -> Bool {
        logger.notice(
            "a copy of a disk could not be pulled",
            metadata: ["image.id": "\(task.image)", "node.id": "\(task.node)", "reason": "\(error)"])
        let now = time.uptime
        return state.value.withLock { state in
            state.patience[task.image, default: CapturePatience()].brokeOff(moved: hasMoved, at: now)
        }
    }

    private func fail(_ task: Pull, code: String, sentence: String) async {
        images.remove(task.image)
        try? await record { try $0.failCapture(task.image, code: code, sentence: sentence) }
    }

    private func record(_ body: @escaping @Sendable (Commands) throws -> Void) async throws {
        let now = time.timestamp
        try await store.write { sql in
            try body(Commands(in: sql, actor: .manager, at: now, settings: LifecycleSettings()))
        }
    }
}
