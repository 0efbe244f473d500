public import AgentReconcile
public import AgentUsage
public import ProtocolMessages
public import ProtocolModel
public import ProtocolTransfer
public import ProtocolWire
import SwiftProtobuf

/// The agent's side of every session, without socket, disk and clock: takes what the manager wants, tells what is, and
/// sends usage.
///
/// A value: events go in, effects come out. `ManagerLink` carries the effects out in the daemon, and the simulator in its
/// own world. What the manager wants is followed only once it is kept.
public struct LinkCore: Sendable {
    /// What waits for a moment at which the session takes messages.
    public enum Errand: Sendable, Hashable, CaseIterable {
        case statuses, usage
    }

    public enum Event: Sendable {
        /// The process began; whether there was a book that could be read.
        case began(bookIsKnown: Bool)
        case sessionStarted(Roost_V1_Welcome)
        case sessionEnded
        /// A message of the manager. The next one is to wait until the effects of this one are carried out.
        case received(ProtocolWire.Message)
        /// The answer to `Effect.save`: whether the book is durable.
        case saved(Bool)
        /// Of the guests, in order.
        case statuses(full: Bool, [Status])
        case image(ImageStatusValue)
        case capture(CaptureStatusValue)
        /// There is a new batch in the spool.
        case usageKept
        /// The host's own operator has taken the host back, or given it back (`nil`).
        case departed(Departure?)
        /// The answer to `Effect.due`, once for any number of them.
        case ready(Errand)
        /// The answer to `Effect.collectInventory`, or a change.
        case inventory(Roost_V1_Inventory)
        /// The answer to `Effect.fetchUsage`, with the same session.
        case usage([(position: SpoolPosition, batch: Roost_V1_UsageBatch)], session: UInt64)
    }

    public enum Effect: Sendable {
        /// Keep durably, and give `Event.saved`.
        case save(AssignmentBook)
        /// To be dropped where the session is over.
        case send(ProtocolWire.Message, session: UInt64)
        /// Give `Event.ready` as soon as the session takes a message.
        case due(Errand)
        /// Close the session and open another after `nextResynchronisation`.
        case resynchronise
        /// For the reconciler.
        case reconcile(AgentReconcile.Event)
        case hold(WantedImages)
        case removeImage(ImageID)
        /// All images that are to be made of disks of this host.
        case capture([CaptureAssignmentValue])
        /// From now on, for all transfers of images.
        case limitTransfers(TransferLimitsValue)
        case setUsageInterval(Duration)
        case collectInventory
        /// Batches of the spool behind a position, at most so many.
        case fetchUsage(after: SpoolPosition?, limit: Int, session: UInt64)
        case acknowledgeUsage(SpoolID, upTo: UInt64)
        case notice(Notice)
    }

    /// What a person who reads the log should know.
    public enum Notice: Sendable, Equatable {
        case cannotFollow(AssignmentBook.Refusal)
        case notKept(revision: UInt64)
        case taken(revision: UInt64, full: Bool, instances: Int, images: Int)
        case imageInUse(ImageID)
        case notUnderstood
    }

    /// A set that is being kept.
    private struct Pending: Sendable {
        var book: AssignmentBook
        var set: Roost_V1_AssignmentSet
        var change: AssignmentBook.Change
    }

    public private(set) var book: AssignmentBook
    /// The host's own operator has taken it back.
    public private(set) var departure: Departure?
    /// As this host reaches the manager.
    private let managerHost: String
    /// A setting of this host, where it has one, wins over the manager's wish.
    private let usageInterval: Duration?
    private var outbox = StatusOutbox()
    private var window = SendWindow()
    private var parts = AssignmentParts()
    private var pending: Pending?
    private var isLive = false
    /// A set of this process's life is kept.
    private var isHeard = false
    /// What the last `Hello` said.
    private var introducedHold: Roost_V1_HostHold?
    /// Tells the sessions apart for those who work beside them.
    public private(set) var session: UInt64 = 0
    private var resynchronisations = Backoff(first: .seconds(1), maximum: .seconds(60))

    public init(book: AssignmentBook, departure: Departure? = nil, managerHost: String, usageInterval: Duration?) {
        self.book = book
        self.departure = departure
        self.managerHost = managerHost
        self.usageInterval = usageInterval
    }

    /// The wait before the session that follows on `Effect.resynchronise`.
    public mutating func nextResynchronisation(using random: inout some RandomNumberGenerator) -> Duration {
        resynchronisations.next(using: &random)
    }

