import ChunkPlane
import Foundation
import Glibc
import Logging
import ProcessFiles
import ProtocolModel
import ProtocolTransfer
import Synchronization
import Testing
import TestsSupportRandomness
import TestsSupportWaiting

@testable import AgentImages

/// One host's cache with a source beside it, over loopback with real certificates, on a clock that only the test moves.
final class CacheBench {
    /// Moves when told.
    final class Clock: TimeSource, Sendable {
        private let moved = Mutex(Duration.seconds(1_000_000))
        var timestamp: Timestamp { Timestamp(milliseconds: 1_800_000_000_000) + moved.withLock { $0 } }
        var uptime: Uptime { Uptime(sinceStart: moved.withLock { $0 }) }
        func pass(_ duration: Duration) { moved.withLock { $0 += duration } }
    }

    /// What the manager has: images in memory, some of whose chunks may be held back.
    final class Source: ChunkSourceStore, Sendable {
        private let images = Mutex<[ImageID: (manifest: Manifest, bytes: [UInt8])]>([:])
        let asked = Mutex<[Int]>([])

        func add(_ manifest: Manifest, _ bytes: [UInt8]) { images.withLock { $0[manifest.image] = (manifest, bytes) } }
        func remove(_ image: ImageID) { images.withLock { $0[image] = nil } }
        func bytes(of image: ImageID) -> [UInt8] { images.withLock { $0[image]?.bytes ?? [] } }
        func manifest(of image: ImageID) -> ManifestReading {
            images.withLock { images in images[image].map { .manifest($0.manifest.serialised) } ?? .notHeld }
        }
        func chunk(
            _ index: Int, of image: ImageID, manifest: ContentDigest, waitingUpTo: Duration
        ) -> ChunkReading {
            asked.withLock { $0.append(index) }
            return images.withLock { images in
                guard let (manifest, bytes) = images[image] else { return .notHeld }
                let start = Int(manifest.chunkOffset(index))
                let chunk = Array(bytes[start..<start + manifest.chunkSize(index)])
                return .chunk(EncodedChunk(encoding: .raw, bytes: chunk))
            }
        }
    }

    /// Of a small image.
    static let chunk = Limits.smallestChunkBytes
    let site: TestSite
    let clock = Clock()
    let source = Source()
    let folder: String
    let counters = TransferCounters()
    private let server: ChunkServer
    private let credentials: TLSCredentials
    private var number: Int64 = 0
    private(set) var cache: ImageCache

    private let change: (inout ImageCache.Configuration) -> Void

    /// - Parameter change: What the cache is to be like, now and after each restart.
    init(in folder: String? = nil, _ change: @escaping (inout ImageCache.Configuration) -> Void = { _ in }) throws {
        self.change = change
        let site = try TestSite()
        self.site = site
        self.folder = folder ?? NSTemporaryDirectory() + "roost-cache-\(UUID().uuidString)"
        credentials = try site.node(.generate(at: Timestamp(milliseconds: 4)))
        server = try ChunkServer(
            configuration: ChunkServer.Configuration(address: "127.0.0.1:0", credentials: try site.manager()),
            source: source, authorise: { _, _ in true }, verify: site.verifier(), logger: Logger(label: "test"))
        try server.start()
        cache = try Self.opened(site, self.folder, clock, counters, credentials, change)
    }

    deinit {
        cache.stop()
        server.stop()
        try? FileManager.default.removeItem(atPath: folder)
    }

    private static func opened(
        _ site: TestSite, _ folder: String, _ clock: Clock, _ counters: TransferCounters, _ credentials: TLSCredentials,
        _ change: (inout ImageCache.Configuration) -> Void
    ) throws -> ImageCache {
        var configuration = ImageCache.Configuration(folder: folder)
        configuration.time = clock
        configuration.checksInBackground = false
        configuration.client.wait = .seconds(1)
        change(&configuration)
        let known = Known()
        return try ImageCache(
            configuration: configuration,
            context: { () throws(TransferError) in try TLSContext(side: .client, credentials: credentials) },
            verify: site.verifier(), counters: counters, logger: Logger(label: "test"),
            disks: { try known.disks(of: folder) })
    }

