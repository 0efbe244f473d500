import ChunkPlane
import Foundation
import Glibc
import ProtocolModel
import ProtocolTransfer
import Synchronization
import Testing
import TestsSupportWaiting

@testable import AgentImages

/// Nothing unverified is served or booted, whatever a disk does (P7).
@Suite("P7 rot in the image cache", .serialized, .timeLimit(.minutes(5)))
struct CacheCheckTests {
    private func reads(_ bench: CacheBench, _ chunk: Int, of image: ImageAssignmentValue) -> Bool {
        let reading = bench.cache.chunk(
            chunk, of: image.image, manifest: image.manifestDigest, waitingUpTo: .milliseconds(1))
        if case .chunk = reading { return true }
        return false
    }

    @Test("what has rotted is found by the policy's checks, is neither booted nor served, and comes anew")
    func scrub() async throws {
        let bench = try CacheBench { $0.scrubInterval = .seconds(3600) }
        let image = try bench.image(of: [1, 0, 3])
        bench.cache.apply([image])
        try await bench.expectWhole(image)
        try bench.flip(bench.file(image).raw, at: 2 * Int64(CacheBench.chunk) + 5)
        // Nothing is due yet.
        bench.check()
        #expect(bench.cache.path(of: image.image) != nil)
        bench.source.remove(image.image)
        bench.clock.pass(.seconds(3600))
        bench.check()
        #expect(bench.cache.path(of: image.image) == nil)
        #expect(!reads(bench, 2, of: image))
        #expect(reads(bench, 0, of: image))
        // Nor after a restart that was in order.
        try bench.restart()
        #expect(bench.cache.path(of: image.image) == nil && !reads(bench, 2, of: image) && reads(bench, 0, of: image))
        #expect(bench.cache.held().first?.corruptChunks == 1)
    }

    @Test("a chunk of data and one of zeros that have rotted are repaired in place, and reported")
    func repair() async throws {
        let bench = try CacheBench { $0.scrubInterval = .seconds(3600) }
        let image = try bench.image(of: [1, 0, 3])
        bench.cache.apply([image])
        try await bench.expectWhole(image)
        let before = bench.source.asked.withLock { $0.count }
        for chunk in [0, 1] { try bench.flip(bench.file(image).raw, at: Int64(chunk * CacheBench.chunk + 77)) }
        // A guest has it open: it gets the right bytes in the same file.
        let guest = try #require(FileHandle(forReadingAtPath: bench.file(image).raw))
        bench.clock.pass(.seconds(3600))
        bench.check()
        try await bench.expectWhole(image)
        #expect(bench.source.asked.withLock { $0.dropFirst(before) } == [0])
        #expect(try guest.readToEnd() == Data(bench.source.bytes(of: image.image)))
        let value = try #require(bench.cache.held().first)
        #expect(value.corruptChunks == 2 && value.chunksHeld == 3)
        #expect(bench.allocated(bench.file(image).raw) <= 2 * Int64(CacheBench.chunk))
        #expect(!FileManager.default.fileExists(atPath: bench.file(image).bitmap))
        let told = await bench.states(of: image)
        #expect(told.contains { $0.state == .fetching && $0.reason.contains("corrupt") && $0.held?.corruptChunks == 1 })
        #expect(told.last?.state == .held)
    }

    @Test("after an unclean stop nothing is booted before it was compared, and what is good needs no source")
    func unclean() async throws {
        let bench = try CacheBench()
        let images = [try bench.image(of: [1, 0, 3]), try bench.image(of: [4, 5])]
        bench.cache.apply(images)
        for image in images { try await bench.expectWhole(image) }
        let before = bench.source.asked.withLock { $0.count }
        try bench.restart(killed: true) {
            try bench.flip(bench.file(images[1]).raw, at: Int64(CacheBench.chunk) + 1)
        }
        bench.cache.apply(images)
        #expect(images.allSatisfy { bench.cache.path(of: $0.image) == nil })
        #expect(bench.cache.ready().isEmpty)
        // A peer that asks is served what is compared then, and nothing else.
        #expect(reads(bench, 0, of: images[1]) && !reads(bench, 1, of: images[1]))
        bench.check()
        #expect(bench.cache.path(of: images[0].image) != nil)
        for image in images { try await bench.expectWhole(image) }
        #expect(bench.source.asked.withLock { $0.dropFirst(before) } == [1])
        // From here on it is known again.
        try bench.restart()
        bench.cache.apply(images)
        #expect(bench.cache.ready().count == 2)
    }