    /// What `Hello` is to say of the host's own operator; what changes from then on is told in the session.
    public mutating func introduceHostHold() -> Roost_V1_HostHold {
        introducedHold = hostHold
        return hostHold
    }

    private var hostHold: Roost_V1_HostHold {
        .with {
            guard let departure else { return }
            $0.left = true
            $0.reason = departure.reason
            $0.sinceMs = departure.since.milliseconds
        }
    }

    /// Takes in what happened and says what to do about it, in this order.
    public mutating func handle(_ event: Event) -> [Effect] {
        switch event {
        case .began(let bookIsKnown): return bookIsKnown ? resume() : []
        case .sessionStarted(let welcome): return start(welcome)
        case .sessionEnded:
            isLive = false
            outbox.end()
            return [.reconcile(.sessionEnded)]
        case .received(.assignmentSet(let part)): return take(part)
        case .received(.usageAcknowledgement(let acknowledgement)): return acknowledged(acknowledgement)
        case .received:
            // The session's machine lets nothing else through that is for an agent; what it may let through later is not
            // for this version.
            return [.notice(.notUnderstood)]
        case .saved(let isDurable): return saved(isDurable)
        case .statuses(let full, let statuses):
            outbox.add(full: full, statuses)
            return [.due(.statuses)]
        case .image(let status): return news(of: status)
        case .capture(let status):
            guard book.captures.contains(where: { $0.image == status.image }) else { return [] }
            outbox.add(status)
            return [.due(.statuses)]
        case .usageKept: return [.due(.usage)]
        case .departed(let departure):
            self.departure = departure
            outbox.add(hostHold)
            return [
                hold(book.images.values.compactMap { ImageAssignmentValue($0) }, renewed: []), .due(.statuses),
            ]
        case .ready(.statuses):
            guard isLive, let report = outbox.take() else { return [] }
            return [.send(.statusReport(report), session: session)] + (outbox.isEmpty ? [] : [.due(.statuses)])
        case .ready(.usage):
            guard isLive, window.room > 0 else { return [] }
            return [.fetchUsage(after: window.position, limit: window.room, session: session)]
        case .inventory(let inventory): return isLive ? [.send(.inventory(inventory), session: session)] : []
        case .usage(let batches, let session): return send(batches, in: session)
        }
    }

    // MARK: Session

    /// What was wanted when the last process ended is wanted until the manager says otherwise.
    private mutating func resume() -> [Effect] {
        var same = AssignmentBook()
        guard let change = try? same.apply(book.message) else { return [] }
        return [.reconcile(.assigned(change.instances))] + limits(after: nil) + [hold(change.images, renewed: [])]
            + capture(change)
    }

    private func limits(after before: TransferLimitsValue?) -> [Effect] {
        guard let limits = book.transferLimits, limits != before else { return [] }
        return [.limitTransfers(limits)]
    }

    private mutating func start(_ welcome: Roost_V1_Welcome) -> [Effect] {
        session += 1
        isLive = true
        outbox.begin()
        if (introducedHold ?? .init()) != hostHold { outbox.add(hostHold) }
        window = SendWindow()
        parts = AssignmentParts()
        let wished = Duration.milliseconds(Int64(welcome.usageIntervalMs))
        let interval = usageInterval ?? (wished > .zero ? wished : nil)
        return (interval.map { [.setUsageInterval($0)] } ?? []) + [
            .collectInventory, .reconcile(.sessionStarted), .due(.statuses), .due(.usage),
        ]
    }

    // MARK: Assignments

    private mutating func take(_ part: Roost_V1_AssignmentSet) -> [Effect] {
        do throws(AssignmentBook.Refusal) {
            guard let set = try parts.add(part) else { return [] }
            var next = book
            let change = try next.apply(set)
            pending = Pending(book: next, set: set, change: change)
            return [.save(next)]
        } catch {
            return [.notice(.cannotFollow(error)), .resynchronise]
        }
    }

    private mutating func saved(_ isDurable: Bool) -> [Effect] {
        guard let pending else { return [] }
        self.pending = nil
        let before = book.transferLimits
        guard isDurable else { return [.notice(.notKept(revision: pending.set.revision)), .resynchronise] }
        book = pending.book
        let isFirst = !isHeard
        isHeard = true
        resynchronisations.reset()
        let set = pending.set
        var effects: [Effect] = [
            .notice(
                .taken(
                    revision: set.revision, full: set.full, instances: set.instances.count, images: set.images.count))
        ]
        if isLive {
            effects.append(
                .send(.assignmentAcknowledgement(.with { $0.revision = set.revision }), session: session))
        }
        // What is held already is no news for the cache, but it is for the manager.
        let named = Set(set.images.compactMap { ImageID(bytes: $0.imageID) })
        for image in named { outbox.repeatStatus(of: image, isRenewed: !set.full) }
        // A whole set says again what was wanted before; of what else is named, somebody has just said so.
        let renewed = set.full ? [] : named
        return effects + limits(after: before) + follow(pending.change, renewed: renewed, isFirst: isFirst)
            + [.due(.statuses)]
    }

