import AgentReconcile
import Logging
import ProtocolModel
import ServiceLifecycle
import Synchronization

/// Owns the reconciler: feeds it what happens, one event after another, and has its effects carried out.
final class ReconcileService: Service {
    /// What others may know of the guests, as of the last event.
    struct Figures: Sendable, Equatable {
        var runningDomains = 0
        var imagesInUse: Set<ImageID> = []
        /// `nil` where the host was not taken back.
        var departure: DepartureSight?
        /// Guests that run, or may.
        var guests: [RemainingGuest] = []
    }

    private let mailbox = Mailbox<Event>()
    private let figuresHeld = Mutex(Figures())
    private let reconciler: Mutex<Reconciler?>
    private let host: any GuestHost
    private let probes: any ReadinessProbing
    private let report: @Sendable (_ full: Bool, [Status]) -> Void
    private let stopped: @Sendable (InstanceID) -> Void
    private let lent: @Sendable (InstanceID, DiskLoan) -> Void
    private let time: any TimeSource
    private let logger: Logger

    /// - Parameters:
    ///   - report: is given statuses for the manager, in order.
    ///   - stopped: is told of each end of a domain's run, as it happens.
    ///   - lent: is told how a disk that was wanted may be read.
    init(
        reconciler: Reconciler, host: any GuestHost, probes: any ReadinessProbing, time: any TimeSource, logger: Logger,
        report: @escaping @Sendable (_ full: Bool, [Status]) -> Void,
        stopped: @escaping @Sendable (InstanceID) -> Void,
        lent: @escaping @Sendable (InstanceID, DiskLoan) -> Void = { _, _ in }
    ) {
        self.reconciler = Mutex(reconciler)
        self.host = host
        self.probes = probes
        self.time = time
        self.logger = logger
        self.report = report
        self.stopped = stopped
        self.lent = lent
    }

    var figures: Figures { figuresHeld.withLock { $0 } }

    func post(_ event: Event) { mailbox.post(event) }

    func run() async throws {
        await cancelWhenGracefulShutdown { await self.work() }
    }

    private func work() async {
        guard var reconciler = reconciler.withLock({ $0.take() }) else { return }
        await withDiscardingTaskGroup { group in
            group.addTask { await self.host.watch { self.happened($0) } }
            while !Task.isCancelled {
                for event in mailbox.takeAll() {
                    if case .assigned(let change) = event { host.learn(change) }
                    for effect in reconciler.handle(event, at: Moment(of: time)) { carryOut(effect, in: &group) }
                }
                let figures = Figures(
                    runningDomains: reconciler.runningDomains, imagesInUse: reconciler.imagesInUse,
                    departure: reconciler.departureSight, guests: reconciler.guests)
                figuresHeld.withLock { $0 = figures }
                await pause(until: reconciler.nextWake)
            }
            group.cancelAll()
        }
    }

    private func pause(until wake: Uptime?) async {
        guard let wake else { return await mailbox.wait() }
        let left = wake - time.uptime
        if left > .zero { await mailbox.wait(atMost: left) }
        if time.uptime >= wake { mailbox.post(.tick) }
    }

    private func happened(_ event: HostEvent) {
        switch event {
        case .ready: mailbox.post(.hypervisorReady)
        case .started(let id): hint(.domainStarted(id))
        case .stopped(let id, let cause):
            stopped(id)
            hint(.domainStopped(id, cause))
        }
    }

    /// Too many events to follow are followed by a look at everything.
    private func hint(_ event: Event) {
        guard !mailbox.offer(event) else { return }
        logger.warning("domain events come faster than they can be followed; the host is surveyed instead")
        mailbox.post(.hypervisorReady)
    }

    private func carryOut(_ effect: Effect, in group: inout DiscardingTaskGroup) {
        switch effect {
        case .survey(let token):
            group.addTask {
                do throws(ActionFailure) {
                    self.post(.surveyed(token, try await self.host.survey()))
                } catch {
                    self.post(.surveyFailed(token, error))
                }
            }
        case .perform(let id, let action):
            logger.debug("acting", metadata: ["action": "\(action.word)", "instance": "\(action.instance)"])
            group.addTask { self.post(.finished(id, await self.host.perform(action))) }
        case .probe(let assignment):
            let watch = probes.begin(assignment)
            group.addTask {
                if await watch.answered() { self.post(.answered(assignment.instance, assignment.powerCycle)) }
            }
        case .endProbe(let id): probes.end(id)
        case .lend(let id, let loan): lent(id, loan)
        case .report(let full, let statuses):
            for status in statuses where !full {
                logger.info("instance changed", metadata: status.logMetadata)
            }
            report(full, statuses)
        case .notice(let notice): notice.log(to: logger)
        }
    }
}

extension Action {
    /// For the log.
    var word: String {
        switch self {
        case .makeFiles: "make_files"
        case .reserveAddress: "reserve_address"
        case .start: "start"
        case .askToShutDown: "ask_to_shut_down"
        case .powerOff: "power_off"
        case .removeDomain: "remove_domain"
        case .releaseAddress: "release_address"
        case .removeDisk: "remove_disk"
        case .inspect: "inspect"
        }
    }
}

extension Status {
    fileprivate var logMetadata: Logger.Metadata {
        var metadata: Logger.Metadata = [
            "instance": "\(instance)", "state": "\(state.rawValue)", "generation": "\(generation)",
            "epoch": "\(epoch)",
        ]
        if !code.isEmpty { metadata["code"] = "\(code)" }
        if state == .failed { metadata["reason"] = "\(reason)" }
        return metadata
    }
}
