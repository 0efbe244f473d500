import ChunkPlane
import Logging
import ProcessThreads
import ProtocolModel
import ProtocolTransfer

/// One image on its way to this host. `FetchCore` decides; here are the threads: one that reports and lets time pass, and one
/// a connection, of which there are two at most for more than a moment.
final class ImageFetch: Sendable {
    /// What all fetches of an agent share.
    struct Environment: Sendable {
        var context: @Sendable () throws(TransferError) -> TLSContext
        var verify: PeerVerifier
        var counters: TransferCounters
        var logger: Logger
        var client: ChunkClient.Configuration
        var patience: FetchPatience
        var report: @Sendable (ImageStatusValue) -> Void
        /// For connections.
        var threads: ThreadGroup
        var time: any TimeSource = SystemTime()
    }

    let image: ImageID
    let cached: CachedImage
    let environment: Environment
    private let state: Monitor<FetchState>

    private static let tick = Duration.milliseconds(100)
    /// The manager plans anew within two seconds where a host gets nothing: it must hear in time, also that there is no
    /// progress. Most is found out at first.
    private static let reportInterval = Duration.milliseconds(500)
    private static let firstReportInterval = Duration.milliseconds(250)
    private static let firstReports = Duration.seconds(15)
    private static let diskRetry = Duration.seconds(30)

    init(assignment: ImageAssignmentValue, cached: CachedImage, environment: Environment) {
        self.image = assignment.image
        self.state = Monitor(FetchState(assignment: assignment))
        self.cached = cached
        self.environment = environment
    }

    /// What the image is wanted for.
    var purpose: TransferPurpose { state.withLock { $0.assignment.isForLaunch ? .launch : .prefill } }

    // MARK: Orders from outside

    func update(_ assignment: ImageAssignmentValue) {
        let actions = state.update { state -> FetchState.Actions in
            let isSame = state.assignment.manifestDigest == assignment.manifestDigest
            state.assignment = assignment
            return isSame ? state.handle(.assigned(assignment.sources), at: now) : FetchState.Actions()
        }
        carryOut(actions)
    }

    func stop() { state.update { $0.isStopped = true } }

    // MARK: The fetch

    /// Returns when the image is complete or the fetch was stopped. Blocks: for a thread of its own.
    func run() {
        report(.fetching)
        var outcome = Outcome.again
        while case .again = outcome {
            outcome = receive()
            endConnections()
            if case .failed(let error) = outcome {
                environment.logger.error(
                    "the image cache failed", metadata: ["image": "\(image)", "reason": "\(error)"])
                report(.failed, reason: error.description)
                outcome = pause(Self.diskRetry) ? .again : .stopped
            }
        }
        if case .complete = outcome {
            environment.logger.info(
                "image complete",
                metadata: ["image": "\(image)", "received_bytes": "\(state.withLock { $0.bytesReceived })"])
            report(.held)
        } else {
            try? cached.save()
        }
    }

    private enum Outcome: Sendable {
        case again, complete, stopped
        case failed(ImageCacheError)
    }

    private enum Turn: Sendable {
        case report, publish
        case end(Outcome)
    }

    /// Receives until the image is complete, or something else is wanted.
    private func receive() -> Outcome {
        let (assignment, isStopped) = state.withLock { ($0.assignment, $0.isStopped) }
        if isStopped { return .stopped }
        guard !assignment.sources.isEmpty else {
            report(.failed, reason: "no source was named for the image")
            return pause(.seconds(3600)) ? .again : .stopped
        }
        let isBegun = cached.currentManifest?.digest == assignment.manifestDigest
        if isBegun {
            do throws(ImageCacheError) {
                try cached.prepare()
            } catch {
                return error == .removed ? .stopped : .failed(error)
            }
        }
        carryOut(
            state.update {
                $0.begin(held: isBegun ? cached.heldChunks : nil, patience: environment.patience, at: now)
            })
        let start = now
        var reportedAt = start
        while true {
            let turn = state.wait(upTo: Self.tick) { state -> Turn? in
                if state.isStopped { return .end(.stopped) }
                if let failure = state.failure { return .end(failure == .removed ? .stopped : .failed(failure)) }
                if state.assignment.manifestDigest != assignment.manifestDigest { return .end(.again) }
                if state.isFinished { return .publish }
                guard state.hasNews else { return nil }
                state.hasNews = false
                return .report
            }
            switch turn {
            case .end(let outcome): return outcome
            case .publish: return publish()
            case .report:
                report(.fetching)
                reportedAt = now
            case nil:
                give(.ticked)
                let interval = now - start < Self.firstReports ? Self.firstReportInterval : Self.reportInterval
                if now - reportedAt >= interval {
                    report(.fetching)
                    reportedAt = now
                }
            }
        }
    }

