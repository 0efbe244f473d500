public import ChunkPlane
import Foundation
import Glibc
public import Logging
import ProcessThreads
public import ProtocolModel
public import ProtocolTransfer
import Synchronization

/// The images of one host: received from the sources that the manager named, served to the nodes it named, and kept as
/// sparse raw files under `<cache>/_base/<sha1 of the image's ID>`.
///
/// Nothing is served or named to a caller before its digest was checked (P7). Under pressure of space the least recently
/// used images that nothing holds leave by themselves (`EvictionPlan`); what has rotted on the disk is found (`CheckPlan`) and
/// fetched anew.
public final class ImageCache: Sendable, ChunkSourceStore {
    public struct Configuration: Sendable {
        /// The folder of the cache; `_base` is made in it.
        public var folder: String
        /// Images received at a time; more wait their turn.
        public var concurrentFetches = 4
        public var client = ChunkClient.Configuration()
        /// How long a source that is alive and does not give the image is waited for before the next one is used.
        public var sourcePatience = FetchPatience().unwilling
        /// What all images together may take; `nil`: whatever the disk has.
        public var budgetBytes: Int64?
        /// Free space that is left for others on the disk.
        public var freeFloorBytes: Int64 = 0
        /// How often every image is read and compared; `nil`: only after an unclean stop.
        public var scrubInterval: Duration?
        /// How fast that is done.
        public var scrubBytesPerSecond: Int64 = 32 << 20
        /// Whether a thread of the cache checks; otherwise `check` is called from outside.
        public var checksInBackground = true
        public var time: any TimeSource = SystemTime()

        public init(folder: String) { self.folder = folder }
    }

    struct State {
        var images: [ImageID: CachedImage] = [:]
        var assignments: [ImageID: ImageAssignmentValue] = [:]
        var fetches: [ImageID: ImageFetch] = [:]
        /// In the order in which they came.
        var waiting: [ImageID] = []
        /// The images that assigned guests are made from, or will be.
        var guests: [InstanceID: ImageID] = [:]
        /// Left under pressure of space; not fetched before they are wanted anew.
        var evicted: Set<ImageID> = []
        /// Images in doubt that guests have been told about.
        var toldDoubts: Set<ImageID> = []
        var stopped = false
        /// Images received at a time, where the manager says so.
        var places: Int?
    }

    /// What happens to images, newest last. Bounded: a reader that is slow misses old states, never the newest.
    public let statuses: AsyncStream<ImageStatusValue>
    let reports: AsyncStream<ImageStatusValue>.Continuation
    let configuration: Configuration
    private let environment: ImageFetch.Environment
    let logger: Logger
    private let threads: ThreadGroup
    private let checkThreads = ThreadGroup(maximum: 1)
    /// Set: the next check is due.
    let checkBell = Monitor(false)
    private let mark: CleanMark
    let disks: @Sendable () throws -> HostDisks
    let state = Mutex(State())

