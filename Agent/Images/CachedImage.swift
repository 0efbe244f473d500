import ChunkPlane
import Foundation
import Glibc
import ProtocolModel
import ProtocolTransfer

/// One image in the cache, whole or on its way. Shared by the thread that receives it and those that serve it.
///
///     (nothing) ── manifest ──▶ receiving(file, bitmap) ── last chunk, fsync, rename ──▶ complete
///
/// A chunk enters the bitmap only after its digest was checked and its bytes were written, and only the bitmap decides
/// what is served (P7). The bitmap on the disk is older than the data on the disk, never newer: it is written after an
/// fsync of the data.
final class CachedImage: @unchecked Sendable {
    // SAFETY: all state below is read and written only while `condition` is locked; the files are safe to share.
    private let condition = NSCondition()
    private let files: ImageFiles
    private var manifest: Manifest?
    private var bitmap = ChunkBitmap(count: 0)
    private var file: CacheFile?
    private var complete = false
    private var removed = false
    private var recent = RecentChunks()
    private var unsavedChunks = 0
    private var lastServed = ContinuousClock.now

    /// Bytes of chunks that a crash of the host may cost: the bitmap is saved that often.
    private static let chunksBetweenSaves = 16

    init(files: ImageFiles) { self.files = files }

    // MARK: Opening

    /// Finds what an earlier life of the agent left. Anything that does not fit together is received anew.
    func open() {
        condition.lock()
        defer { condition.unlock() }
        guard
            let bytes = CacheFile.contents(
                files.manifest, limit: Manifest.maximumSerialisedBytes(imageBytes: Limits.imageBytes)),
            let manifest = try? Manifest(serialised: bytes)
        else { return }
        if let file = try? CacheFile(path: files.raw, flags: O_RDONLY), (try? file.size()) == manifest.sizeBytes {
            self.manifest = manifest
            self.file = file
            bitmap = Self.full(manifest.chunkCount)
            complete = true
            return
        }
        guard let file = try? CacheFile(path: files.partial, flags: O_RDWR),
            (try? file.size()) == manifest.sizeBytes,
            let saved = CacheFile.contents(files.bitmap, limit: manifest.chunkCount / 8 + 1),
            let bitmap = ChunkBitmap(count: manifest.chunkCount, bytes: saved),
            // Zero chunks are marked before anything is received; a bitmap without them is not one of ours.
            (0..<manifest.chunkCount).allSatisfy({ !manifest.isZero($0) || bitmap.contains($0) })
        else { return }
        self.manifest = manifest
        self.file = file
        self.bitmap = bitmap
    }

    private static func full(_ count: Int) -> ChunkBitmap {
        var bitmap = ChunkBitmap(count: count)
        for index in 0..<count { bitmap.insert(index) }
        return bitmap
    }

    // MARK: Receiving

    var currentManifest: Manifest? { locked { manifest } }
    var isComplete: Bool { locked { complete } }
    var path: String? { locked { complete && !removed ? files.raw : nil } }
    var progress: (held: Int, total: Int) { locked { (bitmap.heldCount, bitmap.count) } }

    /// The next chunks to ask for, in ascending order.
    func missing(limit: Int) -> [Int] {
        locked {
            var indexes: [Int] = []
            var from = 0
            while indexes.count < limit, let index = bitmap.firstMissing(from: from) {
                indexes.append(index)
                from = index + 1
            }
            return indexes
        }
    }

    /// Begins to receive an image; what was there under another manifest is thrown away. Zero chunks need no transfer:
    /// they are holes of the new file.
    func begin(_ manifest: Manifest) throws(ImageCacheError) {
        condition.lock()
        defer { condition.unlock() }
        if removed { throw .removed }
        if self.manifest?.digest == manifest.digest { return }
        file = nil
        complete = false
        self.manifest = nil
        recent = RecentChunks()
        for path in [files.bitmap, files.partial, files.raw] { unlink(path) }
        let file = try CacheFile(path: files.partial, flags: O_RDWR | O_CREAT | O_TRUNC)
        try file.truncate(to: manifest.sizeBytes)
        var bitmap = ChunkBitmap(count: manifest.chunkCount)
        for index in 0..<manifest.chunkCount where manifest.isZero(index) { bitmap.insert(index) }
        try file.synchronise()
        try CacheFile.replace(files.manifest, with: manifest.serialised)
        try CacheFile.replace(files.bitmap, with: bitmap.bytes)
        try CacheFile.synchroniseFolder(of: files.raw)
        self.manifest = manifest
        self.file = file
        self.bitmap = bitmap
        condition.broadcast()
    }

