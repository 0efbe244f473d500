import ChunkPlane
import Foundation
import Glibc
import Logging
import ManagerImageHeaders
import ManagerImages
import ProtocolModel
import ProtocolTransfer
import Synchronization
import Testing
import TestsSupportWaiting

@testable import AgentImages

/// The manager's store and agents' caches in one process, over loopback with real certificates.
@Suite(.serialized, .timeLimit(.minutes(3))) struct ImageCacheTests {
    let site: TestSite
    let folder = NSTemporaryDirectory() + "roost-cache-\(UUID().uuidString)"
    let image = ImageID.generate(at: Timestamp(milliseconds: 3))
    let logger = Logger(label: "test")

    init() throws { site = try TestSite() }

    /// Serves from the manager's store.
    final class Head {
        let store: ImageStore
        let server: ChunkServer
        let imported: ImportedImage
        let storedBytes: Int64
        let bytes: Data
        var source: ChunkSource { ChunkSource(node: nil, address: "127.0.0.1:\(server.port)") }
        init(
            store: ImageStore, server: ChunkServer, imported: ImportedImage, storedBytes: Int64, bytes: Data
        ) {
            self.store = store
            self.server = server
            self.imported = imported
            self.storedBytes = storedBytes
            self.bytes = bytes
        }
        deinit { server.stop() }
    }

    /// One host: a cache and its chunk server.
    final class Host {
        let node: NodeID
        let cache: ImageCache
        let server: ChunkServer
        let counters: TransferCounters
        var source: ChunkSource { ChunkSource(node: node, address: "127.0.0.1:\(server.port)") }
        init(node: NodeID, cache: ImageCache, server: ChunkServer, counters: TransferCounters) {
            self.node = node
            self.cache = cache
            self.server = server
            self.counters = counters
        }
        func stop() {
            cache.stop()
            server.stop()
        }
        deinit { stop() }
    }

    private func head(chunks: Int = 5) async throws -> Head {
        var bytes = Data(count: chunks * Limits.smallestChunkBytes + 4096)
        let random = try #require(FileHandle(forReadingAtPath: "/dev/urandom"))
        // The second chunk stays all zeros, the third compresses well.
        for chunk in 0...chunks where chunk != 1 {
            let noise = try #require(try random.read(upToCount: chunk == 2 ? 100 : 4096))
            let start = chunk * Limits.smallestChunkBytes
            if chunk == 0 || chunk > 2, chunk < chunks {
                let full = try #require(try random.read(upToCount: Limits.smallestChunkBytes))
                bytes.replaceSubrange(start..<start + full.count, with: full)
            } else {
                bytes.replaceSubrange(start..<start + noise.count, with: noise)
            }
        }
        let store = try ImageStore(folder: folder + "/manager", logger: logger)
        let handle = try await store.beginUpload(image)
        try await handle.append(Array(bytes))
        _ = try await handle.finish()
        let imported = try await store.register(
            image, try await store.inspectUpload(image, declaredFormat: .raw))
        let storedBytes = try await store.pack(image)
        let server = try ChunkServer(
            configuration: ChunkServer.Configuration(address: "127.0.0.1:0", credentials: try site.manager()),
            source: store, authorise: { _, _ in true }, verify: site.verifier(), logger: logger)
        try server.start()
        return Head(
            store: store, server: server, imported: imported, storedBytes: storedBytes, bytes: bytes)
    }

    private func host(_ name: String, node: NodeID? = nil) throws -> Host {
        let node = node ?? NodeID.generate(at: Timestamp(milliseconds: 4))
        let credentials = try site.node(node)
        let counters = TransferCounters()
        var configuration = ImageCache.Configuration(folder: folder + "/" + name)
        configuration.sourcePatience = .milliseconds(500)
        configuration.client.wait = .seconds(1)
        let cache = try ImageCache(
            configuration: configuration,
            context: { () throws(TransferError) in try TLSContext(side: .client, credentials: credentials) },
            verify: site.verifier(), counters: counters, logger: logger)
        let server = try ChunkServer(
            configuration: ChunkServer.Configuration(address: "127.0.0.1:0", credentials: credentials), source: cache,
            authorise: { peer, image in cache.mayServe(image, to: peer) }, verify: site.verifier(), logger: logger,
            counters: counters)
        try server.start()
        return Host(node: node, cache: cache, server: server, counters: counters)
    }

    private func assignment(_ head: Head, _ sources: [ChunkSource], serveTo: Set<NodeID> = []) -> ImageAssignmentValue {
        ImageAssignmentValue(
            image: image, manifestDigest: head.imported.manifestDigest, sizeBytes: head.imported.virtualSize,
            sources: sources, serveTo: serveTo)
    }

    private func expectComplete(_ host: Host, _ head: Head, within seconds: Int = 30) async throws {
        try await eventually("complete", within: .seconds(seconds)) { host.cache.path(of: image) != nil }
        let path = try #require(host.cache.path(of: image))
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == head.bytes)
    }

    @Test func namesFilesAsSitesKnowThem() throws {
        let known = try #require(ImageID("58853970-f8ac-41d0-9255-8a6d3e3b85dc"))
        #expect(ImageFiles.name(of: known) == "ba803eec7b06980196d8dd62262f999a5f9c8bbb")
        #expect(ImageFiles(cache: "/c", image: known).raw == "/c/_base/ba803eec7b06980196d8dd62262f999a5f9c8bbb")
        let upper = try #require(ImageID("58853970-F8AC-41D0-9255-8A6D3E3B85DC"))
        #expect(ImageFiles.name(of: upper) == ImageFiles.name(of: known))
    }

    /// The manager sends the image once; each host behind gets it from the one before.
    @Test func chainSendsTheImageOnce() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let head = try await self.head()
        let hosts = try (1...3).map { try self.host("n\($0)") }
        // The tail first, so that its upstream has nothing yet.
        for (number, host) in hosts.enumerated().reversed() {
            let upstreams = hosts[max(0, number - 2)..<number].reversed().map(\.source)
            host.cache.apply([
                assignment(head, upstreams + [head.source], serveTo: Set(hosts[(number + 1)...].map(\.node)))
            ])
        }
        for host in hosts { try await expectComplete(host, head) }
        for host in hosts { host.cache.stop() }
        let stored = head.storedBytes
        #expect(head.server.counters.snapshot().servedBytes == stored)
        #expect(head.server.counters.snapshot().peers[.node(hosts[0].node)]?.servedBytes == stored)
        let first = hosts[0].counters.snapshot()
        #expect(first.receivedBytes == stored)
        // Handed on as it came, not compressed again.
        #expect(first.peers[.node(hosts[1].node)]?.servedBytes == stored)
        #expect(hosts[2].counters.snapshot().peers[.node(hosts[1].node)]?.receivedBytes == stored)
        let held = hosts[2].cache.held()
        #expect(held.count == 1)
        #expect(held.first?.chunksHeld == head.imported.chunkCount)
        // Zero chunks are holes.
        var status = stat()
        #expect(stat(try #require(hosts[2].cache.path(of: image)), &status) == 0)
        #expect(Int64(status.st_blocks) * 512 < head.imported.virtualSize - Int64(Limits.smallestChunkBytes) + 65_536)
    }

    @Test func fallsOverFromADeadSource() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let head = try await self.head(chunks: 3)
        let dead = NodeID.generate(at: Timestamp(milliseconds: 5))
        let host = try self.host("n1")
        host.cache.apply([
            assignment(head, [ChunkSource(node: dead, address: "127.0.0.1:1"), head.source])
        ])
        try await expectComplete(host, head)
        #expect(host.counters.snapshot().peers[.manager]?.receivedBytes == head.storedBytes)
    }

    /// P7: a lying host's chunk is neither written nor served, and another source is used.
    @Test("P7 a lying source is found out") func refusesALyingSource() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let head = try await self.head(chunks: 3)
        let liarNode = NodeID.generate(at: Timestamp(milliseconds: 6))
        let liar = try ChunkServer(
            configuration: ChunkServer.Configuration(address: "127.0.0.1:0", credentials: try site.node(liarNode)),
            source: LyingStore(truth: head.store), authorise: { _, _ in true }, verify: site.verifier(),
            logger: logger)
        try liar.start()
        defer { liar.stop() }
        let host = try self.host("n1")
        host.cache.apply([
            assignment(head, [ChunkSource(node: liarNode, address: "127.0.0.1:\(liar.port)"), head.source])
        ])
        try await expectComplete(host, head)
        #expect(host.counters.snapshot().peers[.node(liarNode)]?.corruptChunks == 1)
    }

    @Test func resumesFromTheBitmap() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let head = try await self.head(chunks: 6)
        let node = NodeID.generate(at: Timestamp(milliseconds: 4))
        let gate = GatedStore(truth: head.store, limit: 3)
        let gated = try ChunkServer(
            configuration: ChunkServer.Configuration(address: "127.0.0.1:0", credentials: try site.manager()),
            source: gate, authorise: { _, _ in true }, verify: site.verifier(), logger: logger)
        try gated.start()
        defer { gated.stop() }
        let first = try host("n1", node: node)
        first.cache.apply([assignment(head, [ChunkSource(node: nil, address: "127.0.0.1:\(gated.port)")])])
        try await eventually("half received") { (first.cache.held().first?.chunksHeld ?? 0) >= 4 }
        #expect(first.cache.path(of: image) == nil)
        first.stop()
        let before = first.counters.snapshot().receivedBytes
        #expect(before > 0)
        // Another life of the agent on the same files.
        let second = try host("n1", node: node)
        #expect(second.cache.held().first?.chunksHeld == first.cache.held().first?.chunksHeld)
        #expect(second.cache.path(of: image) == nil)
        second.cache.apply([assignment(head, [head.source])])
        try await expectComplete(second, head)
        second.stop()
        #expect(second.counters.snapshot().receivedBytes + before == head.storedBytes)
        // And a third finds it whole, with nothing to fetch.
        let third = try host("n1", node: node)
        third.cache.apply([assignment(head, [])])
        #expect(third.cache.path(of: image) != nil)
        #expect(!FileManager.default.fileExists(atPath: ImageFiles(cache: folder + "/n1", image: image).bitmap))
    }

    /// A crash between two saves of the bitmap: chunks written after the last save are fetched again, none is trusted.
    @Test func doesNotTrustChunksBeyondTheBitmap() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let head = try await self.head(chunks: 3)
        let files = ImageFiles(cache: folder + "/n1", image: image)
        try FileManager.default.createDirectory(
            atPath: ImageFiles.folder(folder + "/n1"), withIntermediateDirectories: true)
        guard case .manifest(let serialised) = head.store.manifest(of: image) else { return }
        try Data(serialised).write(to: URL(fileURLWithPath: files.manifest))
        var damaged = Data(repeating: 0xAB, count: head.bytes.count)
        damaged.resetBytes(in: Limits.smallestChunkBytes..<2 * Limits.smallestChunkBytes)
        try damaged.write(to: URL(fileURLWithPath: files.partial))
        let manifest = try Manifest(serialised: serialised)
        var bitmap = ChunkBitmap(count: manifest.chunkCount)
        try Data(bitmap.bytes).write(to: URL(fileURLWithPath: files.bitmap))
        // A bitmap that no life of ours wrote: received anew.
        #expect(try self.host("n1").cache.held().isEmpty)
        bitmap.insert(1)
        try Data(bitmap.bytes).write(to: URL(fileURLWithPath: files.bitmap))
        let host = try self.host("n1")
        #expect(host.cache.held().first?.chunksHeld == 1)
        host.cache.apply([assignment(head, [head.source])])
        try await expectComplete(host, head)
    }

    @Test func servesOnlyWhomItMay() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let head = try await self.head(chunks: 2)
        let first = try host("n1")
        let second = try host("n2")
        first.cache.apply([assignment(head, [head.source])])
        try await expectComplete(first, head)
        #expect(!first.cache.mayServe(image, to: .node(second.node)))
        second.cache.apply([assignment(head, [first.source])])
        for await status in second.cache.statuses where status.reason.contains("not to be given") { break }
        #expect(first.counters.snapshot().servedBytes == 0)
        first.cache.apply([assignment(head, [head.source], serveTo: [second.node])])
        try await expectComplete(second, head)
        #expect(first.counters.snapshot().peers[.node(second.node)]?.servedBytes ?? 0 > 0)
    }

    @Test func removesAndReports() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let head = try await self.head(chunks: 2)
        let host = try self.host("n1")
        host.cache.apply([assignment(head, [head.source])])
        try await expectComplete(host, head)
        host.cache.remove(image)
        #expect(host.cache.path(of: image) == nil)
        #expect(host.cache.held().isEmpty)
        #expect(try FileManager.default.contentsOfDirectory(atPath: ImageFiles.folder(folder + "/n1")).isEmpty)
        host.cache.apply([assignment(head, [head.source])])
        try await expectComplete(host, head)
        host.cache.stop()
        var states: [ImageStatusValue.State] = []
        for await status in host.cache.statuses { states.append(status.state) }
        #expect(states.first == .fetching)
        #expect(states.filter { $0 == .held }.count == 2)
        #expect(states.contains(.removed))
        #expect(states.last == .held)
    }
}

/// Answers with chunks that are not what the manifest says.
private struct LyingStore: ChunkSourceStore {
    let truth: ImageStore

    func manifest(of image: ImageID) -> ManifestReading { truth.manifest(of: image) }

    func chunk(_ index: Int, of image: ImageID, manifest: ContentDigest, waitingUpTo: Duration) -> ChunkReading {
        guard case .chunk(let chunk) = truth.chunk(index, of: image, manifest: manifest, waitingUpTo: waitingUpTo)
        else { return .notHeld }
        return .chunk(
            EncodedChunk(
                encoding: .raw,
                bytes: [UInt8](
                    repeating: 0xEE,
                    count: min(Limits.smallestChunkBytes, max(chunk.bytes.count, Limits.smallestChunkBytes)))))
    }
}

/// Has only the first chunks.
private struct GatedStore: ChunkSourceStore {
    let truth: ImageStore
    let limit: Int

    func manifest(of image: ImageID) -> ManifestReading { truth.manifest(of: image) }

    func chunk(_ index: Int, of image: ImageID, manifest: ContentDigest, waitingUpTo: Duration) -> ChunkReading {
        index > limit ? .notYet : truth.chunk(index, of: image, manifest: manifest, waitingUpTo: waitingUpTo)
    }
}
