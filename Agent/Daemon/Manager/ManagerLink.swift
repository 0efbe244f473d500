import AgentLink
import AgentReconcile
import AgentManagers
import AgentUplink
import AgentUsage
import Logging
import ProcessThreads
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import ProtocolWire
import SwiftProtobuf
import Synchronization

/// Carries out what `LinkCore` decides: in the session, on the disk, and with the other parts of the agent.
final class ManagerLink: UplinkDelegate {
    /// Who this process is, as it introduces itself.
    struct Introduction: Sendable {
        var boot: BootID
        var process: BootID
        var version: String
        /// As this host reaches the manager.
        var managerHost: String
    }

    private struct State {
        var core: LinkCore
        var sender: UplinkSender?
        /// Whose sender it is.
        var session: UInt64 = 0
    }

    private let introduction: Introduction
    private let journal: AssignmentJournal
    private let reconcile: ReconcileService
    private let images: any HostImages
    private let captures: CaptureService?
    private let inventory: InventoryKeeper
    private let identity: IdentityKeeper
    private let files: BlockingThreads
    private let logger: Logger
    private let state: Mutex<State>
    private let usage = Mutex<UsageService?>(nil)
    private let statusBell = Bell()
    private let usageBell = Bell()
    private let resynchroniseBell = Bell()
    private let inventoryBell = Bell()

    init(
        introduction: Introduction, book: AssignmentBook, departure: Departure?, journal: AssignmentJournal,
        reconcile: ReconcileService,
        images: any HostImages, captures: CaptureService?, inventory: InventoryKeeper, identity: IdentityKeeper,
        usageInterval: Duration?, files: BlockingThreads, logger: Logger
    ) {
        self.introduction = introduction
        self.journal = journal
        self.reconcile = reconcile
        self.images = images
        self.captures = captures
        self.inventory = inventory
        self.identity = identity
        self.files = files
        self.logger = logger
        self.state = Mutex(
            State(
                core: LinkCore(
                    book: book, departure: departure, managerHost: introduction.managerHost,
                    usageInterval: usageInterval)))
    }

    /// The two know each other, so the second is named after both are made.
    func use(_ usage: UsageService) { self.usage.withLock { $0 = usage } }

    var appliedRevision: UInt64 { state.withLock { $0.core.book.revision } }

    // MARK: What others tell

    func report(full: Bool, _ statuses: [Status]) { note(.statuses(full: full, statuses)) }

    func report(_ status: ImageStatusValue) { note(.image(status)) }

    func report(_ status: CaptureStatusValue) { note(.capture(status)) }

    func usageWaits() { note(.usageKept) }

    /// The host was taken back, or given back (`nil`). Blocks for the image cache.
    func departed(_ departure: Departure?) { note(.departed(departure)) }

    var hasSession: Bool { state.withLock { $0.sender != nil } }

    /// What the inventory says may be other than was told.
    func inventoryChanged() { inventoryBell.ring() }

    /// What follows from these events is done at once.
    private func note(_ event: LinkCore.Event) {
        for effect in handle(event) {
            switch effect {
            case .due(let errand): ring(errand)
            case .reconcile(let event): reconcile.post(event)
            case .hold(let wanted): images.apply(wanted)
            default: logger.error("an effect was not carried out", metadata: ["effect": "\(effect)"])
            }
        }
    }

    // MARK: Session

    func hello() async -> Roost_V1_Hello {
        .with {
            $0.bootID = introduction.boot.bytes
            $0.processID = introduction.process.bytes
            $0.softwareVersion = introduction.version
            $0.appliedRevision = appliedRevision
            $0.hostHold = state.withLock { $0.core.introduceHostHold() }
        }
    }

    func sessionStarted(_ welcome: Roost_V1_Welcome, send: UplinkSender) async {
        let effects = state.withLock { state in
            defer { (state.sender, state.session) = (send, state.core.session) }
            return state.core.handle(.sessionStarted(welcome))
        }
        await carryOut(effects)
    }

    func sessionEnded(_ end: SessionEnd) async {
        state.withLock { $0.sender = nil }
        await carryOut(handle(.sessionEnded))
    }

    func heartbeat() async -> Roost_V1_Heartbeat {
        var heartbeat = inventory.load()
        heartbeat.runningDomains = UInt32(clamping: reconcile.figures.runningDomains)
        heartbeat.appliedRevision = appliedRevision
        return heartbeat
    }

    func managersLearned(_ managers: [ManagerAddress]) async {
        do {
            try await identity.keep(managers)
        } catch {
            logger.warning("the managers' addresses were not kept", metadata: ["error": "\(error)"])
        }
    }

    func certificateRenewed(_ renewed: EnrolledIdentity) async throws {
        try await identity.renew(renewed)
    }

    func received(_ message: ProtocolWire.Message) async { await carryOut(handle(.received(message))) }

    // MARK: Effects

    private func handle(_ event: LinkCore.Event) -> [LinkCore.Effect] { state.withLock { $0.core.handle(event) } }

