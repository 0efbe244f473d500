public import ProtocolModel
public import ProtocolTransfer

/// Why an image could not be made of a disk.
public struct CaptureFailure: Error, Hashable, Sendable {
    public enum Hope: Hashable, Sendable {
        /// Another try changes nothing.
        case none
        case afterAFewTries
        /// What is in the way has nothing to do with the disk, and passes.
        case always
    }

    public var code: String
    public var sentence: String
    public var hope: Hope

    public init(code: String, sentence: String, hope: Hope) {
        self.code = code
        self.sentence = sentence
        self.hope = hope
    }
}

/// Decides which disks of a host are copied when, so that what the manager wants to have images of ends as ready or failed.
///
/// A pure value: events go in, effects come out, time is a parameter.
///
/// ```
/// waiting --its turn--> borrowing --lent--> copying --copied--> sealing --sealed--> ready
///    ^                                         |                   |
///    +-------------- failed, with hope --------+-------------------+--- failed, without --> failed
/// wanted no more: from any to gone, once nothing runs for it
/// ```
public struct CaptureCore: Sendable {
    public enum Event: Hashable, Sendable {
        /// All that is wanted.
        case wanted([CaptureAssignmentValue])
        /// The answer to `Effect.borrow`: whether the guest runs; `nil`: there is no disk.
        case lent(InstanceID, running: Bool?)
        case progressed(ImageID, percent: Int)
        /// The disk is not read any more.
        case copied(ImageID)
        /// What `Effect.begin` began has ended; `nil`: it was stopped.
        case ended(ImageID, Result<SealedCapture, CaptureFailure>?)
        case tick
    }

    public enum Effect: Hashable, Sendable {
        case borrow(InstanceID)
        case giveBack(InstanceID)
        /// Copy and seal, and give `copied` and `ended`.
        case begin(CaptureAssignmentValue, running: Bool)
        /// Of what was begun; give `ended` once nothing of it runs any more.
        case stop(ImageID)
        /// Remove all files of it.
        case remove(ImageID)
        case report(CaptureStatusValue)
    }

    private enum Phase: Hashable, Sendable {
        case waiting
        case borrowing
        case copying(running: Bool)
        case sealing
        case ready(SealedCapture)
        case failed(CaptureFailure)
    }

    private struct Record: Sendable {
        let instance: InstanceID
        var phase = Phase.waiting
        var isWanted = true
        var tries = 0
        var retryAt: Uptime?
        var backoff = Backoff(first: .seconds(1), maximum: .seconds(30), jitter: 0)

        /// Something runs for it.
        var isAtWork: Bool {
            switch phase {
            case .copying, .sealing: true
            default: false
            }
        }
    }

    /// Copies keep a disk busy, so that more than one at a time would only make each slower.
    private static let parallel = 1
    static let tries = 10

    private var records: [ImageID: Record] = [:]
    /// Finished by an earlier life of the agent, until it is known what is wanted.
    private var found: [ImageID: SealedCapture]
    private var random = SystemRandomNumberGenerator()

    /// - Parameter found: copies that an earlier life of the agent has finished.
    public init(found: [SealedCapture] = []) {
        self.found = Dictionary(found.map { ($0.image, $0) }, uniquingKeysWith: { $1 })
    }

    /// When `Event.tick` is due, if nothing else happens before.
    public var nextWake: Uptime? { records.values.compactMap { $0.phase == .waiting ? $0.retryAt : nil }.min() }

    public mutating func handle(_ event: Event, at now: Uptime) -> [Effect] {
        var effects: [Effect] = []
        switch event {
        case .wanted(let wanted): want(wanted, &effects)
        case .lent(let instance, let running): lent(instance, running, at: now, &effects)
        case .progressed(let image, let percent):
            if records[image]?.isAtWork == true, records[image]?.isWanted == true {
                effects.append(.report(CaptureStatusValue(image: image, state: .copying(percent: percent))))
            }
        case .copied(let image): copied(image, &effects)
        case .ended(let image, let result): ended(image, result, at: now, &effects)
        case .tick: break
        }
        beginNext(at: now, &effects)
        return effects
    }

    // MARK: What is wanted

    private mutating func want(_ wanted: [CaptureAssignmentValue], _ effects: inout [Effect]) {
        let images = Set(wanted.map(\.image))
        for image in records.keys.sorted() where !images.contains(image) { drop(image, &effects) }
        for capture in wanted {
            var record = records[capture.image] ?? Record(instance: capture.instance)
            record.isWanted = true
            if let sealed = found.removeValue(forKey: capture.image) { record.phase = .ready(sealed) }
            records[capture.image] = record
            if let status = Self.status(of: capture.image, record) { effects.append(.report(status)) }
        }
        for image in found.keys.sorted() { effects.append(.remove(image)) }
        found = [:]
    }

