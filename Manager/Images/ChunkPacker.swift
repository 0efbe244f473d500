import ChunkPlane
import Foundation
import Glibc
import ProcessThreads
import ProtocolModel
import ProtocolTransfer
import Synchronization

/// Cuts a raw image into chunks: digests, elides zeros, compresses where it saves a tenth, packs.
///
/// Several threads take chunks in turn; each holds one chunk and its frame, so that memory is bounded by the number of
/// threads. The order in the pack does not matter, since the index says where each lies.
final class ChunkPacker: Sendable {
    private struct State {
        var next = 0
        var finished = 0
        var packBytes: Int64 = 0
        var index: PackIndex
        var digests: [UInt8]
        var failure: ImageError?
    }

    private let image: ImageID
    private let raw: OpenFile
    private let rawBytes: Int64
    private let sizeBytes: Int64
    private let chunkBytes: Int
    private let count: Int
    private let pack: OpenFile
    private let folder: String
    private let progress: @Sendable (Int) -> Void
    private let isCancelled: @Sendable () -> Bool
    private let state: Mutex<State>

    /// `folder` gets pack, index and manifest. `progress` is told percents.
    init(
        image: ImageID, raw: OpenFile, sizeBytes: Int64, folder: String,
        progress: @escaping @Sendable (Int) -> Void, isCancelled: @escaping @Sendable () -> Bool
    ) throws(ImageError) {
        self.image = image
        self.raw = raw
        self.rawBytes = try raw.size()
        self.sizeBytes = sizeBytes
        self.chunkBytes = Manifest.chunkBytes(forImageBytes: sizeBytes)
        self.count = Manifest.chunkCount(imageBytes: sizeBytes, chunkBytes: chunkBytes)
        self.folder = folder
        self.pack = try OpenFile(path: folder + "/" + Names.pack, flags: O_WRONLY | O_CREAT | O_EXCL)
        self.progress = progress
        self.isCancelled = isCancelled
        self.state = Mutex(
            State(
                index: PackIndex(count: count),
                digests: [UInt8](repeating: 0, count: count * ContentDigest.byteCount)))
    }

    /// Works on `threads` threads, this one among them, and returns the manifest once all is on the disk. Blocks.
    func run(threads: Int) throws(ImageError) -> Manifest {
        let group = ThreadGroup(maximum: max(0, threads - 1))
        for _ in 1..<max(1, threads) { _ = group.start(name: "chunk-pack") { [self] in work() } }
        work()
        group.waitForAll()
        let (failure, index, digests) = state.withLock { ($0.failure, $0.index, $0.digests) }
        if let failure { throw failure }
        try pack.synchronise()
        let manifest: Manifest
        do {
            manifest = try Manifest(
                image: image, sizeBytes: sizeBytes, chunkBytes: chunkBytes, chunkDigests: digests)
        } catch {
            throw .conversionFailed(error.description)
        }
        try Files.write(index.serialised, to: folder + "/" + Names.index)
        try Files.write(manifest.serialised, to: folder + "/" + Names.manifest)
        return manifest
    }

    private func work() {
        let packer = ZstandardPacker()
        // One buffer and one set of tables for all chunks: new ones would cost each chunk as much as its hash.
        var data: [UInt8] = []
        while let number = take() {
            do {
                try packOne(number, &data, packer)
            } catch {
                state.withLock { $0.failure = $0.failure ?? error }
                return
            }
            if let percent = finishedOne() { progress(percent) }
        }
    }

    private func take() -> Int? {
        let cancelled = isCancelled()
        return state.withLock { state in
            if cancelled { state.failure = state.failure ?? .cancelled }
            guard state.failure == nil, state.next < count else { return nil }
            state.next += 1
            return state.next - 1
        }
    }

    /// The percent, where it just changed.
    private func finishedOne() -> Int? {
        state.withLock { state in
            state.finished += 1
            let percent = state.finished * 100 / count
            return percent != (state.finished - 1) * 100 / count ? percent : nil
        }
    }

    private func packOne(
        _ number: Int, _ data: inout [UInt8], _ packer: borrowing ZstandardPacker
    ) throws(ImageError) {
        let offset = Int64(number) * Int64(chunkBytes)
        let size = Int(min(Int64(chunkBytes), sizeBytes - offset))
        if offset >= rawBytes || raw.isHole(at: offset, count: size) { return }
        if data.count != size { data = [UInt8](unsafeUninitializedCapacity: size) { $1 = size } }
        // The image's size is rounded up to a sector; the file may end before that.
        try raw.read(at: offset, into: &data)
        if Self.isZero(data) { return }
        let digest = Manifest.digest(of: data)
        // A frame that saves less than a tenth costs every receiver more time than it saves.
        let frame = packer.compress(data, limit: size * 9 / 10)
        let bytes = frame ?? data
        let entry = state.withLock { state in
            let entry = PackedChunk(
                offset: state.packBytes, length: UInt32(bytes.count), encoding: frame == nil ? .raw : .zstd)
            state.packBytes += Int64(bytes.count)
            state.index.entries[number] = entry
            let start = number * ContentDigest.byteCount
            state.digests.replaceSubrange(start..<start + ContentDigest.byteCount, with: digest.bytes)
            return entry
        }
        try pack.write(bytes, at: entry.offset)
    }

    private static func isZero(_ data: [UInt8]) -> Bool {
        data.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress, bytes.count > 0, bytes[0] == 0 else { return bytes.isEmpty }
            // Each byte equals the one before it, and the first is zero.
            return memcmp(start, start + 1, bytes.count - 1) == 0
        }
    }
}
