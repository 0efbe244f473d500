import ChunkPlane
import Logging
import ProcessThreads
import ProtocolModel
import ProtocolTransfer
import Synchronization

/// One image on its way to this host: what others may say to the thread that receives it.
final class ImageFetch: Sendable {
    struct Orders: Sendable {
        var assignment: ImageAssignmentValue
        var stopped = false
        var interrupt = TransferInterrupt()
        var currentSource: ChunkSource?
    }

    /// What all fetches of an agent share.
    struct Environment: Sendable {
        var context: @Sendable () throws(TransferError) -> TLSContext
        var verify: PeerVerifier
        var counters: TransferCounters
        var logger: Logger
        var client: ChunkClient.Configuration
        var patience: SourceChooser.Patience
        var report: @Sendable (ImageStatusValue) -> Void
    }

    let image: ImageID
    private let orders: Monitor<Orders>
    private let cached: CachedImage
    private let environment: Environment

    init(assignment: ImageAssignmentValue, cached: CachedImage, environment: Environment) {
        self.image = assignment.image
        self.orders = Monitor(Orders(assignment: assignment))
        self.cached = cached
        self.environment = environment
    }

    /// New sources take effect at once where the one in use is not among them, else after the batch under way.
    func update(_ assignment: ImageAssignmentValue) {
        orders.update { orders in
            orders.assignment = assignment
            if let current = orders.currentSource, !assignment.sources.contains(current) {
                orders.interrupt.interrupt()
            }
        }
    }

    func stop() {
        orders.update { orders in
            orders.stopped = true
            orders.interrupt.interrupt()
        }
    }

    /// Returns when the image is complete or the fetch was stopped. Blocks: for a thread of its own.
    func run() {
        var pull = ImagePull(image: image, orders: orders, cached: cached, environment: environment)
        pull.run()
    }
}

/// Receives one image: best source first, the next one where it fails, from the bitmap of what is held. Lives on one
/// thread.
private struct ImagePull {
    let image: ImageID
    let orders: Monitor<ImageFetch.Orders>
    let cached: CachedImage
    let environment: ImageFetch.Environment

    private var chooser: SourceChooser
    private var client: ChunkClient?
    private var bytesReceived: Int64 = 0
    private var lastReport: ContinuousClock.Instant?
    /// The assignment that was last acted on.
    private var seen: ImageAssignmentValue?

    /// Chunks asked for before the order of sources is looked at again.
    private static let batch = 64
    private static let reportInterval = Duration.milliseconds(500)
    private static let diskRetry = Duration.seconds(30)

    init(
        image: ImageID, orders: Monitor<ImageFetch.Orders>, cached: CachedImage, environment: ImageFetch.Environment
    ) {
        self.image = image
        self.orders = orders
        self.cached = cached
        self.environment = environment
        chooser = SourceChooser(patience: environment.patience)
    }

    mutating func run() {
        report(.fetching, force: true)
        while let assignment = orders.withLock({ $0.stopped ? nil : $0.assignment }) {
            seen = assignment
            chooser.update(assignment.sources)
            switch chooser.next(now: .now) {
            case .none:
                report(.failed, reason: "no source was named for the image", force: true)
                wait(for: .seconds(3600))
            case .wait(let instant): wait(for: instant - .now)
            case .use(let source):
                if pull(assignment, from: source) { return }
            }
        }
        client = nil
        try? cached.save()
    }

    /// One batch; true once the image is complete.
    private mutating func pull(_ assignment: ImageAssignmentValue, from source: ChunkSource) -> Bool {
        do {
            let client = try connected(to: source)
            try begin(assignment, client)
            try fetchBatch(client)
            guard cached.missing(limit: 1).isEmpty else { return false }
            self.client = nil
            try cached.publish()
            environment.logger.info(
                "image complete", metadata: ["image": "\(image)", "received_bytes": "\(bytesReceived)"])
            report(.held, force: true)
            return true
        } catch let error as TransferError {
            failed(source, error)
        } catch let error as ImageCacheError {
            client = nil
            if error != .removed {
                environment.logger.error(
                    "the image cache failed", metadata: ["image": "\(image)", "reason": "\(error)"])
                report(.failed, reason: error.description, force: true)
                wait(for: Self.diskRetry)
            }
        } catch {
            client = nil
            report(.failed, reason: "\(error)", force: true)
            wait(for: Self.diskRetry)
        }
        return false
    }

    private mutating func connected(to source: ChunkSource) throws(TransferError) -> ChunkClient {
        if let client, client.source == source { return client }
        client = nil
        let interrupt = orders.withLock { orders in
            if orders.interrupt.isInterrupted, !orders.stopped { orders.interrupt = TransferInterrupt() }
            orders.currentSource = source
            return orders.interrupt
        }
        let made = try ChunkClient(
            source: source, context: try environment.context(), verify: environment.verify,
            counters: environment.counters, interrupt: interrupt, configuration: environment.client)
        client = made
        return made
    }

    private mutating func begin(_ assignment: ImageAssignmentValue, _ client: ChunkClient) throws {
        guard cached.currentManifest?.digest != assignment.manifestDigest else { return }
        let manifest = try client.manifest(
            of: image, digest: assignment.manifestDigest, sizeBytes: assignment.sizeBytes)
        try cached.begin(manifest)
    }

    private mutating func fetchBatch(_ client: ChunkClient) throws {
        guard let manifest = cached.currentManifest else { throw ImageCacheError.removed }
        var failure: ImageCacheError?
        do {
            try client.fetch(manifest, indexes: cached.missing(limit: Self.batch)) { chunk throws(TransferError) in
                do throws(ImageCacheError) {
                    try cached.accept(chunk)
                } catch {
                    failure = error
                    throw .interrupted
                }
                bytesReceived += Int64(chunk.encoded.bytes.count)
                chooser.progressed(client.source)
                report(.fetching)
            }
        } catch {
            throw failure.map { $0 as any Error } ?? error
        }
    }

    private mutating func failed(_ source: ChunkSource, _ error: TransferError) {
        client = nil
        if error == .interrupted { return }
        let failure: SourceChooser.Failure =
            switch error {
            case .notYet: .stalled
            case .notHeld, .notPermitted, .unreachable: .notReady
            case .digestMismatch, .undecodable, .manifestDigestMismatch, .manifest: .lied
            default: .broken
            }
        chooser.failed(source, failure, now: .now)
        if failure == .lied {
            environment.logger.error(
                "a source sent wrong data",
                metadata: ["image": "\(image)", "source": "\(source)", "reason": "\(error)"])
        } else {
            environment.logger.debug(
                "a source failed", metadata: ["image": "\(image)", "source": "\(source)", "reason": "\(error)"])
        }
        // While a source is only waited for, nothing is wrong yet.
        if case .use = chooser.next(now: .now) { return }
        report(.fetching, reason: "\(source): \(error)", force: failure == .lied || failure == .broken)
    }

    /// Waits, unless there is something new.
    private func wait(for duration: Duration) {
        guard duration > .zero else { return }
        _ = orders.wait(upTo: duration) { orders in
            orders.stopped || orders.assignment != seen ? true : nil
        }
    }

    private mutating func report(_ state: ImageStatusValue.State, reason: String = "", force: Bool = false) {
        let now = ContinuousClock.now
        if !force, let lastReport, now - lastReport < Self.reportInterval { return }
        lastReport = now
        let (held, total) = cached.progress
        environment.report(
            ImageStatusValue(
                image: image, state: state, chunksHeld: held, chunksTotal: total, bytesReceived: bytesReceived,
                source: orders.withLock { $0.currentSource }, reason: reason))
    }
}