    /// Opens the cache and finds what earlier lives of the agent left in it.
    ///
    /// - Parameters:
    ///   - context: Asked at each connection, so that a renewed certificate is used without a restart.
    ///   - disks: What the disks of this host depend on. Where it throws, nothing is evicted.
    public init(
        configuration: Configuration, context: @escaping @Sendable () throws(TransferError) -> TLSContext,
        verify: @escaping PeerVerifier, counters: TransferCounters, logger: Logger,
        disks: @escaping @Sendable () throws -> HostDisks = { HostDisks() }
    ) throws(ImageCacheError) {
        self.configuration = configuration
        self.logger = logger
        self.disks = disks
        let (stream, continuation) = AsyncStream.makeStream(
            of: ImageStatusValue.self, bufferingPolicy: .bufferingNewest(1024))
        statuses = stream
        reports = continuation
        var patience = FetchPatience()
        patience.unwilling = configuration.sourcePatience
        environment = ImageFetch.Environment(
            context: context, verify: verify, counters: counters, logger: logger, client: configuration.client,
            patience: patience, report: { continuation.yield($0) },
            threads: ThreadGroup(maximum: 8 * max(configuration.concurrentFetches, Self.mostPlaces)))
        // A thread that ends starts its successor before it is gone, so there may be more than fetches for a moment.
        threads = ThreadGroup(maximum: 4 * max(configuration.concurrentFetches, Self.mostPlaces))
        mark = CleanMark(folder: ImageFiles.folder(configuration.folder))
        do {
            try FileManager.default.createDirectory(
                atPath: ImageFiles.folder(configuration.folder), withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o755])
        } catch {
            throw .file(path: configuration.folder, reason: error.localizedDescription)
        }
        openAll(trusting: try mark.take())
        if configuration.checksInBackground { checkThreads.start(name: "image-check") { [self] in keepChecking() } }
    }

    // MARK: What should be

    /// Takes the whole set of images that this host should hold. Starts what is missing, gives running fetches their
    /// new sources, and stops fetches of images that are paused or not in the set; what those held stays until `remove`, or until
    /// its room is needed.
    ///
    /// - Parameters:
    ///   - guests: the images that assigned guests are made from, or will be: they are not evicted while a guest's disk
    ///     depends on its image or is still to be made.
    ///   - renewed: images that the manager has just asked for: they are fetched even if they were evicted before.
    public func apply(
        _ assignments: [ImageAssignmentValue], guests: [InstanceID: ImageID] = [:], renewed: Set<ImageID>? = nil
    ) {
        let renewed = renewed ?? Set(assignments.map(\.image))
        let disks = state.withLock { $0.evicted.isEmpty } ? nil : knownDisks()
        let before = state.withLock { $0.assignments }
        let stopping = state.withLock { state -> [ImageFetch] in
            state.guests = guests
            readmit(assignments, renewed, disks, &state)
            state.assignments = Dictionary(assignments.map { ($0.image, $0) }, uniquingKeysWith: { $1 })
            var stopping: [ImageFetch] = []
            for (image, fetch) in state.fetches {
                if let assignment = state.assignments[image], !assignment.isPaused {
                    fetch.update(assignment)
                } else {
                    stopping.append(fetch)
                }
            }
            state.waiting = assignments.map(\.image).filter { image in
                state.fetches[image] == nil && Self.wants(state, image)
            }
            for assignment in assignments where state.images[assignment.image] == nil {
                guard !state.evicted.contains(assignment.image) else { continue }
                state.images[assignment.image] = cachedImage(assignment.image)
            }
            return stopping
        }
        for fetch in stopping { fetch.stop() }
        // What is here already needs no fetch, and is told all the same.
        for status in ready() where before[status.image]?.manifestDigest != status.held?.manifestDigest {
            reports.yield(status)
        }
        tellDoubts()
        startWaiting()
        checkBell.update { $0 = true }
    }

    /// Forgets an image and removes its files, unless a disk of this host is made on top of it: then they stay until their
    /// room is needed and the disk is gone.
    public func remove(_ image: ImageID) {
        let isHeld = isUnderDisk(image)
        let (cached, fetch) = state.withLock { state in
            state.assignments[image] = nil
            state.waiting.removeAll { $0 == image }
            state.evicted.remove(image)
            let cached = isHeld ? nil : state.images.removeValue(forKey: image)
            return (cached, state.fetches[image])
        }
        fetch?.stop()
        cached?.remove()
        if isHeld {
            logger.notice(
                "an image that is to be removed stays while a disk depends on it", metadata: ["image": "\(image)"])
        } else {
            unlink(ImageFiles(cache: configuration.folder, image: image).evicted)
        }
        reports.yield(ImageStatusValue(image: image, state: .removed))
    }

    /// What all transfers of this host may move, from now on. Fewer places end no fetch that is under way.
    public func limit(_ limits: TransferLimitsValue) {
        configuration.client.governor.limit(limits)
        state.withLock { $0.places = limits.concurrentImages.map { min($0, Self.mostPlaces) } }
        startWaiting()
    }

    /// Images received at a time, however many the manager would have.
    private static let mostPlaces = 64

    /// Stops all fetches and returns when their threads have ended; what they held is saved. Blocks.
    public func stop() {
        let fetches = state.withLock { state in
            state.stopped = true
            state.waiting = []
            return Array(state.fetches.values)
        }
        for fetch in fetches { fetch.stop() }
        checkBell.update { $0 = true }
        threads.waitForAll()
        checkThreads.waitForAll()
        reports.finish()
        putMark()
    }

    /// What is still in doubt is in doubt for the next life, too.
    private func putMark() {
        let images = state.withLock { Array($0.images.values) }
        for image in images { try? image.saveFacts() }
        guard !images.contains(where: \.isInDoubt) else { return }
        do throws(ImageCacheError) {
            try mark.put()
        } catch {
            logger.warning("the image cache is checked at the next start", metadata: ["reason": "\(error)"])
        }
    }

    // MARK: What is

    /// The raw file of a complete image, for a guest; `nil` until it is complete and verified.
    public func path(of image: ImageID) -> String? {
        guard let cached = state.withLock({ Self.asAssigned(image, $0) }), let path = cached.path else { return nil }
        cached.used()
        return path
    }

    /// Assigned images that are complete and verified.
    public func ready() -> [ImageStatusValue] {
        let assigned = state.withLock { state in state.assignments.keys.compactMap { Self.asAssigned($0, state) } }
        return assigned.filter(\.isComplete).map { status(of: $0, .held) }
    }

    /// An image whose manifest is the one that the manager names: the one on the disk may be whatever a disk makes of it (P7).
    private static func asAssigned(_ image: ImageID, _ state: State) -> CachedImage? {
        guard let cached = state.images[image], let assignment = state.assignments[image],
            cached.currentManifest?.digest == assignment.manifestDigest
        else { return nil }
        return cached
    }

    /// What this host holds, complete or in part.
    public func held() -> [HeldImageValue] {
        let images = state.withLock { $0.images }
        return images.values.compactMap { cached in
            cached.dropRecentIfQuiet()
            return cached.value
        }.sorted { $0.image < $1.image }
    }

    /// Whether the manager allowed this node to give an image to a peer.
    public func mayServe(_ image: ImageID, to peer: PeerIdentity) -> Bool {
        guard case .node(let node) = peer else { return false }
        return state.withLock { $0.assignments[image]?.serveTo.contains(node) ?? false }
    }

    // MARK: Serving

    public func manifest(of image: ImageID) -> ManifestReading {
        let (cached, assignment) = state.withLock { ($0.images[image], $0.assignments[image]) }
        guard let cached else { return .notHeld }
        if let digest = cached.currentManifest?.digest, let assignment, digest != assignment.manifestDigest {
            return .notYet
        }
        return cached.readManifest()
    }

    public func chunk(
        _ index: Int, of image: ImageID, manifest: ContentDigest, waitingUpTo: Duration
    ) -> ChunkReading {
        guard let cached = state.withLock({ $0.images[image] }) else { return .notHeld }
        return cached.readChunk(index, manifest: manifest, waitingUpTo: waitingUpTo)
    }

    // MARK: Details

    /// Whether an assigned image is to be fetched. What is in doubt is checked first, and may turn out to be whole.
    static func wants(_ state: State, _ image: ImageID) -> Bool {
        guard !state.evicted.contains(image), state.assignments[image]?.isPaused != true else { return false }
        guard let cached = state.images[image], let assignment = state.assignments[image] else { return true }
        guard cached.currentManifest?.digest == assignment.manifestDigest else { return true }
        return !cached.isComplete && !(cached.isPublished && cached.isInDoubt)
    }

    func status(
        of cached: CachedImage, _ state: ImageStatusValue.State, reason: String = ""
    ) -> ImageStatusValue {
        let (held, total) = cached.progress
        return ImageStatusValue(
            image: cached.image, state: state, chunksHeld: held, chunksTotal: total, reason: reason, held: cached.value)
    }

    private func cachedImage(_ image: ImageID) -> CachedImage {
        var surroundings = CachedImage.Surroundings()
        surroundings.time = configuration.time
        surroundings.makeRoom = { [weak self] (image, bytes, isFull) throws(ImageCacheError) in
            try self?.makeRoom(for: image, bytes, diskIsFull: isFull)
        }
        surroundings.reuse = { [weak self] in self?.reuseChunks(in: $0) }
        surroundings.damaged = { [weak self] in self?.chunkDamaged($1, of: $0) }
        return CachedImage(
            image: image, files: ImageFiles(cache: configuration.folder, image: image), surroundings: surroundings)
    }

    /// An image that was checked, or lost a chunk, may have to be fetched.
    func fetchIfWanted(_ image: ImageID) {
        state.withLock { state in
            if state.assignments[image] != nil, Self.wants(state, image), state.fetches[image] == nil, !state.stopped,
                !state.waiting.contains(image)
            {
                state.waiting.append(image)
            }
        }
        startWaiting()
    }

    private func startWaiting() {
        while let fetch = nextFetch() {
            let started = threads.start(name: "image-fetch") { [self] in
                fetch.run()
                ended(fetch)
            }
            if !started {
                // Threads that are just ending take the room; each of them comes by here once more.
                state.withLock { state in
                    state.fetches[fetch.image] = nil
                    state.waiting.insert(fetch.image, at: 0)
                }
                return
            }
        }
    }

    private func nextFetch() -> ImageFetch? {
        state.withLock { state in
            guard !state.stopped, !state.waiting.isEmpty else { return nil }
            // What an instance waits for goes first, and has as many places more.
            let launch = state.waiting.firstIndex { state.assignments[$0]?.isForLaunch == true }
            let places = (state.places ?? configuration.concurrentFetches) * (launch == nil ? 1 : 2)
            guard state.fetches.count < places else { return nil }
            let image = state.waiting.remove(at: launch ?? 0)
            guard let assignment = state.assignments[image], let cached = state.images[image] else { return nil }
            let fetch = ImageFetch(assignment: assignment, cached: cached, environment: environment)
            state.fetches[image] = fetch
            return fetch
        }
    }

    private func ended(_ fetch: ImageFetch) {
        let again = state.withLock { state -> Bool in
            guard state.fetches[fetch.image] === fetch else { return false }
            state.fetches[fetch.image] = nil
            // It was assigned again while its last fetch was being stopped.
            if state.assignments[fetch.image] != nil, Self.wants(state, fetch.image), !state.stopped,
                !state.waiting.contains(fetch.image)
            {
                state.waiting.append(fetch.image)
            }
            return !state.waiting.isEmpty
        }
        if again { startWaiting() }
    }

    /// Manifests name their images, and a name that does not fit its manifest is not ours.
    private func openAll(trusting: Bool) {
        let folder = ImageFiles.folder(configuration.folder)
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        for name in names where name.hasSuffix(".manifest") {
            let limit = Manifest.maximumSerialisedBytes(imageBytes: Limits.imageBytes)
            guard let bytes = CacheFile.contents(folder + "/" + name, limit: limit),
                let manifest = try? Manifest(serialised: bytes),
                ImageFiles.name(of: manifest.image) + ".manifest" == name
            else {
                logger.warning("a file in the image cache is not readable", metadata: ["file": "\(folder)/\(name)"])
                continue
            }
            let cached = cachedImage(manifest.image)
            cached.open(trusting: trusting)
            guard cached.currentManifest != nil else { continue }
            state.withLock { $0.images[manifest.image] = cached }
        }
        openEvicted(folder, names)
        let doubted = state.withLock { $0.images.values.count { $0.isInDoubt } }
        if doubted > 0 {
            logger.notice(
                "the image cache did not end in order; what it holds is checked before it is used",
                metadata: ["images": "\(doubted)"])
        }
    }
}
