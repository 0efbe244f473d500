import AgentDevices
import AgentReconcile
import Logging
import ProcessThreads
import ProtocolModel
import ServiceLifecycle
import Synchronization

/// Owns the desk of devices: feeds it what happens, one event after another, and has its effects carried out. What may hang
/// does so on a thread of its own.
final class DeviceKeeper: Service, GuestDevices {
    /// What a keeper works with.
    struct Parts: Sendable {
        var survey: DeviceSurvey
        var file: LedgerFile
        var actions: any DeviceActions
        /// The domains of this host that have devices.
        var uses: @Sendable () async throws(ActionFailure) -> [DeviceUse]
        var wishes: ReadmissionWishes
    }

    private typealias ClaimAnswer = Result<GrantedDevices, ActionFailure>

    private struct Waiting {
        var next: UInt64 = 0
        var claims: [DeviceDesk.RequestID: CheckedContinuation<ClaimAnswer, Never>] = [:]
        var releases: [DeviceDesk.RequestID: CheckedContinuation<Void, Never>] = [:]
        var isOver = false

        mutating func newID() -> DeviceDesk.RequestID? {
            guard !isOver else { return nil }
            next += 1
            return DeviceDesk.RequestID(next)
        }
    }

    private let mailbox = Mailbox<DeviceDesk.Event>()
    private let desk: Mutex<DeviceDesk?>
    private let waiting = Mutex(Waiting())
    private let contentHeld: Mutex<LedgerContent>
    /// What is being done to devices, or waits for a thread.
    private let underWay = Mutex<[DeviceJob: Abandonment]>([:])
    private let changed = Mutex<(@Sendable () -> Void)?>(nil)
    private let parts: Parts
    private let time: any TimeSource
    private let logger: Logger
    private let files = BlockingThreads(name: "roost-device-file")
    private let scans = BlockingThreads(name: "roost-device-scan")
    /// As many as may hang at once; those behind them fail when their time is up.
    private let work = BlockingThreads(name: "roost-devices", threads: 32)

    /// - Throws: where the kept ledger cannot be read; one that is damaged is set aside, and every device cleaned.
    init(_ parts: Parts, policy: DeviceDeskPolicy = DeviceDeskPolicy(), time: any TimeSource, logger: Logger) throws {
        let ledger: DeviceLedger
        switch try parts.file.load() {
        case .none: ledger = DeviceLedger(LedgerContent())
        case .content(let content): ledger = DeviceLedger(content)
        case .damaged(let copy):
            logger.error(
                "the ledger of devices is not readable; what VFIO has is cleaned before any guest gets it",
                metadata: ["copy": "\(copy)"])
            ledger = DeviceLedger(nil)
        }
        self.parts = parts
        self.time = time
        self.logger = logger
        contentHeld = Mutex(ledger.content)
        desk = Mutex(DeviceDesk(ledger, policy: policy))
    }

    deinit {
        for threads in [files, scans, work] { threads.close() }
    }

    /// What is known of devices that are held or out of service.
    var standings: [String: DeviceStanding] { contentHeld.withLock { $0 }.standings }

    /// Guests have devices, or some are still being cleaned.
    var holdsAny: Bool { contentHeld.withLock { !$0.holds.isEmpty } }

    /// Whom to tell that the manager has something to be told.
    func whenChanged(_ body: @escaping @Sendable () -> Void) { changed.withLock { $0 = body } }

    // MARK: Guests

    func claim(_ claim: DeviceClaim, _ addresses: [String]) async throws(ActionFailure) -> GrantedDevices {
        let answer = await withCheckedContinuation { continuation in
            let id = waiting.withLock { waiting in
                let id = waiting.newID()
                if let id { waiting.claims[id] = continuation }
                return id
            }
            guard let id else { return continuation.resume(returning: .failure(Self.stopping)) }
            mailbox.post(.wanted(id, claim, addresses))
        }
        return try answer.get()
    }

    private static let stopping = ActionFailure(code: "agent_stopping", sentence: "the agent is being stopped")

    func startEnded(_ claim: DeviceClaim, started: Bool) { mailbox.post(.startEnded(claim, started: started)) }

    func release(_ instance: InstanceID) async {
        // Most guests have no device.
        guard contentHeld.withLock({ $0.holds.contains { $0.claim?.instance == instance } }) else { return }
        await withCheckedContinuation { continuation in
            let id = waiting.withLock { waiting in
                let id = waiting.newID()
                if let id { waiting.releases[id] = continuation }
                return id
            }
            guard let id else { return continuation.resume() }
            mailbox.post(.releaseWanted(id, instance))
        }
    }

    func lookAgain() { mailbox.post(.lookAgain) }

    // MARK: Work

    func run() async throws {
        await cancelWhenGracefulShutdown { await self.serve() }
    }

    private func serve() async {
        guard var desk = desk.withLock({ $0.take() }) else { return }
        mailbox.post(.began)
        await withDiscardingTaskGroup { group in
            while !Task.isCancelled {
                for event in mailbox.takeAll() {
                    let effects = desk.handle(event, at: Moment(of: time))
                    // Before anybody hears of it.
                    contentHeld.withLock { $0 = desk.content }
                    for effect in effects { await carryOut(effect, in: &group) }
                }
                await pause(until: desk.nextWake)
            }
            leave()
            group.cancelAll()
        }
    }

