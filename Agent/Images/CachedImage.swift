import ChunkPlane
import Foundation
import Glibc
import ProcessThreads
import ProtocolModel
import ProtocolTransfer

/// One image in the cache, whole or on its way. Shared by the thread that receives it and those that serve it.
///
///     (nothing) ── manifest ──▶ receiving(file, bitmap) ── last chunk, fsync, rename ──▶ complete
///
/// A chunk enters the bitmap only after its digest was checked and its bytes were written, and only the bitmap decides
/// what is served (P7). The bitmap on the disk is older than the data on the disk, never newer: it is written after an
/// fsync of the data.
final class CachedImage: Sendable {
    private struct State: Sendable {
        var manifest: Manifest?
        var bitmap = ChunkBitmap(count: 0)
        var file: CacheFile?
        var complete = false
        var removed = false
        var recent = RecentChunks()
        var unsavedChunks = 0
        var lastServed = ContinuousClock.now
    }

    private let files: ImageFiles
    private let state = Monitor(State())

    /// Bytes of chunks that a crash of the host may cost: the bitmap is saved that often.
    private static let chunksBetweenSaves = 16

    init(files: ImageFiles) { self.files = files }

    // MARK: Opening

    /// Finds what an earlier life of the agent left. Anything that does not fit together is received anew.
    func open() {
        if let found = found() { state.withLock { $0 = found } }
    }

    private func found() -> State? {
        guard
            let bytes = CacheFile.contents(
                files.manifest, limit: Manifest.maximumSerialisedBytes(imageBytes: Limits.imageBytes)),
            let manifest = try? Manifest(serialised: bytes)
        else { return nil }
        if let file = try? CacheFile(path: files.raw, flags: O_RDONLY), (try? file.size()) == manifest.sizeBytes {
            return State(manifest: manifest, bitmap: Self.full(manifest.chunkCount), file: file, complete: true)
        }
        guard let file = try? CacheFile(path: files.partial, flags: O_RDWR),
            (try? file.size()) == manifest.sizeBytes,
            let saved = CacheFile.contents(files.bitmap, limit: manifest.chunkCount / 8 + 1),
            let bitmap = ChunkBitmap(count: manifest.chunkCount, bytes: saved),
            // Zero chunks are marked before anything is received; a bitmap without them is not one of ours.
            (0..<manifest.chunkCount).allSatisfy({ !manifest.isZero($0) || bitmap.contains($0) })
        else { return nil }
        return State(manifest: manifest, bitmap: bitmap, file: file)
    }

    private static func full(_ count: Int) -> ChunkBitmap {
        var bitmap = ChunkBitmap(count: count)
        for index in 0..<count { bitmap.insert(index) }
        return bitmap
    }

    // MARK: Receiving

    var currentManifest: Manifest? { state.withLock { $0.manifest } }
    var isComplete: Bool { state.withLock { $0.complete } }
    var path: String? { state.withLock { $0.complete && !$0.removed ? files.raw : nil } }
    var heldChunks: ChunkBitmap { state.withLock { $0.bitmap } }
    var progress: (held: Int, total: Int) { state.withLock { ($0.bitmap.heldCount, $0.bitmap.count) } }

    /// Begins to receive an image; what was there under another manifest is thrown away. Zero chunks need no transfer:
    /// they are holes of the new file.
    func begin(_ manifest: Manifest) throws(ImageCacheError) {
        try state.update { state throws(ImageCacheError) in
            if state.removed { throw .removed }
            if state.manifest?.digest == manifest.digest { return }
            state = State()
            for path in [files.bitmap, files.partial, files.raw] { unlink(path) }
            let file = try CacheFile(path: files.partial, flags: O_RDWR | O_CREAT | O_TRUNC)
            try file.truncate(to: manifest.sizeBytes)
            var bitmap = ChunkBitmap(count: manifest.chunkCount)
            for index in 0..<manifest.chunkCount where manifest.isZero(index) { bitmap.insert(index) }
            try file.synchronise()
            try CacheFile.replace(files.manifest, with: manifest.serialised)
            try CacheFile.replace(files.bitmap, with: bitmap.bytes)
            try CacheFile.synchroniseFolder(of: files.raw)
            state = State(manifest: manifest, bitmap: bitmap, file: file)
        }
    }

    /// Takes a chunk whose digest was checked; from here on it is served.
    func accept(_ chunk: ChunkClient.VerifiedChunk) throws(ImageCacheError) {
        let (file, manifest) = state.withLock { ($0.file, $0.manifest) }
        guard let file, let manifest else { throw .removed }
        try file.write(chunk.data, at: manifest.chunkOffset(chunk.index))
        let save = state.update { state -> ChunkBitmap? in
            guard state.file === file else { return nil }
            state.bitmap.insert(chunk.index)
            state.recent.insert(chunk.index, chunk.encoded)
            state.unsavedChunks += 1
            guard state.unsavedChunks >= Self.chunksBetweenSaves else { return nil }
            state.unsavedChunks = 0
            return state.bitmap
        }
        if let save { try saveBitmap(save, file) }
    }