    /// Carries effects out in their order, and those that they lead to.
    private func carryOut(_ effects: [LinkCore.Effect]) async {
        for effect in effects {
            switch effect {
            case .save(let book): await carryOut(handle(.saved(await save(book))))
            case .send(let message, let session):
                // What was meant for a session that is over is not for the next.
                guard let sender = state.withLock({ $0.session == session ? $0.sender : nil }) else { continue }
                await trySending(message, through: sender)
            case .due(let errand): ring(errand)
            case .resynchronise: resynchroniseBell.ring()
            case .reconcile(let event): reconcile.post(event)
            case .limitTransfers(let limits): images.limit(limits)
            case .hold(let wanted): try? await files.run { [images] in images.apply(wanted) }
            case .removeImage(let image): try? await files.run { [images] in images.remove(image) }
            case .capture(let wanted): captures?.want(wanted)
            case .setUsageInterval(let interval): usage.withLock { $0 }?.setInterval(interval)
            case .collectInventory: await carryOut(handle(.inventory(await inventory.fresh())))
            case .fetchUsage(let position, let limit, let session):
                guard let usage = usage.withLock({ $0 }) else { continue }
                let batches = await usage.batches(after: position, limit: limit)
                await carryOut(handle(.usage(batches, session: session)))
            case .acknowledgeUsage(let spool, let number):
                await usage.withLock { $0 }?.acknowledge(spool, upTo: number)
            case .notice(let notice): notice.log(to: logger)
            }
        }
    }

    /// On the disk before anything is done about it: after a crash the same guests are wanted.
    private func save(_ book: AssignmentBook) async -> Bool {
        do {
            try await files.run { [journal] in try journal.save(book) }
            return true
        } catch {
            logger.error("the assignments could not be kept", metadata: ["error": "\(error)"])
            return false
        }
    }

    private func ring(_ errand: LinkCore.Errand) {
        switch errand {
        case .statuses: statusBell.ring()
        case .usage: usageBell.ring()
        }
    }

    // MARK: Beside the session

    /// Keeps a session until the task is cancelled.
    func run(_ uplink: Uplink) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.keepSession(uplink) }
            group.addTask { await self.runErrands(.statuses, self.statusBell) }
            group.addTask { await self.runErrands(.usage, self.usageBell) }
            group.addTask { await self.sendInventoryChanges() }
        }
    }

    /// What was wanted when the last process ended is wanted until the manager says otherwise.
    func begin(bookIsKnown: Bool) {
        for effect in handle(.began(bookIsKnown: bookIsKnown)) {
            switch effect {
            case .reconcile(let event): reconcile.post(event)
            case .limitTransfers(let limits): images.limit(limits)
            case .hold(let wanted): images.apply(wanted)
            case .capture(let wanted): captures?.want(wanted)
            default: logger.error("an effect was not carried out", metadata: ["effect": "\(effect)"])
            }
        }
    }

    /// A session whose assignments do not fit is closed; the next begins with the whole set.
    private func keepSession(_ uplink: Uplink) async {
        var random = SystemRandomNumberGenerator()
        while !Task.isCancelled {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await uplink.run() }
                group.addTask { await self.resynchroniseBell.heard() }
                await group.next()
                group.cancelAll()
            }
            guard !Task.isCancelled else { return }
            let wait = state.withLock { $0.core.nextResynchronisation(using: &random) }
            try? await Task.sleep(for: wait)
        }
    }

    /// One after the other, so that a manager that does not read slows its own messages down and nothing else.
    private func runErrands(_ errand: LinkCore.Errand, _ bell: Bell) async {
        while !Task.isCancelled {
            await bell.heard()
            await carryOut(handle(.ready(errand)))
        }
    }

    private func sendInventoryChanges() async {
        while !Task.isCancelled {
            await inventoryBell.heard(within: .seconds(60))
            guard state.withLock({ $0.sender }) != nil, let changed = await inventory.changed() else { continue }
            await carryOut(handle(.inventory(changed)))
        }
    }

    /// What cannot be sent is lost with its session; the next begins with everything.
    private func trySending(_ message: ProtocolWire.Message, through sender: UplinkSender) async {
        do throws(SessionRefusal) {
            try await sender.send(message)
        } catch {
            logger.debug("a message was not sent", metadata: ["code": "\(error.rawValue)"])
        }
    }
}

extension LinkCore.Notice {
    /// One line for a person.
    func log(to logger: Logger) {
        switch self {
        case .cannotFollow(let reason):
            logger.warning(
                "assignments cannot be followed; the session begins anew", metadata: ["reason": "\(reason)"])
        case .notKept(let revision):
            logger.error(
                "assignments that are not kept are not followed; the session begins anew",
                metadata: ["revision": "\(revision)"])
        case .taken(let revision, let full, let instances, let images):
            logger.debug(
                "assignments taken",
                metadata: [
                    "revision": "\(revision)", "full": "\(full)", "instances": "\(instances)", "images": "\(images)",
                ])
        case .imageInUse(let image):
            logger.warning("an image that guests are made from is kept", metadata: ["image": "\(image)"])
        case .notUnderstood: logger.debug("a message was not understood")
        }
    }
}
