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
/// Nothing is served or named to a caller before its digest was checked (P7).
public final class ImageCache: Sendable, ChunkSourceStore {
    public struct Configuration: Sendable {
        /// The folder of the cache; `_base` is made in it.
        public var folder: String
        /// Images received at a time; more wait their turn.
        public var concurrentFetches = 4
        public var client = ChunkClient.Configuration()
        /// How long a source that is alive and does not give the image is waited for before the next one is used.
        public var sourcePatience = FetchPatience().unwilling

        public init(folder: String) { self.folder = folder }
    }

    private struct State {
        var images: [ImageID: CachedImage] = [:]
        var assignments: [ImageID: ImageAssignmentValue] = [:]
        var fetches: [ImageID: ImageFetch] = [:]
        /// In the order in which they came.
        var waiting: [ImageID] = []
        var stopped = false
    }

    /// What happens to images, newest last. Bounded: a reader that is slow misses old states, never the newest.
    public let statuses: AsyncStream<ImageStatusValue>
    private let reports: AsyncStream<ImageStatusValue>.Continuation
    private let configuration: Configuration
    private let environment: ImageFetch.Environment
    private let logger: Logger
    private let threads: ThreadGroup
    private let state = Mutex(State())

    /// Opens the cache and finds what earlier lives of the agent left in it.
    ///
    /// - Parameter context: Asked at each connection, so that a renewed certificate is used without a restart.
    public init(
        configuration: Configuration, context: @escaping @Sendable () throws(TransferError) -> TLSContext,
        verify: @escaping PeerVerifier, counters: TransferCounters, logger: Logger
    ) throws(ImageCacheError) {
        self.configuration = configuration
        self.logger = logger
        let (stream, continuation) = AsyncStream.makeStream(
            of: ImageStatusValue.self, bufferingPolicy: .bufferingNewest(1024))
        statuses = stream
        reports = continuation
        var patience = FetchPatience()
        patience.unwilling = configuration.sourcePatience
        environment = ImageFetch.Environment(
            context: context, verify: verify, counters: counters, logger: logger, client: configuration.client,
            patience: patience, report: { continuation.yield($0) },
            threads: ThreadGroup(maximum: 8 * configuration.concurrentFetches))
        // A thread that ends starts its successor before it is gone, so there may be more than fetches for a moment.
        threads = ThreadGroup(maximum: 4 * configuration.concurrentFetches)
        do {
            try FileManager.default.createDirectory(
                atPath: ImageFiles.folder(configuration.folder), withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o755])
        } catch {
            throw .file(path: configuration.folder, reason: error.localizedDescription)
        }
        openAll()
    }

    // MARK: What should be

    /// Takes the whole set of images that this host should hold. Starts what is missing, gives running fetches their
    /// new sources, and stops fetches of images that are not in the set; what those held stays until `remove`.
    public func apply(_ assignments: [ImageAssignmentValue]) {
        let stopping = state.withLock { state -> [ImageFetch] in
            state.assignments = Dictionary(assignments.map { ($0.image, $0) }, uniquingKeysWith: { $1 })
            var stopping: [ImageFetch] = []
            for (image, fetch) in state.fetches {
                if let assignment = state.assignments[image] {
                    fetch.update(assignment)
                } else {
                    stopping.append(fetch)
                }
            }
            state.waiting = assignments.map(\.image).filter { image in
                state.fetches[image] == nil && !(Self.holds(state, image))
            }
            for assignment in assignments where state.images[assignment.image] == nil {
                state.images[assignment.image] = CachedImage(
                    files: ImageFiles(cache: configuration.folder, image: assignment.image))
            }
            return stopping
        }
        for fetch in stopping { fetch.stop() }
        startWaiting()
    }

    /// Forgets an image and removes its files. A guest that has them open keeps them until it ends.
    public func remove(_ image: ImageID) {
        let (cached, fetch) = state.withLock { state in
            state.assignments[image] = nil
            state.waiting.removeAll { $0 == image }
            return (state.images.removeValue(forKey: image), state.fetches[image])
        }
        fetch?.stop()
        cached?.remove()
        reports.yield(ImageStatusValue(image: image, state: .removed))
    }

    /// Stops all fetches and returns when their threads have ended; what they held is saved. Blocks.
    public func stop() {
        let fetches = state.withLock { state in
            state.stopped = true
            state.waiting = []
            return Array(state.fetches.values)
        }
        for fetch in fetches { fetch.stop() }
        threads.waitForAll()
        reports.finish()
    }

    // MARK: What is

    /// The raw file of a complete image; `nil` until it is complete.
    public func path(of image: ImageID) -> String? { state.withLock { $0.images[image] }?.path }

    /// What this host holds, complete or in part.
    public func held() -> [HeldImageValue] {
        let images = state.withLock { $0.images }
        return images.compactMap { image, cached in
            cached.dropRecentIfQuiet()
            guard let manifest = cached.currentManifest else { return nil }
            let (held, total) = cached.progress
            return HeldImageValue(
                image: image, manifestDigest: manifest.digest, chunksHeld: held, chunksTotal: total)
        }.sorted { $0.image < $1.image }
    }

    /// Whether the manager allowed this node to give an image to a peer.
    public func mayServe(_ image: ImageID, to peer: PeerIdentity) -> Bool {
        guard case .node(let node) = peer else { return false }
        return state.withLock { $0.assignments[image]?.serveTo.contains(node) ?? false }
    }

    // MARK: Serving

    public func manifest(of image: ImageID) -> ManifestReading {
        state.withLock { $0.images[image] }?.readManifest() ?? .notHeld
    }

    public func chunk(
        _ index: Int, of image: ImageID, manifest: ContentDigest, waitingUpTo: Duration
    ) -> ChunkReading {
        guard let cached = state.withLock({ $0.images[image] }) else { return .notHeld }
        return cached.readChunk(index, manifest: manifest, waitingUpTo: waitingUpTo)
    }

    // MARK: Details

    private static func holds(_ state: State, _ image: ImageID) -> Bool {
        guard let cached = state.images[image], let assignment = state.assignments[image] else { return false }
        return cached.isComplete && cached.currentManifest?.digest == assignment.manifestDigest
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
            guard !state.stopped, state.fetches.count < configuration.concurrentFetches, !state.waiting.isEmpty else {
                return nil
            }
            let image = state.waiting.removeFirst()
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
            if state.assignments[fetch.image] != nil, !Self.holds(state, fetch.image), !state.stopped,
                !state.waiting.contains(fetch.image)
            {
                state.waiting.append(fetch.image)
            }
            return !state.waiting.isEmpty
        }
        if again { startWaiting() }
    }

    /// Manifests name their images, and a name that does not fit its manifest is not ours.
    private func openAll() {
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
            let cached = CachedImage(files: ImageFiles(cache: configuration.folder, image: manifest.image))
            cached.open()
            guard cached.currentManifest != nil else { continue }
            state.withLock { $0.images[manifest.image] = cached }
        }
    }
}