    /// Saves what is held, so that a restart begins there.
    func save() throws(ImageCacheError) {
        let (file, bitmap) = state.withLock { ($0.complete ? nil : $0.file, $0.bitmap) }
        if let file { try saveBitmap(bitmap, file) }
    }

    /// The bitmap is a copy from before the fsync, so that each of its chunks is on the disk when it gets there.
    private func saveBitmap(_ bitmap: ChunkBitmap, _ file: CacheFile) throws(ImageCacheError) {
        try file.synchronise()
        try state.withLock { state throws(ImageCacheError) in
            guard state.file === file, !state.removed else { return }
            try CacheFile.replace(files.bitmap, with: bitmap.bytes)
        }
    }

    /// Publishes the image under its name. Every chunk is held.
    func publish() throws(ImageCacheError) {
        let file = state.withLock { $0.bitmap.isComplete && !$0.complete ? $0.file : nil }
        guard let file else { return }
        try file.synchronise()
        try state.update { state throws(ImageCacheError) in
            guard state.file === file, !state.removed else { throw .removed }
            guard rename(files.partial, files.raw) == 0 else { throw .last(files.raw) }
            unlink(files.bitmap)
            try CacheFile.synchroniseFolder(of: files.raw)
            state.complete = true
            state.lastServed = .now
        }
    }

    /// Forgets the image and removes its files. A guest that has the file open keeps it until it ends.
    func remove() {
        state.update { state in
            state = State(removed: true)
            // The manifest last: without the others it makes the next life of the agent begin anew.
            for path in [
                files.raw, files.partial, files.bitmap, files.bitmap + ".new", files.manifest, files.manifest + ".new",
            ] {
                unlink(path)
            }
        }
    }

    // MARK: Serving

    func readManifest() -> ManifestReading {
        state.withLock { state in
            state.manifest.map { .manifest($0.serialised) } ?? (state.removed ? .notHeld : .notYet)
        }
    }

    /// Waits for a chunk that is on its way, at most `wait`; then reads it outside of the lock.
    func readChunk(_ index: Int, manifest digest: ContentDigest, waitingUpTo wait: Duration) -> ChunkReading {
        let found = state.wait(upTo: wait) { state in Self.find(index, digest, in: &state) }
        return switch found {
        case nil: .notYet
        case .answer(let answer): answer
        case .file(let file, let manifest): Self.read(index, manifest, file)
        }
    }

    private enum Found: Sendable {
        case answer(ChunkReading)
        case file(CacheFile, Manifest)
    }

    /// `nil` while the chunk may still come.
    private static func find(_ index: Int, _ digest: ContentDigest, in state: inout State) -> Found? {
        if state.removed { return .answer(.notHeld) }
        guard let manifest = state.manifest else { return nil }
        guard manifest.digest == digest else { return .answer(.manifestDiffers) }
        guard index >= 0, index < manifest.chunkCount, !manifest.isZero(index) else { return .answer(.outOfRange) }
        guard state.bitmap.contains(index), let file = state.file else { return nil }
        state.lastServed = .now
        return state.recent.chunk(index).map { .answer(.chunk($0)) } ?? .file(file, manifest)
    }

    private static func read(_ index: Int, _ manifest: Manifest, _ file: CacheFile) -> ChunkReading {
        do {
            let bytes = try file.read(at: manifest.chunkOffset(index), count: manifest.chunkSize(index))
            guard bytes.count == manifest.chunkSize(index) else { return .failed("the cached file is too short") }
            return .chunk(EncodedChunk(encoding: .raw, bytes: bytes))
        } catch {
            return .failed(error.description)
        }
    }

    /// Gives the memory of recent chunks back once the image is complete and the hosts behind have caught up.
    func dropRecentIfQuiet() {
        state.withLock { state in
            if state.complete, .now - state.lastServed > .seconds(60) { state.recent = RecentChunks() }
        }
    }
}

/// The chunks that came last, as they travelled: the next host of a chain is right behind, and gets them without
/// another compression. Bounded; what is not here is served raw from the file.
struct RecentChunks: Sendable {
    private static let maximumBytes = 32 << 20
    private var chunks: [Int: EncodedChunk] = [:]
    private var order: [Int] = []
    private var bytes = 0

    mutating func insert(_ index: Int, _ chunk: EncodedChunk) {
        // A raw chunk is in the page cache of the file already.
        guard chunk.encoding == .zstd, chunks[index] == nil else { return }
        chunks[index] = chunk
        order.append(index)
        bytes += chunk.bytes.count
        var dropped = 0
        while bytes > Self.maximumBytes, dropped < order.count {
            bytes -= chunks.removeValue(forKey: order[dropped])?.bytes.count ?? 0
            dropped += 1
        }
        order.removeFirst(dropped)
    }

    func chunk(_ index: Int) -> EncodedChunk? { chunks[index] }
}
