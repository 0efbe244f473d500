import ChunkPlane
import Foundation
import Logging
import ManagerImages
import ProtocolModel
import ProtocolTransfer
import Synchronization
import Testing

@testable import AgentImages

/// Copies of disks on a host, and how they come to the manager.
@Suite struct CaptureFolderTests {
    private static let size: Int64 = 5 << 20
    private let cache = NSTemporaryDirectory() + "roost-captures-\(UUID().uuidString)"
    private let image = ImageID.generate(at: SystemTime().timestamp)

    /// Half a chunk of noise, a chunk of zeros that were written, noise again, and holes.
    private static func content() -> [UInt8] {
        var content = [UInt8](repeating: 0, count: Int(size))
        var generator = SystemRandomNumberGenerator()
        for index in 0..<(256 << 10) { content[index] = UInt8.random(in: 1...255, using: &generator) }
        for index in (3 << 20)..<(3 << 20) + 100 { content[index] = 7 }
        return content
    }

    private func copy(_ content: [UInt8], into folder: CaptureFolder) throws {
        let target = try folder.prepare(image, sizeBytes: Self.size)
        try Data(content).write(to: URL(filePath: target))
    }

    private func files(_ folder: CaptureFolder) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    }

    @Test("a copy is there when all of it is, stays over a restart, takes no room for zeros, and leaves nothing")
    func life() throws {
        defer { try? FileManager.default.removeItem(atPath: cache) }
        let folder = try CaptureFolder(cache: cache)
        try copy(Self.content(), into: folder)
        #expect(!folder.holds(image))
        let sealed = try folder.seal(image, sizeBytes: Self.size) { _ in true }
        #expect(folder.holds(image) && folder.sealed == [sealed])
        #expect(try files(folder) == ["\(image).manifest", "\(image).raw"])
        var status = stat()
        #expect(stat("\(folder.path)/\(image).raw", &status) == 0 && Int64(status.st_blocks) * 512 < Self.size / 2)

        let again = try CaptureFolder(cache: cache)
        #expect(again.sealed == [sealed])
        again.remove(image)
        #expect(try files(again).isEmpty && !again.holds(image))
    }

    @Test("what a restart finds half done is removed")
    func restart() throws {
        defer { try? FileManager.default.removeItem(atPath: cache) }
        let folder = try CaptureFolder(cache: cache)
        try copy(Self.content(), into: folder)
        #expect(try CaptureFolder(cache: cache).sealed.isEmpty)
        #expect(try files(folder).isEmpty)
        // The name was changed, and the manifest not written yet; or the file was cut short.
        for name in ["\(image).raw", "\(image).manifest", "\(image).manifest.new", "nonsense"] {
            try copy(Self.content(), into: folder)
            _ = try folder.seal(image, sizeBytes: Self.size) { _ in true }
            if name.hasSuffix(".raw") {
                try Data([1]).write(to: URL(filePath: "\(folder.path)/\(image).raw"))
            } else if name.hasSuffix(".manifest") {
                try FileManager.default.removeItem(atPath: "\(folder.path)/\(name)")
            } else {
                folder.remove(image)
                try Data([1]).write(to: URL(filePath: "\(folder.path)/\(name)"))
            }
            #expect(try CaptureFolder(cache: cache).sealed.isEmpty, "\(name)")
            #expect(try files(folder).isEmpty, "\(name)")
        }
    }

    @Test(
        "a copy of another size than the disk, or one that is stopped, is no copy; a disk too large is refused before it is read"
    )
    func refused() throws {
        defer { try? FileManager.default.removeItem(atPath: cache) }
        let folder = try CaptureFolder(cache: cache)
        try copy(Array(Self.content().dropLast()), into: folder)
        #expect(throws: ImageCacheError.self) { try folder.seal(image, sizeBytes: Self.size) { _ in true } }
        try copy(Self.content(), into: folder)
        #expect(throws: ImageCacheError.removed) { try folder.seal(image, sizeBytes: Self.size) { $0 < 20 } }
        #expect(!folder.holds(image))
        #expect(throws: ImageCacheError.diskFull(path: folder.path)) {
            try folder.prepare(image, sizeBytes: .max / 2)
        }
        #expect(try files(folder).isEmpty)
    }

    @Test("what changes on the disk after the copy was made is not served (P7)")
    func rot() throws {
        defer { try? FileManager.default.removeItem(atPath: cache) }
        let folder = try CaptureFolder(cache: cache)
        try copy(Self.content(), into: folder)
        let sealed = try folder.seal(image, sizeBytes: Self.size) { _ in true }
        let digest = sealed.manifestDigest
        guard case .chunk = folder.chunk(0, of: image, manifest: digest, waitingUpTo: .zero) else {
            Issue.record("the copy is not served")
            return
        }
        guard case .outOfRange = folder.chunk(1, of: image, manifest: digest, waitingUpTo: .zero) else {
            Issue.record("zeros are served")
            return
        }
        let file = try FileHandle(forUpdating: URL(filePath: "\(folder.path)/\(image).raw"))
        try file.write(contentsOf: Data([0]))
        try file.close()
        guard case .failed = folder.chunk(0, of: image, manifest: digest, waitingUpTo: .zero) else {
            Issue.record("a changed chunk is served")
            return
        }
    }

    @Test(
        "SEC-07 the manager pulls a copy and keeps it as it keeps an import; no node gets it, and the manager nothing else"
    )
    func pulled() throws {
        let store = cache + "-manager"
        defer { for folder in [cache, store] { try? FileManager.default.removeItem(atPath: folder) } }
        let site = try TestSite()
        let node = NodeID.generate(at: site.start)
        let folder = try CaptureFolder(cache: cache)
        let content = Self.content()
        try copy(content, into: folder)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let credentials = try site.node(node)
        let images = try ImageCache(
            configuration: ImageCache.Configuration(folder: cache),
            context: { () throws(TransferError) in try TLSContext(side: .client, credentials: credentials) },
            verify: site.verifier(), counters: TransferCounters(), logger: logger)
        defer { images.stop() }
        let source = HostChunks(cache: images, captures: folder)
        let server = try ChunkServer(
            configuration: ChunkServer.Configuration(address: "127.0.0.1:0", credentials: credentials), source: source,
            authorise: { source.mayServe($1, to: $0) }, verify: site.verifier(), logger: logger)
        try server.start()
        defer { server.stop() }
        func connect(_ own: TLSCredentials) throws(TransferError) -> ChunkClient {
            var configuration = ChunkClient.Configuration()
            configuration.manifestWait = .zero
            return try ChunkClient(
                source: ChunkSource(node: node, address: "127.0.0.1:\(server.port)"),
                context: try TLSContext(side: .client, credentials: own), verify: site.verifier(),
                counters: TransferCounters(), configuration: configuration)
        }
        let manager = try site.manager()
        let kept = try ImageStore(folder: store, logger: logger)
        let digest = ContentDigest(bytes: Array(repeating: 1, count: 32))!
        #expect(throws: CaptureError.self, "it is not whole yet") {
            try kept.takeIn(
                image, manifestDigest: digest, sizeBytes: Self.size,
                connect: { () throws(TransferError) in try connect(manager) }, progress: { _ in })
        }
        let sealed = try folder.seal(image, sizeBytes: Self.size) { _ in true }

        let stranger = try connect(try site.node(NodeID.generate(at: site.start)))
        #expect(throws: TransferError.self) {
            try stranger.manifest(of: image, digest: sealed.manifestDigest, sizeBytes: Self.size)
        }
        let other = ImageID.generate(at: site.start)
        #expect(!source.mayServe(other, to: .manager))

        let percents = Mutex<[Int]>([])
        try kept.takeIn(
            image, manifestDigest: sealed.manifestDigest, sizeBytes: Self.size,
            connect: { () throws(TransferError) in try connect(manager) },
            progress: { percent in percents.withLock { $0.append(percent) } })
        #expect(percents.withLock { $0.last } == 100)
        #expect(kept.manifestDigest(of: image) == sealed.manifestDigest)
        #expect(try FileManager.default.contentsOfDirectory(atPath: store + "/staging").isEmpty)
        // As the next start finds it.
        let reopened = try ImageStore(folder: store, logger: logger)
        reopened.recover(keeping: [image])
        guard case .manifest(let bytes) = reopened.manifest(of: image) else {
            Issue.record("the manager lost the image")
            return
        }
        let manifest = try Manifest(serialised: bytes)
        for index in 0..<manifest.chunkCount where !manifest.isZero(index) {
            guard
                case .chunk(let chunk) = reopened.chunk(index, of: image, manifest: manifest.digest, waitingUpTo: .zero)
            else {
                Issue.record("chunk \(index) is not there")
                continue
            }
            let start = Int(manifest.chunkOffset(index))
            #expect(
                chunk.decoded(byteCount: manifest.chunkSize(index))
                    == Array(content[start..<start + manifest.chunkSize(index)]))
        }
    }

    @Test("a copy that is not what the manager was told of is not taken in, and nothing stays")
    func other() throws {
        let store = cache + "-manager"
        defer { for folder in [cache, store] { try? FileManager.default.removeItem(atPath: folder) } }
        let kept = try ImageStore(
            folder: store, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, maximumImageBytes: 1 << 20)
        let digest = ContentDigest(bytes: Array(repeating: 1, count: 32))!
        #expect(throws: CaptureError.store(.uploadTooLarge(limitBytes: 1 << 20))) {
            try kept.takeIn(
                image, manifestDigest: digest, sizeBytes: 2 << 20,
                connect: { () throws(TransferError) in throw .closed }, progress: { _ in })
        }
        #expect(throws: CaptureError.transfer(.closed)) {
            try kept.takeIn(
                image, manifestDigest: digest, sizeBytes: 4096,
                connect: { () throws(TransferError) in throw .closed }, progress: { _ in })
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: store + "/staging").isEmpty)
    }
}