    /// Nobody waits for what this process does not do any more; the next one looks at what became of it.
    private func leave() {
        let waiting = waiting.withLock { waiting in
            defer { waiting = Waiting(isOver: true) }
            return waiting
        }
        for continuation in waiting.claims.values { continuation.resume(returning: .failure(Self.stopping)) }
        for continuation in waiting.releases.values { continuation.resume() }
    }

    private func pause(until wake: Uptime?) async {
        guard let wake else { return await mailbox.wait() }
        let left = wake - time.uptime
        if left > .zero { await mailbox.wait(atMost: left) }
        if time.uptime >= wake { mailbox.post(.tick) }
    }

    private func carryOut(_ effect: DeviceDesk.Effect, in group: inout DiscardingTaskGroup) async {
        switch effect {
        case .look(let token, let mustAsk): group.addTask { await self.look(token, mustAsk: mustAsk) }
        // Before anything that comes behind it.
        case .perform(.save(let content, let revision)): await save(content, revision)
        case .perform(let effect):
            guard let job = DeviceJob(effect) else { return }
            let abandonment = Abandonment()
            underWay.withLock { $0[job] = abandonment }
            group.addTask {
                await self.perform(effect, abandonment)
                self.underWay.withLock { if $0[job] === abandonment { $0[job] = nil } }
            }
        case .abandon(let job): underWay.withLock { $0.removeValue(forKey: job) }?.abandon()
        case .grant(let id, let granted):
            waiting.withLock { $0.claims.removeValue(forKey: id) }?.resume(returning: .success(granted))
        case .refuse(let id, let refusal):
            let failure = ActionFailure(
                code: "device_refused", sentence: refusal.description, isLasting: refusal.isLasting)
            waiting.withLock { $0.claims.removeValue(forKey: id) }?.resume(returning: .failure(failure))
        case .released(let id): waiting.withLock { $0.releases.removeValue(forKey: id) }?.resume()
        case .changed: changed.withLock { $0 }?()
        case .notice(let notice): notice.log(to: logger)
        }
    }

    private func look(_ token: DeviceDesk.LookToken, mustAsk: Bool) async {
        do {
            let devices = try await scans.run { [parts] in try parts.survey.devices(all: true) }
            let uses = mustAsk || devices.contains(where: \.offer.isOfInterest) ? try await parts.uses() : []
            // Only now: a look that fails hears no wish, and leaves it for the next.
            let wishes = try await scans.run { [parts] in parts.wishes.take() }
            mailbox.post(.looked(token, DeviceLook(devices: devices, uses: uses)))
            for address in wishes { mailbox.post(.readmit(address)) }
        } catch {
            let reason = (error as? ActionFailure)?.sentence ?? "\(error)"
            mailbox.post(.lookFailed(token, reason: reason))
        }
    }

    private func save(_ content: LedgerContent, _ revision: UInt64) async {
        do {
            try await files.run { [parts] in try parts.file.save(content) }
            mailbox.post(.answered(.saved(revision: revision)))
        } catch {
            logger.error("the ledger of devices could not be kept", metadata: ["error": "\(error)"])
            mailbox.post(.answered(.saveFailed(revision: revision, reason: "\(error)")))
        }
    }

    private func perform(_ effect: DeviceLedger.Effect, _ abandonment: Abandonment) async {
        let actions = parts.actions
        switch effect {
        case .bind(let claim, let addresses):
            let failure = await failure {
                try await actions.prepare()
                try await self.work.run { try actions.bind(addresses, abandonment) }
            }
            mailbox.post(.answered(failure.map { .bindFailed(claim, reason: $0) } ?? .bound(claim)))
        case .reset(let address, let ticket):
            let failure = await failure { try await self.work.run { try actions.reset(address, abandonment) } }
            mailbox.post(.answered(.reset(address, ticket: ticket, failure: failure)))
        case .verify(let address, let ticket):
            let failure = await failure { try await self.work.run { try actions.verify(address) } }
            mailbox.post(.answered(.verified(address, ticket: ticket, failure: failure)))
        case .giveBack(let address, let ticket):
            let failure = await failure { try await self.work.run { try actions.giveBack(address, abandonment) } }
            mailbox.post(.answered(.returned(address, ticket: ticket, failure: failure)))
        // Of these the desk hands none out to be performed.
        case .save, .grant, .refuse, .freed, .quarantined, .readmissionRefused: return
        }
    }

    private func failure(_ body: () async throws -> Void) async -> String? {
        do {
            try await body()
            return nil
        } catch {
            return "\(error)"
        }
    }
}

extension DeviceDesk.Notice {
    /// One line for a person.
    func log(to logger: Logger) {
        switch self {
        case .claimed(let claim, let addresses):
            logger.info(
                "devices are an instance's",
                metadata: ["instance": "\(claim.instance)", "devices": "\(addresses.joined(separator: ","))"])
        case .freed(let addresses):
            logger.info("devices are free", metadata: ["devices": "\(addresses.joined(separator: ","))"])
        case .quarantined(let address, let found):
            var metadata: Logger.Metadata = ["device": "\(address)", "reason": "\(found.reason)"]
            if let claim = found.claim { metadata["instance"] = "\(claim.instance)" }
            logger.error("a device is out of service", metadata: metadata)
        case .readmissionRefused(let address, let reason):
            logger.warning(
                "a device is not let back into service", metadata: ["device": "\(address)", "reason": "\(reason)"])
        case .lookFailed(let reason):
            logger.debug("the devices of this host cannot be looked at", metadata: ["reason": "\(reason)"])
        }
    }
}