    /// What ended is told again, to a manager that has only now begun to listen.
    private static func status(of image: ImageID, _ record: Record) -> CaptureStatusValue? {
        switch record.phase {
        case .ready(let sealed):
            CaptureStatusValue(
                image: image, state: .ready(manifestDigest: sealed.manifestDigest, sizeBytes: sealed.sizeBytes))
        case .failed(let failure):
            CaptureStatusValue(image: image, state: .failed, code: failure.code, reason: failure.sentence)
        case .waiting where record.tries == 0: CaptureStatusValue(image: image, state: .copying(percent: 0))
        case .waiting, .borrowing, .copying, .sealing: nil
        }
    }

    private mutating func drop(_ image: ImageID, _ effects: inout [Effect]) {
        guard let record = records[image] else { return }
        switch record.phase {
        case .copying, .sealing:
            if record.isWanted { effects.append(.stop(image)) }
            records[image]?.isWanted = false
            return
        case .borrowing: effects.append(.giveBack(record.instance))
        case .waiting, .ready, .failed: break
        }
        records[image] = nil
        effects.append(.remove(image))
    }

    // MARK: One copy

    private mutating func beginNext(at now: Uptime, _ effects: inout [Effect]) {
        let busy = records.values.count { $0.phase == .borrowing || $0.isAtWork }
        guard busy < Self.parallel else { return }
        // Identifiers grow with time, so that who came first is first.
        let next = records.filter { $0.value.phase == .waiting && ($0.value.retryAt.map { $0 <= now } ?? true) }.keys
            .min()
        guard let next, let record = records[next] else { return }
        records[next]?.phase = .borrowing
        records[next]?.retryAt = nil
        effects.append(.borrow(record.instance))
    }

    private mutating func lent(
        _ instance: InstanceID, _ running: Bool?, at now: Uptime, _ effects: inout [Effect]
    ) {
        guard let (image, _) = records.first(where: { $0.value.phase == .borrowing && $0.value.instance == instance })
        else {
            // Whoever asked does not want it any more.
            if running == false { effects.append(.giveBack(instance)) }
            return
        }
        guard let running else {
            failed(
                image,
                CaptureFailure(
                    code: "no_disk", sentence: "the instance has no disk on its host", hope: .afterAFewTries), at: now,
                &effects)
            return
        }
        records[image]?.phase = .copying(running: running)
        effects.append(.begin(CaptureAssignmentValue(image: image, instance: instance), running: running))
    }

    private mutating func copied(_ image: ImageID, _ effects: inout [Effect]) {
        guard let record = records[image], case .copying(let running) = record.phase else { return }
        records[image]?.phase = .sealing
        if !running { effects.append(.giveBack(record.instance)) }
    }

    private mutating func ended(
        _ image: ImageID, _ result: Result<SealedCapture, CaptureFailure>?, at now: Uptime, _ effects: inout [Effect]
    ) {
        guard let record = records[image], record.isAtWork else { return }
        if record.phase == .copying(running: false) { effects.append(.giveBack(record.instance)) }
        guard record.isWanted else {
            records[image] = nil
            effects.append(.remove(image))
            return
        }
        switch result {
        case .success(let sealed)?:
            records[image]?.phase = .ready(sealed)
            effects.append(
                .report(
                    CaptureStatusValue(
                        image: image,
                        state: .ready(manifestDigest: sealed.manifestDigest, sizeBytes: sealed.sizeBytes))))
        case .failure(let failure)?:
            effects.append(.remove(image))
            failed(image, failure, at: now, &effects)
        case nil:
            // Stopped, and wanted again before it had ended.
            effects.append(.remove(image))
            records[image]?.phase = .waiting
        }
    }

    private mutating func failed(
        _ image: ImageID, _ failure: CaptureFailure, at now: Uptime, _ effects: inout [Effect]
    ) {
        guard var record = records[image] else { return }
        defer { records[image] = record }
        if failure.hope != .always { record.tries += 1 }
        guard failure.hope != .none, record.tries < Self.tries else {
            record.phase = .failed(failure)
            effects.append(
                .report(
                    CaptureStatusValue(image: image, state: .failed, code: failure.code, reason: failure.sentence)))
            return
        }
        record.phase = .waiting
        record.retryAt = now + record.backoff.next(using: &random)
        effects.append(
            .report(
                CaptureStatusValue(
                    image: image, state: .copying(percent: 0), code: failure.code, reason: failure.sentence)))
    }
}

/// A copy of a disk that lies on the host as a whole, with its manifest.
public struct SealedCapture: Hashable, Sendable {
    public var image: ImageID
    public var manifestDigest: ContentDigest
    public var sizeBytes: Int64

    public init(image: ImageID, manifestDigest: ContentDigest, sizeBytes: Int64) {
        self.image = image
        self.manifestDigest = manifestDigest
        self.sizeBytes = sizeBytes
    }
}