    private func publish() -> Outcome {
        endConnections()
        do throws(ImageCacheError) {
            try cached.publish()
            return .complete
        } catch {
            return error == .removed ? .stopped : .failed(error)
        }
    }

    /// Waits, unless there is a new assignment before; false where the fetch was stopped.
    private func pause(_ duration: Duration) -> Bool {
        let seen = state.withLock { $0.assignment }
        _ = state.wait(upTo: duration) { $0.isStopped || $0.assignment != seen ? true : nil }
        return state.withLock { !$0.isStopped }
    }

    private func endConnections() {
        for interrupt in state.update({ $0.end() }) { interrupt.interrupt() }
        _ = state.wait { $0.threads == 0 ? true : nil }
    }

    private func report(_ status: ImageStatusValue.State, reason: String = "") {
        let (held, total) = cached.progress
        let value = cached.value
        let now = now
        environment.report(
            state.withLock { state in
                ImageStatusValue(
                    image: image, state: status, chunksHeld: held, chunksTotal: total,
                    bytesReceived: state.bytesReceived, source: state.core?.source,
                    reason: status == .held || !reason.isEmpty ? reason : state.reason,
                    throughput: state.core?.throughput(at: now), complaint: state.core?.complaint(at: now), held: value)
            })
    }

    // MARK: Connections

    private var now: Uptime { environment.time.uptime }

    var assignment: ImageAssignmentValue? { state.withLock { $0.isStopped ? nil : $0.assignment } }

    func give(_ event: FetchCore.Event) {
        carryOut(state.update { $0.handle(event, at: now) })
    }

    private func carryOut(_ actions: FetchState.Actions) {
        for interrupt in actions.interrupts { interrupt.interrupt() }
        for opening in actions.openings { open(opening) }
    }

    private func open(_ opening: FetchState.Opening) {
        let connection = FetchConnection(
            lane: opening.lane, source: opening.source, interrupt: opening.interrupt, fetch: self)
        state.withLock { $0.threads += 1 }
        let isStarted = environment.threads.start(name: "image-source") { [self] in
            connection.run()
            state.update { state in
                state.forget(connection.lane)
                state.threads -= 1
            }
        }
        guard !isStarted else { return }
        state.update { $0.threads -= 1 }
        environment.logger.error("no thread is left to receive images with", metadata: ["image": "\(image)"])
        give(.ended(opening.lane, .broken))
    }

    /// The next thing to do on a connection; `nil` once it is not wanted any more. Blocks.
    func waitForOrder(of lane: LaneID) -> FetchState.Order? {
        let order: FetchState.Order?? = state.wait { state in
            guard state.isWanted(lane) else { return .some(nil) }
            return state.nextOrder(lane).map { .some($0) }
        }
        return order ?? nil
    }

    func takeChunk(of lane: LaneID) -> Int? { state.withLock { $0.takeChunk(lane) } }
    func takeManifest(of lane: LaneID) { state.withLock { $0.takeManifest(lane) } }

    func took(_ bytes: Int, on lane: LaneID) {
        carryOut(
            state.update { state in
                state.bytesReceived += Int64(bytes)
                return state.handle(.took(lane, bytes: bytes), at: now)
            })
    }

    func received(_ connection: FetchConnection, _ index: Int) {
        carryOut(
            state.update { state in
                state.reason = ""
                return state.handle(.received(connection.lane, index), at: now)
            })
    }

    func refused(
        _ connection: FetchConnection, _ index: Int?, _ refusal: FetchCore.Refusal, _ error: TransferError
    ) {
        carryOut(
            state.update { state in
                if refusal == .unwilling { state.reason = "\(connection.source): \(error)" }
                return state.handle(.refused(connection.lane, index, refusal), at: now)
            })
    }

    /// The disk failed: nothing that a source could help.
    func failed(_ connection: FetchConnection, _ error: ImageCacheError) {
        state.update { $0.failure = $0.failure ?? error }
    }

    func ended(_ connection: FetchConnection, _ error: TransferError) {
        guard state.withLock({ $0.isWanted(connection.lane) }), error != .interrupted else { return }
        let failure = FetchConnection.failure(error)
        environment.logger.log(
            level: failure == .lied ? .error : .debug,
            failure == .lied ? "a source sent wrong data" : "a source failed",
            metadata: ["image": "\(image)", "source": "\(connection.source)", "reason": "\(error)"])
        carryOut(
            state.update { state in
                state.reason = "\(connection.source): \(error)"
                return state.handle(.ended(connection.lane, failure), at: now)
            })
    }
}