    @Test("a life that ends with doubts leaves them to the next")
    func doubtsStay() async throws {
        let bench = try CacheBench()
        let image = try bench.image(of: [1, 2])
        bench.cache.apply([image])
        try await bench.expectWhole(image)
        try bench.restart(killed: true)
        try bench.restart()
        bench.cache.apply([image])
        #expect(bench.cache.path(of: image.image) == nil)
        bench.check()
        #expect(bench.cache.path(of: image.image) != nil)
    }

    @Test("a guest that is to start has its image compared at once, others at the policy's rate")
    func urgency() async throws {
        let bench = try CacheBench { $0.scrubBytesPerSecond = 1 << 20 }
        let images = [try bench.image(of: [1, 2]), try bench.image(of: [3, 4])]
        bench.cache.apply(images)
        for image in images { try await bench.expectWhole(image) }
        try bench.restart(killed: true)
        let guest = InstanceID.generate(at: Timestamp(milliseconds: 1))
        bench.cache.apply(images, guests: [guest: images[1].image])
        var checker = CacheChecker(cache: bench.cache)
        var waits: [Duration] = []
        while bench.cache.ready().count < 2, waits.count < 20 {
            waits.append(checker.step(at: Moment(of: bench.clock)))
            if bench.cache.path(of: images[0].image) != nil { break }
            bench.clock.pass(waits.last ?? .zero)
        }
        #expect(waits.prefix(3) == [.zero, .zero, .zero])
        #expect(waits.contains(.milliseconds(500)))
        let told = await bench.states(of: images[1])
        #expect(told.map(\.state) == [.fetching, .held])
        #expect(told.first?.reason.contains("compared with its manifest") == true)
    }

    @Test("a manifest that has changed on the disk is worth nothing: the image comes anew")
    func manifest() async throws {
        let bench = try CacheBench { $0.sourcePatience = .milliseconds(100) }
        let image = try bench.image(of: [1, 2])
        guard case .manifest(let manifest) = bench.source.manifest(of: image.image) else { return }
        bench.cache.apply([image])
        try await bench.expectWhole(image)
        try bench.restart {
            let files = bench.file(image)
            var size = stat()
            stat(files.manifest, &size)
            try bench.flip(files.manifest, at: Int64(size.st_size) - 3)
            // The content follows the manifest, as an enemy would have it.
            try bench.flip(files.raw, at: 3)
        }
        // Nobody boots it, or gets it, by that manifest.
        let source = bench.source.bytes(of: image.image)
        bench.source.remove(image.image)
        bench.cache.apply([image])
        #expect(bench.cache.path(of: image.image) == nil && bench.cache.ready().isEmpty)
        if case .manifest = bench.cache.manifest(of: image.image) { Issue.record("a wrong manifest is served") }
        bench.source.add(try Manifest(serialised: manifest), source)
        try await bench.expectWhole(image)
        #expect(bench.cache.held().first?.manifestDigest == image.manifestDigest)
    }

    @Test("what came over the wire half-way is compared after an unclean stop before it is gone on with")
    func partial() async throws {
        let bench = try CacheBench()
        let image = try bench.image(of: [1, 2, 3, 4])
        bench.cache.apply([image])
        try await bench.expectWhole(image)
        try bench.restart(killed: true) {
            // As the file was before it got its name.
            let files = bench.file(image)
            rename(files.raw, files.partial)
            var bitmap = ChunkBitmap(count: 4)
            for chunk in [0, 2] { bitmap.insert(chunk) }
            try Data(bitmap.bytes).write(to: URL(fileURLWithPath: files.bitmap))
            try bench.flip(files.partial, at: 2 * Int64(CacheBench.chunk))
            bench.source.asked.withLock { $0 = [] }
        }
        #expect(!reads(bench, 2, of: image))
        bench.cache.apply([image])
        try await bench.expectWhole(image)
        #expect(bench.source.asked.withLock { $0.sorted() } == [1, 2, 3])
    }
}
