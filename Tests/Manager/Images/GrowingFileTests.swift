import Foundation
import Glibc
import ProcessFiles
import ProtocolModel
import ProtocolTransfer
import Synchronization
import Testing

@testable import ManagerImages

@Suite("a raw image that is read while it is written") struct GrowingFileTests {
    private let folder = NSTemporaryDirectory() + "roost-growing-\(UUID().uuidString)"

    init() throws { try Files.makeFolder(folder) }

    /// Writes as the converter does: its size first, then from the beginning to the end, a piece each time that somebody waits.
    private final class Writer: Sendable {
        let target = Mutex<GrowingFile?>(nil)
        private let path: String
        private let position = Mutex(-1)

        init(path: String) { self.path = path }

        func step() {
            let offset = position.withLock { position in
                defer { position += position < 0 ? 1 : piece }
                return position
            }
            do {
                let file = try OpenFile(path: path, flags: O_RDWR | O_CREAT)
                if offset < 0 { return try file.truncate(to: Int64(bytes)) }
                guard offset < bytes else { return target.withLock { $0?.end(isWhole: true) } ?? () }
                if let content = content(at: offset) { try file.write(content, at: Int64(offset)) }
            } catch {
                Issue.record("\(error)")
            }
        }
    }

    @Test("each chunk is read as it stays, however far the writer is", arguments: [true, false])
    func reads(showsHoles: Bool) throws {
        defer { Files.remove(folder) }
        let path = folder + "/raw"
        let writer = Writer(path: path)
        let target = GrowingFile(path: path, showsHoles: showsHoles) { writer.step() }
        writer.target.withLock { $0 = target }
        let (file, size) = try #require(try target.opened())
        let raw = RawChunks(file: file, fileBytes: size, sizeBytes: size)
        #expect(size == Int64(bytes) && raw.chunkBytes == Limits.smallestChunkBytes)
        let digester = ChunkDigester(source: target, raw: raw, progress: { _ in }, isCancelled: { false })
        let digests = try digester.run(threads: 1)
        for offset in stride(from: 0, to: bytes, by: Limits.smallestChunkBytes) {
            let number = offset / Limits.smallestChunkBytes
            let found = Array(digests[number * ContentDigest.byteCount..<(number + 1) * ContentDigest.byteCount])
            let chunk = (content(at: offset) ?? []) + (content(at: offset + piece) ?? [])
            let expected =
                chunk.isEmpty
                ? [UInt8](repeating: 0, count: ContentDigest.byteCount) : Array(Manifest.digest(of: chunk).bytes)
            #expect(found == expected, "chunk \(number)")
        }
    }

    @Test("data alone is no sign that it is whole; data well behind it is")
    func margin() throws {
        defer { Files.remove(folder) }
        let path = folder + "/raw"
        #expect(try Files.showsHoles(in: folder), "this test's disk tells holes from data")
        let file = try OpenFile(path: path, flags: O_RDWR | O_CREAT | O_EXCL)
        try file.truncate(to: Int64(bytes))
        let writer = Writer(path: path)
        let target = GrowingFile(path: path, showsHoles: true) { writer.target.withLock { $0?.end(isWhole: false) } }
        writer.target.withLock { $0 = target }
        #expect(try target.opened()?.bytes == Int64(bytes))
        try file.write([1], at: 9 << 20)
        #expect(target.waits(for: 5 << 20), "there is data 4 MiB behind it")
        // Nothing is behind this one, so it is waited for, and that ends it.
        #expect(!target.waits(for: 6 << 20))
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

private let bytes = 24 << 20
private let piece = 256 << 10

/// Every other 4 MiB is a hole, and the rest differs from place to place.
private func content(at offset: Int) -> [UInt8]? {
    offset / (4 << 20) % 2 == 1
        ? nil : [UInt8](repeating: UInt8(truncatingIfNeeded: 1 + offset / piece), count: piece)
}