    /// The disks of a host by its folder: a cache asks from threads of its own.
    private struct Known: Sendable {
        static let all = Mutex<[String: HostDisks?]>([:])
        struct Unreadable: Error {}
        func disks(of folder: String) throws -> HostDisks {
            guard let known = Self.all.withLock({ $0[folder, default: HostDisks()] }) else { throw Unreadable() }
            return known
        }
    }

    /// `nil`: they cannot be read.
    func setDisks(_ disks: HostDisks?) { Known.all.withLock { $0[folder] = .some(disks) } }

    /// The agent ends and begins again; in between it may have been killed.
    func restart(killed: Bool = false, between: () throws -> Void = {}) throws {
        cache.stop()
        if killed { unlink(folder + "/_base/clean") }
        try between()
        cache = try Self.opened(site, folder, clock, counters, credentials, change)
    }

    // MARK: Images

    /// An image of whole chunks, each filled with one byte's noise; 0 stands for zeros.
    func image(of chunks: [UInt8]) throws -> ImageAssignmentValue {
        let bytes = chunks.flatMap { seed -> [UInt8] in
            if seed == 0 { return [UInt8](repeating: 0, count: Self.chunk) }
            var random = SeededNumbers(state: UInt64(seed))
            let block = (0..<512).flatMap { _ in withUnsafeBytes(of: random.next()) { Array($0) } }
            return (0..<Self.chunk / block.count).flatMap { _ in block }
        }
        return try image(bytes)
    }

    func image(_ bytes: [UInt8]) throws -> ImageAssignmentValue {
        number += 1
        let image = ImageID.generate(at: Timestamp(milliseconds: number))
        var digests: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: Self.chunk) {
            let chunk = Array(bytes[start..<min(start + Self.chunk, bytes.count)])
            let isZero = chunk.allSatisfy { $0 == 0 }
            digests += isZero ? [UInt8](repeating: 0, count: 32) : Manifest.digest(of: chunk).bytes
        }
        let manifest = try Manifest(
            image: image, sizeBytes: Int64(bytes.count), chunkBytes: Self.chunk, chunkDigests: digests)
        source.add(manifest, bytes)
        return ImageAssignmentValue(
            image: image, manifestDigest: manifest.digest, sizeBytes: manifest.sizeBytes,
            sources: [ChunkSource(node: nil, address: "127.0.0.1:\(server.port)")], serveTo: [])
    }

    func file(_ image: ImageAssignmentValue) -> ImageFiles { ImageFiles(cache: folder, image: image.image) }

    /// Held, whole, and what it should be.
    func expectWhole(_ image: ImageAssignmentValue) async throws {
        try await eventually("whole") { cache.path(of: image.image) != nil }
        let path = try #require(cache.path(of: image.image))
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data(source.bytes(of: image.image)))
    }

    /// A bit of the disk turns over, behind everybody's back.
    func flip(_ path: String, at offset: Int64) throws {
        let file = try CacheFile(path: path, flags: O_RDWR)
        let byte = try file.read(at: offset, count: 1)[0]
        try file.write([byte ^ 4], at: offset)
        try file.synchronise()
    }

    func allocated(_ path: String) -> Int64 {
        var status = stat()
        return stat(path, &status) == 0 ? Int64(status.st_blocks) * 512 : 0
    }

    /// Lets the checker work until nothing is due.
    func check(atMost most: Int = 1000) {
        var checker = CacheChecker(cache: cache)
        for _ in 0..<most {
            let wait = checker.step(at: Moment(of: clock))
            if wait >= .seconds(30) { return }
            clock.pass(wait)
        }
    }

    func states(of image: ImageAssignmentValue) async -> [ImageStatusValue] {
        cache.stop()
        var seen: [ImageStatusValue] = []
        for await status in cache.statuses where status.image == image.image { seen.append(status) }
        return seen
    }
}