    /// Images first: what a guest is made from is not to be evicted from here on.
    private mutating func follow(
        _ change: AssignmentBook.Change, renewed: Set<ImageID>, isFirst: Bool
    ) -> [Effect] {
        let used = change.removedImages.isEmpty ? [] : Set(book.imagesOfGuests.values)
        var effects: [Effect] = [hold(change.images, renewed: renewed), .reconcile(.assigned(change.instances))]
        // Only behind what the set says: until that is taken in, what is known is what the disk said (P1).
        if isFirst { effects.append(.reconcile(.managerHeard)) }
        effects += capture(change)
        for image in change.removedImages {
            effects.append(used.contains(image) ? .notice(.imageInUse(image)) : .removeImage(image))
        }
        return effects
    }

    private mutating func capture(_ change: AssignmentBook.Change) -> [Effect] {
        guard let captures = change.captures else { return [] }
        outbox.keepCaptures(Set(captures.map(\.image)))
        return [.capture(captures)]
    }

    private func hold(_ images: [ImageAssignmentValue], renewed: Set<ImageID>) -> Effect {
        .hold(
            WantedImages(
                images: images.map { $0.completed(managerHost: managerHost, isPaused: departure != nil) },
                guests: book.imagesOfGuests, renewed: renewed))
    }

    // MARK: Telling

    /// Guests may wait for the image, and the manager wants to know.
    private mutating func news(of status: ImageStatusValue) -> [Effect] {
        outbox.add(status, isWanted: book.images[status.image] != nil)
        let effects: [Effect] =
            switch status.state {
            case .held: [.reconcile(.imageHeld(status.image))]
            case .failed: [.reconcile(.imageMissing(status.image, reason: status.reason))]
            case .removed:
                [.reconcile(.imageMissing(status.image, reason: "the image was removed from this host"))]
            // It may have been there before: a chunk of it has rotted, or is to be checked.
            case .fetching: [.reconcile(.imageMissing(status.image, reason: status.source == nil ? status.reason : ""))]
            }
        return effects + [.due(.statuses)]
    }

    private mutating func send(
        _ batches: [(position: SpoolPosition, batch: Roost_V1_UsageBatch)], in session: UInt64
    ) -> [Effect] {
        guard isLive, session == self.session, !batches.isEmpty else { return [] }
        var effects: [Effect] = []
        for (position, batch) in batches {
            guard let spool = SpoolID(bytes: batch.spoolID) else { continue }
            window.sent(batch.number, of: spool, at: position)
            effects.append(.send(.usageBatch(batch), session: session))
        }
        return effects + [.due(.usage)]
    }

    private mutating func acknowledged(_ message: Roost_V1_UsageAcknowledgement) -> [Effect] {
        guard let spool = SpoolID(bytes: message.spoolID) else { return [] }
        window.acknowledged(spool, upTo: message.number)
        return [.acknowledgeUsage(spool, upTo: message.number), .due(.usage)]
    }
}

/// All images that a host is to hold, and why.
public struct WantedImages: Sendable, Equatable {
    public var images: [ImageAssignmentValue]
    /// The images that assigned guests are made from.
    public var guests: [InstanceID: ImageID]
    /// Images that the manager has just asked for: also those that were evicted before are fetched.
    public var renewed: Set<ImageID>

    public init(images: [ImageAssignmentValue], guests: [InstanceID: ImageID] = [:], renewed: Set<ImageID> = []) {
        self.images = images
        self.guests = guests
        self.renewed = renewed
    }
}

extension ImageAssignmentValue {
    /// A manager that does not know by which of its addresses its agents reach it names a port alone (`:7402`): then it
    /// is where the session goes.
    ///
    /// - Parameter isPaused: nothing is fetched, whatever the manager says.
    func completed(managerHost host: String, isPaused: Bool) -> ImageAssignmentValue {
        var completed = self
        completed.isPaused = completed.isPaused || isPaused
        completed.sources = sources.map { source in
            guard source.node == nil, source.address.hasPrefix(":") else { return source }
            return ChunkSource(node: nil, address: (host.contains(":") ? "[\(host)]" : host) + source.address)
        }
        return completed
    }
}
