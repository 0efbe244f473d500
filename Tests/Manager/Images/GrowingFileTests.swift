import Foundation
import Glibc
import ProtocolModel
import ProtocolTransfer
import Testing

@testable import ManagerImages

@Suite("a raw image that is read while it is written") struct GrowingFileTests {
    private let folder = NSTemporaryDirectory() + "roost-growing-\(UUID().uuidString)"
    private static let bytes = 24 << 20
    private static let piece = 256 << 10

    init() throws { try Files.makeFolder(folder) }

    /// Every other 4 MiB is a hole, and the rest differs from place to place.
    private static func content(at offset: Int) -> [UInt8]? {
        offset / (4 << 20) % 2 == 1
            ? nil : [UInt8](repeating: UInt8(truncatingIfNeeded: 1 + offset / piece), count: piece)
    }

    /// As the converter does: its size first, then from the beginning to the end.
    private static func write(to target: GrowingFile, at path: String) throws {
        let file = try OpenFile(path: path, flags: O_RDWR | O_CREAT | O_EXCL)
        try file.truncate(to: Int64(Self.bytes))
        for offset in stride(from: 0, to: Self.bytes, by: Self.piece) {
            if let content = Self.content(at: offset) { try file.write(content, at: Int64(offset)) }
            sched_yield()
        }
        target.end(isWhole: true)
    }

    /// What waits for others gets a thread of its own: the cooperative ones are few.
    private func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            Thread { continuation.resume(with: Result { try body() }) }.start()
        }
    }

    @Test("each chunk is read as it stays, however far the writer is", arguments: [true, false])
    func reads(showsHoles: Bool) async throws {
        defer { Files.remove(folder) }
        let path = folder + "/raw"
        let target = GrowingFile(path: path, showsHoles: showsHoles)
        async let reader = onThread {
            let (file, size) = try #require(try target.opened())
            let raw = RawChunks(file: file, fileBytes: size, sizeBytes: size)
            #expect(size == Int64(Self.bytes) && raw.chunkBytes == Limits.smallestChunkBytes)
            return try ChunkDigester(source: target, raw: raw, progress: { _ in }, isCancelled: { false }).run(
                threads: 2)
        }
        try await onThread { try Self.write(to: target, at: path) }
        let digests = try await reader
        for offset in stride(from: 0, to: Self.bytes, by: Limits.smallestChunkBytes) {
            let number = offset / Limits.smallestChunkBytes
            let found = Array(digests[number * ContentDigest.byteCount..<(number + 1) * ContentDigest.byteCount])
            let chunk = (Self.content(at: offset) ?? []) + (Self.content(at: offset + Self.piece) ?? [])
            let expected =
                chunk.isEmpty
                ? [UInt8](repeating: 0, count: ContentDigest.byteCount) : Array(Manifest.digest(of: chunk).bytes)
            #expect(found == expected, "chunk \(number)")
        }
    }

    @Test("data alone is no sign that it is whole; data well behind it is")
    func margin() async throws {
        defer { Files.remove(folder) }
        let path = folder + "/raw"
        #expect(try Files.showsHoles(in: folder), "this test's disk tells holes from data")
        let file = try OpenFile(path: path, flags: O_RDWR | O_CREAT | O_EXCL)
        try file.truncate(to: Int64(Self.bytes))
        try file.write([1], at: 1 << 20)
        let target = GrowingFile(path: path, showsHoles: true)
        #expect(try target.opened()?.bytes == Int64(Self.bytes))
        try file.write([1], at: 9 << 20)
        #expect(target.waits(for: 5 << 20), "there is data 4 MiB behind it")
        // Nothing is behind this one, so it waits for the end.
        async let waited = onThread { target.waits(for: 6 << 20) }
        target.end(isWhole: false)
        #expect(try await !waited)
    }

    @Test func aConverterThatFails() throws {
        defer { Files.remove(folder) }
        let target = GrowingFile(path: folder + "/never", showsHoles: true)
        target.end(isWhole: false)
        #expect(try target.opened() == nil)
        #expect(!target.waits(for: 1))
        let empty = GrowingFile(path: folder + "/nothing", showsHoles: true)
        empty.end(isWhole: true)
        #expect(throws: ImageError.self) { try empty.opened() }
    }

    @Test("what the converter's folder holds is no link to elsewhere")
    func link() throws {
        defer { Files.remove(folder) }
        try #require(symlink("/etc/passwd", folder + "/raw") == 0)
        let target = GrowingFile(path: folder + "/raw", showsHoles: true)
        #expect(throws: ImageError.self) { try target.opened() }
    }
}