    /// Takes a chunk whose digest was checked; from here on it is served.
    func accept(_ chunk: ChunkClient.VerifiedChunk) throws(ImageCacheError) {
        let (file, manifest) = locked { (self.file, self.manifest) }
        guard let file, let manifest else { throw .removed }
        try file.write(chunk.data, at: manifest.chunkOffset(chunk.index))
        let save = locked { () -> ChunkBitmap? in
            guard self.file === file else { return nil }
            bitmap.insert(chunk.index)
            recent.insert(chunk.index, chunk.encoded)
            condition.broadcast()
            unsavedChunks += 1
            guard unsavedChunks >= Self.chunksBetweenSaves else { return nil }
            unsavedChunks = 0
            return bitmap
        }
        if let save { try saveBitmap(save, file) }
    }

    /// Saves what is held, so that a restart begins there.
    func save() throws(ImageCacheError) {
        let (file, bitmap) = locked { (complete ? nil : self.file, self.bitmap) }
        if let file { try saveBitmap(bitmap, file) }
    }

    /// The bitmap is a copy from before the fsync, so that each of its chunks is on the disk when it gets there.
    private func saveBitmap(_ bitmap: ChunkBitmap, _ file: CacheFile) throws(ImageCacheError) {
        try file.synchronise()
        condition.lock()
        defer { condition.unlock() }
        guard self.file === file, !removed else { return }
        try CacheFile.replace(files.bitmap, with: bitmap.bytes)
    }

    /// Publishes the image under its name. Every chunk is held.
    func publish() throws(ImageCacheError) {
        let file = locked { bitmap.isComplete && !complete ? self.file : nil }
        guard let file else { return }
        try file.synchronise()
        condition.lock()
        defer { condition.unlock() }
        guard self.file === file, !removed else { throw .removed }
        guard rename(files.partial, files.raw) == 0 else { throw .last(files.raw) }
        unlink(files.bitmap)
        try CacheFile.synchroniseFolder(of: files.raw)
        complete = true
        lastServed = .now
        condition.broadcast()
    }

    /// Forgets the image and removes its files. A guest that has the file open keeps it until it ends.
    func remove() {
        condition.lock()
        defer { condition.unlock() }
        removed = true
        complete = false
        file = nil
        manifest = nil
        recent = RecentChunks()
        // The manifest last: without the others it makes the next life of the agent begin anew.
        for path in [
            files.raw, files.partial, files.bitmap, files.bitmap + ".new", files.manifest, files.manifest + ".new",
        ] {
            unlink(path)
        }
        condition.broadcast()
    }

    // MARK: Serving

    func readManifest() -> ManifestReading {
        locked { manifest.map { .manifest($0.serialised) } ?? (removed ? .notHeld : .notYet) }
    }

    /// Waits for a chunk that is on its way, at most `wait`; then reads it outside of the lock.
    func readChunk(_ index: Int, manifest digest: ContentDigest, waitingUpTo wait: Duration) -> ChunkReading {
        let limit = Date(timeIntervalSinceNow: Double(wait.milliseconds) / 1000)
        condition.lock()
        while true {
            if removed {
                condition.unlock()
                return .notHeld
            }
            if let manifest {
                guard manifest.digest == digest else {
                    condition.unlock()
                    return .manifestDiffers
                }
                guard index >= 0, index < manifest.chunkCount, !manifest.isZero(index) else {
                    condition.unlock()
                    return .outOfRange
                }
                if bitmap.contains(index), let file {
                    let encoded = recent.chunk(index)
                    lastServed = .now
                    condition.unlock()
                    return encoded.map { .chunk($0) } ?? Self.read(index, manifest, file)
                }
            }
            guard condition.wait(until: limit) else {
                condition.unlock()
                return .notYet
            }
        }
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
        locked {
            if complete, .now - lastServed > .seconds(60) { recent = RecentChunks() }
        }
    }

    private func locked<Value>(_ body: () -> Value) -> Value {
        condition.lock()
        defer { condition.unlock() }
        return body()
    }
}

/// The chunks that came last, as they travelled: the next host of a chain is right behind, and gets them without
/// another compression. Bounded; what is not here is served raw from the file.
struct RecentChunks {
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
