import Foundation
import ProtocolModel
import ProtocolTransfer
import Synchronization
import Testing
import TestsSupportStore
import TestsSupportWaiting

@testable import AgentImages

@Suite("Room in the image cache", .serialized, .timeLimit(.minutes(5)))
struct CacheRoomTests {
    private let chunk = Int64(CacheBench.chunk)
    private let guest = InstanceID.generate(at: Timestamp(milliseconds: 1))

    @Test(
        "the least recently used goes for the new one, stays away until it is wanted anew, and the manager hears of it")
    func evicts() async throws {
        let bench = try CacheBench { $0.budgetBytes = 3 * Int64(CacheBench.chunk) + (1 << 17) }
        let images = try (1...4).map { try bench.image(of: [UInt8($0)]) }
        for image in images.prefix(3) {
            bench.cache.apply(Array(images.prefix(3)), renewed: [image.image])
            try await bench.expectWhole(image)
            bench.clock.pass(.seconds(60))
        }
        // The first is used, so that the second is the oldest.
        _ = bench.cache.path(of: images[0].image)
        bench.clock.pass(.seconds(60))
        bench.cache.apply(images, renewed: [images[3].image])
        try await bench.expectWhole(images[3])
        #expect(bench.cache.path(of: images[1].image) == nil)
        #expect(bench.cache.path(of: images[0].image) != nil)
        #expect(!FileManager.default.fileExists(atPath: bench.file(images[1]).raw))
        // A set that still names it says nothing new, nor does a restart.
        bench.cache.apply(images, renewed: [])
        try bench.restart()
        bench.cache.apply(images, renewed: [])
        for image in [images[0], images[2], images[3]] { try await bench.expectWhole(image) }
        #expect(bench.cache.held().count == 3)
        // A guest that is to be made from it is reason enough.
        bench.cache.apply(images, guests: [guest: images[1].image], renewed: [])
        try await bench.expectWhole(images[1])
        #expect(bench.cache.held().count == 3)
        let told = await bench.states(of: images[1])
        #expect(told.first?.state == .removed && told.first?.reason.contains("evicted") == true)
        #expect(told.last?.state == .held)
    }

    @Test("pins, guests and disks hold images; the state says so, and the fetch goes on by itself once one lets go")
    func holds() async throws {
        let bench = try CacheBench { $0.budgetBytes = 3 * Int64(CacheBench.chunk) + (1 << 17) }
        var images = try (1...4).map { try bench.image(of: [UInt8($0)]) }
        bench.cache.apply(Array(images.prefix(3)))
        for image in images.prefix(3) { try await bench.expectWhole(image) }
        images[0].pinned = true
        // One by its assigned guest, one by a disk that nobody assigns any more.
        bench.setDisks(HostDisks(bases: [bench.file(images[2]).raw]))
        let wanted = [images[0], images[1], images[3]]
        bench.cache.apply(wanted, guests: [guest: images[1].image])
        for await status in bench.cache.statuses where status.image == images[3].image && status.state == .failed {
            #expect(status.reason.contains("no room") && status.reason.contains("3 images are pinned or in use"))
            break
        }
        #expect(bench.cache.held().filter { $0.chunksHeld == 1 }.count == 3)
        bench.cache.remove(images[2].image)
        #expect(FileManager.default.fileExists(atPath: bench.file(images[2]).raw), "a disk depends on it")
        // The disks cannot be read: nobody knows what may go.
        bench.setDisks(nil)
        bench.cache.apply([images[1], images[3]], guests: [guest: images[1].image])
        bench.cache.keepFreeSpace()
        #expect(bench.cache.held().filter { $0.chunksHeld == 1 }.count == 3)
        // A guest whose disk is a copy needs its image no more.
        bench.setDisks(HostDisks(bases: [bench.file(images[2]).raw], independent: [guest]))
        try await bench.expectWhole(images[3])
    }

    @Test(
        "on a full disk others go first; without any the image waits, and comes once there is space")
    func fullDisk() async throws {
        let disk = try SmallDisk(mebibytes: 64)
        let bench = try CacheBench(in: disk.folder + "/cache")
        let old = try bench.image(of: [1, 2, 3, 4])
        bench.cache.apply([old])
        try await bench.expectWhole(old)
        try disk.fill()
        // Not enough even without it, so that it stays.
        let large = try bench.image(of: [5, 6, 7, 8, 9, 10])
        bench.cache.apply([large])
        for await status in bench.cache.statuses where status.image == large.image && status.state == .failed {
            #expect(status.reason.contains("no room"))
            break
        }
        #expect(FileManager.default.fileExists(atPath: bench.file(old).raw))
        try disk.free()
        try await bench.expectWhole(large)
        // Enough without the two of them.
        try disk.fill()
        let next = try bench.image(of: [11, 12, 13])
        bench.cache.apply([next])
        try await bench.expectWhole(next)
        #expect(bench.cache.held().count < 3)
    }

    @Test("zeros within a chunk are holes")
    func sparse() async throws {
        let bench = try CacheBench()
        var bytes = [UInt8](repeating: 0, count: 2 * CacheBench.chunk)
        bytes[5] = 1
        bytes[CacheBench.chunk + CacheBench.chunk * 3 / 4] = 1
        let image = try bench.image(bytes)
        bench.cache.apply([image])
        try await bench.expectWhole(image)
        #expect(bench.allocated(bench.file(image).raw) <= 4 * 65_536)
        #expect(bench.cache.held().first?.diskBytes == bench.allocated(bench.file(image).raw))
    }

    @Test(
        "chunks that another image holds are not fetched again, and share its blocks where the file system can",
        arguments: ["ext4", "xfs", "btrfs"])
    func reuse(kind: String) async throws {
        let disk = try SmallDisk(mebibytes: kind == "xfs" ? 320 : 128, as: kind)
        let bench = try CacheBench(in: disk.folder + "/cache")
        let first = try bench.image(of: [1, 2, 3, 0])
        let second = try bench.image(of: [9, 3, 2, 0, 2])
        bench.cache.apply([first])
        try await bench.expectWhole(first)
        bench.source.asked.withLock { $0 = [] }
        bench.cache.apply([first, second])
        try await bench.expectWhole(second)
        #expect(bench.source.asked.withLock { $0 } == [0])
        // What has rotted there is not taken over.
        try bench.flip(bench.file(first).raw, at: Int64(CacheBench.chunk))
        bench.cache.remove(second.image)
        bench.source.asked.withLock { $0 = [] }
        bench.cache.apply([first, second])
        try await bench.expectWhole(second)
        #expect(bench.source.asked.withLock { $0.sorted() } == [0, 2, 4])
    }
}
