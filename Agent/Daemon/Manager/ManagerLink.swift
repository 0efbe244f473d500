import AgentReconcile
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

/// The agent's side of every session: takes what the manager wants, tells what is, and sends usage.
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
        var book: AssignmentBook
        var sender: UplinkSender?
        var outbox = StatusOutbox()
        var window = SendWindow()
        /// Tells the sessions apart for those who work beside them.
        var session: UInt64 = 0
        var parts = AssignmentParts()
    }

    private let introduction: Introduction
    private let journal: AssignmentJournal
    private let reconcile: ReconcileService
    private let images: any HostImages
    private let inventory: InventoryKeeper
    private let identity: IdentityKeeper
    /// A setting of this host, where it has one, wins over the manager's wish.
    private let usageInterval: Duration?
    private let files: BlockingThreads
    private let logger: Logger
    private let state: Mutex<State>
    private let usage = Mutex<UsageService?>(nil)
    private let statusBell = Bell()
    private let usageBell = Bell()
    private let resyncBell = Bell()
    private let resyncs = Mutex(Backoff(first: .seconds(1), maximum: .seconds(60)))

    init(
        introduction: Introduction, book: AssignmentBook, journal: AssignmentJournal, reconcile: ReconcileService,
        images: any HostImages, inventory: InventoryKeeper, identity: IdentityKeeper, usageInterval: Duration?,
        files: BlockingThreads, logger: Logger
    ) {
        self.introduction = introduction
        self.journal = journal
        self.reconcile = reconcile
        self.images = images
        self.inventory = inventory
        self.identity = identity
        self.usageInterval = usageInterval
        self.files = files
        self.logger = logger
        self.state = Mutex(State(book: book))
    }

    /// The two know each other, so the second is named after both are made.
    func use(_ usage: UsageService) { self.usage.withLock { $0 = usage } }

    var appliedRevision: UInt64 { state.withLock { $0.book.revision } }

    // MARK: What others tell

    func report(full: Bool, _ statuses: [Status]) {
        state.withLock { $0.outbox.add(full: full, statuses) }
        statusBell.ring()
    }

    func report(_ status: ImageStatusValue) {
        state.withLock { $0.outbox.add(status) }
        statusBell.ring()
    }

    func usageWaits() { usageBell.ring() }

    // MARK: Session

    func hello() async -> Roost_V1_Hello {
        .with {
            $0.bootID = introduction.boot.bytes
            $0.processID = introduction.process.bytes
            $0.softwareVersion = introduction.version
            $0.appliedRevision = appliedRevision
        }
    }

    func sessionStarted(_ welcome: Roost_V1_Welcome, send: UplinkSender) async {
        state.withLock { state in
            state.session += 1
            state.sender = send
            state.outbox.begin()
            state.window = SendWindow()
            state.parts = AssignmentParts()
        }
        let wished = Duration.milliseconds(Int64(welcome.usageIntervalMs))
        if let interval = usageInterval ?? (wished > .zero ? wished : nil) {
            usage.withLock { $0 }?.setInterval(interval)
        }
        await trySending(.inventory(await inventory.fresh()), through: send)
        reconcile.post(.sessionStarted)
        statusBell.ring()
        usageBell.ring()
    }

    func sessionEnded(_ end: SessionEnd) async {
        state.withLock { state in
            state.sender = nil
            state.outbox.end()
        }
        reconcile.post(.sessionEnded)
    }

    func heartbeat() async -> Roost_V1_Heartbeat {
        var heartbeat = inventory.load()
        heartbeat.runningDomains = UInt32(clamping: reconcile.figures.runningDomains)
        heartbeat.appliedRevision = appliedRevision
        return heartbeat
    }

    func certificateRenewed(_ renewed: EnrolledIdentity) async throws {
        try await identity.renew(renewed)
    }

    func received(_ message: ProtocolWire.Message) async {
        switch message {
        case .assignmentSet(let part): await take(part)
        case .usageAcknowledgement(let acknowledgement): await acknowledged(acknowledgement)
        default:
            // The session's machine lets nothing else through that is for an agent; what it may let through later is
            // not for this version.
            logger.debug("a message was not understood")
        }
    }

    // MARK: Assignments

    private func take(_ part: Roost_V1_AssignmentSet) async {
        var book = state.withLock { $0.book }
        let set: Roost_V1_AssignmentSet
        let change: AssignmentBook.Change
        do throws(AssignmentBook.Refusal) {
            let whole = try state.withLock { state throws(AssignmentBook.Refusal) in try state.parts.add(part) }
            guard let whole else { return }
            set = whole
            change = try book.apply(set)
        } catch {
            logger.warning("assignments cannot be followed; the session begins anew", metadata: ["reason": "\(error)"])
            return resyncBell.ring()
        }
        let next = book
        do {
            // On the disk before anything is done about it: after a crash the same guests are wanted.
            try await files.run { [journal] in try journal.save(next) }
        } catch {
            logger.error(
                "assignments could not be kept, so they are not followed; the session begins anew",
                metadata: ["error": "\(error)", "revision": "\(set.revision)"])
            return resyncBell.ring()
        }
        let sender = state.withLock { state in
            state.book = next
            return state.sender
        }
        resyncs.withLock { $0.reset() }
        logger.debug(
            "assignments taken",
            metadata: [
                "revision": "\(set.revision)", "full": "\(set.full)", "instances": "\(set.instances.count)",
                "images": "\(set.images.count)",
            ])
        if let sender {
            await trySending(.assignmentAcknowledgement(.with { $0.revision = set.revision }), through: sender)
        }
        await follow(change)
    }

    private func follow(_ change: AssignmentBook.Change) async {
        reconcile.post(.assigned(change.instances))
        let used = reconcile.figures.imagesInUse
        let removed = change.removedImages.filter { image in
            guard used.contains(image) else { return true }
            logger.warning("an image that guests are made from is kept", metadata: ["image": "\(image)"])
            return false
        }
        let managerHost = introduction.managerHost
        try? await files.run { [images] in
            images.apply(change.images.map { $0.completed(managerHost: managerHost) })
            for image in removed { images.remove(image) }
        }
    }

    // MARK: Beside the session

    /// Keeps a session until the task is cancelled.
    func run(_ uplink: Uplink) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.keepSession(uplink) }
            group.addTask { await self.sendStatuses() }
            group.addTask { await self.sendUsage() }
            group.addTask { await self.sendInventoryChanges() }
        }
    }

    /// A session whose assignments do not fit is closed; the next begins with the whole set.
    private func keepSession(_ uplink: Uplink) async {
        var random = SystemRandomNumberGenerator()
        while !Task.isCancelled {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await uplink.run() }
                group.addTask { await self.resyncBell.heard() }
                await group.next()
                group.cancelAll()
            }
            guard !Task.isCancelled else { return }
            let wait = resyncs.withLock { $0.next(using: &random) }
            try? await Task.sleep(for: wait)
        }
    }

    private func sendStatuses() async {
        while !Task.isCancelled {
            await statusBell.heard()
            let (sender, report) = state.withLock { state in (state.sender, state.outbox.take()) }
            guard let sender, let report else { continue }
            await trySending(.statusReport(report), through: sender)
        }
    }

    private func sendUsage() async {
        while !Task.isCancelled {
            await usageBell.heard()
            guard let usage = usage.withLock({ $0 }) else { continue }
            var isDone = false
            while !isDone, !Task.isCancelled { isDone = await !sendUsageBatches(usage) }
        }
    }

    /// Sends as many batches as the window has room for; false where there is nothing to send now.
    private func sendUsageBatches(_ usage: UsageService) async -> Bool {
        let (sender, session, room, position) = state.withLock { state in
            (state.sender, state.session, state.window.room, state.window.position)
        }
        guard let sender, room > 0 else { return false }
        let batches = await usage.batches(after: position, limit: room)
        for (position, batch) in batches {
            guard let spool = SpoolID(bytes: batch.spoolID) else { continue }
            let isCurrent = state.withLock { state in
                guard state.session == session, state.sender != nil else { return false }
                state.window.sent(batch.number, of: spool, at: position)
                return true
            }
            guard isCurrent, await trySending(.usageBatch(batch), through: sender) else { return false }
        }
        return !batches.isEmpty
    }

    private func acknowledged(_ message: Roost_V1_UsageAcknowledgement) async {
        guard let spool = SpoolID(bytes: message.spoolID) else { return }
        await usage.withLock { $0 }?.acknowledge(spool, upTo: message.number)
        state.withLock { $0.window.acknowledged(spool, upTo: message.number) }
        usageBell.ring()
    }

    private func sendInventoryChanges() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(60))
            guard let sender = state.withLock({ $0.sender }), let changed = await inventory.changed() else { continue }
            await trySending(.inventory(changed), through: sender)
        }
    }

    /// What cannot be sent is lost with its session; the next begins with everything.
    @discardableResult
    private func trySending(_ message: ProtocolWire.Message, through sender: UplinkSender) async -> Bool {
        do throws(SessionRefusal) {
            try await sender.send(message)
            return true
        } catch {
            logger.debug("a message was not sent", metadata: ["code": "\(error.rawValue)"])
            return false
        }
    }
}
