import Logging
import ProcessFiles
import ProcessThreads
import ProtocolModel
import ProtocolTransfer
import Synchronization

/// Reading what the cache holds and comparing it: after an unclean stop, and by the policy.
extension ImageCache {
    func keepChecking() {
        var checker = CacheChecker(cache: self)
        while !state.withLock({ $0.stopped }) {
            let wait = checker.step(at: Moment(of: configuration.time))
            guard wait > .zero else { continue }
            _ = checkBell.wait(upTo: wait) { $0 ? true : nil }
            checkBell.withLock { $0 = false }
        }
    }

    /// What the plan looks at.
    func checkCandidates() -> [CheckPlan.Candidate] {
        let (images, inUse, assigned, fetched) = state.withLock { state in
            (state.images, Set(state.guests.values), Set(state.assignments.keys), Set(state.fetches.keys))
        }
        return images.compactMap { image, cached in
            let isInDoubt = cached.isInDoubt
            // One that is being received sees to its doubts itself.
            guard isInDoubt ? !fetched.contains(image) : cached.isComplete else { return nil }
            let facts = cached.facts
            return CheckPlan.Candidate(
                image: image, isInDoubt: isInDoubt,
                urgency: inUse.contains(image) ? .awaited : assigned.contains(image) ? .assigned : .none,
                lastKnownGood: facts.verifiedAt ?? facts.heldSince ?? Timestamp(milliseconds: 0))
        }
    }

    /// An image that was in doubt has been compared.
    func settled(_ cached: CachedImage) {
        if cached.isComplete {
            reports.yield(status(of: cached, .held))
        } else {
            fetchIfWanted(cached.image)
        }
    }

    /// Guests that are to start are told what they wait for.
    func tellDoubts() {
        let doubted = state.withLock { state in
            let awaited = Set(state.guests.values)
            let new = state.images.values.filter { cached in
                awaited.contains(cached.image) && !state.toldDoubts.contains(cached.image)
                    && cached.isPublished && cached.isInDoubt
            }
            state.toldDoubts.formUnion(new.map(\.image))
            return new
        }
        for cached in doubted {
            reports.yield(
                status(
                    of: cached, .fetching,
                    reason: "the image is compared with its manifest, since the agent or the host did not stop in order"
                ))
        }
    }

    /// A chunk on the disk is not what it should be: no guest starts from the image, and nobody gets that chunk, before it
    /// has come anew (P7).
    func chunkDamaged(_ chunk: Int, of cached: CachedImage) {
        logger.error(
            "a chunk of a cached image is corrupt on the disk; it is fetched anew",
            metadata: ["image": "\(cached.image)", "chunk": "\(chunk)", "file": "\(cached.files.raw)"])
        reports.yield(
            status(of: cached, .fetching, reason: "chunk \(chunk) was corrupt on the disk and is fetched anew"))
        // What is still in doubt is compared first.
        if !cached.isInDoubt { fetchIfWanted(cached.image) }
    }
}

/// Checks one chunk at a time, as `CheckPlan` decides. Lives on the thread that checks.
struct CacheChecker {
    private struct Current {
        let cached: CachedImage
        let manifest: Manifest
        let file: CacheFile
        let reader: MediumReader?
        let isOfDoubts: Bool
        let unhurried: Bool
        var next = 0
    }

    let cache: ImageCache
    private var current: Current?
    private var pace: ReadPace
    private var spaceSeenAt: Uptime?

    /// The longest wait: what others do to the disk is looked at that often.
    private static let spaceInterval = Duration.seconds(30)

    init(cache: ImageCache) {
        self.cache = cache
        pace = ReadPace(bytesPerSecond: cache.configuration.scrubBytesPerSecond)
    }

    /// Does the next piece of work, at most one chunk of it.
    ///
    /// - Returns: how long to wait before the next, unless something changes.
    mutating func step(at now: Moment) -> Duration {
        if spaceSeenAt.map({ now.uptime - $0 >= Self.spaceInterval }) ?? true {
            spaceSeenAt = now.uptime
            cache.keepFreeSpace()
        }
        if current?.unhurried ?? true {
            switch next(at: now.timestamp) {
            case .check(let image, let unhurried):
                if current == nil || !unhurried { begin(image, unhurried: unhurried) }
            case .wait(let wait) where current == nil: return min(wait, Self.spaceInterval)
            case .rest where current == nil: return Self.spaceInterval
            case .wait, .rest: break
            }
        }
        return checkOne(at: now)
    }

    private func next(at now: Timestamp) -> CheckPlan.Step {
        let configuration = cache.configuration
        return CheckPlan.next(
            cache.checkCandidates(),
            CheckPlan.Policy(
                interval: configuration.scrubInterval, bytesPerSecond: configuration.scrubBytesPerSecond), now: now)
    }

    private mutating func begin(_ image: ImageID, unhurried: Bool) {
        current = nil
        guard let cached = cache.state.withLock({ $0.images[image] }) else { return }
        let (manifest, file) = cached.state.withLock { ($0.manifest, $0.file) }
        guard let manifest, let file else { return }
        current = Current(
            cached: cached, manifest: manifest, file: file,
            reader: try? MediumReader(path: file.path, limit: Limits.chunkBytes), isOfDoubts: cached.isInDoubt,
            unhurried: unhurried)
    }

    private mutating func checkOne(at now: Moment) -> Duration {
        guard var checked = current else { return Self.spaceInterval }
        if checked.isOfDoubts {
            checked.next = checked.cached.nextDoubt(from: checked.next) ?? checked.manifest.chunkCount
        }
        guard checked.next < checked.manifest.chunkCount, checked.cached.holds(checked.file) else {
            current = nil
            checked.cached.finishedCheck(at: now.timestamp)
            if checked.isOfDoubts { cache.settled(checked.cached) }
            return .zero
        }
        let bytes = checked.cached.check(checked.next, checked.manifest, checked.file, checked.reader)
        checked.next += 1
        current = checked
        return checked.unhurried ? pace.wait(after: Int64(bytes), at: now.uptime) : .zero
    }
}
