import ChunkPlane
import Foundation
import Glibc
import ProcessFiles
import ProcessThreads
import ProtocolModel
import ProtocolTransfer

/// One image in the cache, whole or on its way. Shared by the threads that receive it, serve it and check it.
///
///     (nothing) ── manifest ──▶ receiving(file, bitmap) ── last chunk, fsync, rename ──▶ complete
///     complete ── a chunk has rotted ──▶ complete but for some chunks ── fetched anew, fsync ──▶ complete
///     (after an unclean stop) doubted chunks ── compared with the manifest ──▶ held, or missing
///
/// A chunk enters the bitmap only after its digest was checked and its bytes were written, and only the bitmap decides
/// what is served and booted (P7). The bitmap on the disk is older than the data on the disk, never newer: it is written
/// after an fsync of the data.
final class CachedImage: Sendable {
    struct State: Sendable {
        var manifest: Manifest?
        var bitmap = ChunkBitmap(count: 0)
        /// Said to be on the disk by a life that did not end in order.
        var doubted = ChunkBitmap(count: 0)
        /// Chunks in whose place the file has other bytes.
        var damaged: Set<Int> = []
        var file: CacheFile?
        /// The file was begun in this life: where nothing was written it has holes, and nothing that a crash left there.
        var isFresh = false
        /// The file has its final name.
        var published = false
        var removed = false
        var recent = RecentChunks()
        var unsavedChunks = 0
        var lastServed = ContinuousClock.now
        var facts = ImageFacts()
        /// As it was written last.
        var savedFacts = ImageFacts()

        /// Whether the file may have other bytes where a chunk is to come.
        func mayHoldOther(at index: Int) -> Bool { !isFresh || damaged.contains(index) }

        /// Whole, and all of it verified.
        var isReady: Bool { published && bitmap.isComplete && !removed }
        var missingBytes: Int64 {
            guard let manifest else { return 0 }
            return (0..<manifest.chunkCount).reduce(0) { sum, index in
                bitmap.contains(index) || doubted.contains(index) ? sum : sum + Int64(manifest.chunkSize(index))
            }
        }
    }

    /// What an image asks of the cache that it is in; each call blocks.
    struct Surroundings: Sendable {
        var time: any TimeSource = SystemTime()
        /// Makes room for that many bytes to come, or throws.
        var makeRoom: @Sendable (ImageID, Int64, _ diskIsFull: Bool) throws(ImageCacheError) -> Void = {
            (_, _, _) throws(ImageCacheError) in
        }
        /// Takes over chunks that other images hold.
        var reuse: @Sendable (CachedImage) -> Void = { _ in }
        /// A chunk has rotted on the disk.
        var damaged: @Sendable (CachedImage, _ chunk: Int) -> Void = { _, _ in }
    }

    let image: ImageID
    let files: ImageFiles
    let surroundings: Surroundings
    let state = Monitor(State())

    /// Bytes of chunks that a crash of the host may cost: the bitmap is saved that often.
    private static let chunksBetweenSaves = 16

    init(image: ImageID, files: ImageFiles, surroundings: Surroundings = Surroundings()) {
        self.image = image
        self.files = files
        self.surroundings = surroundings
    }

    // MARK: Opening

    /// Finds what an earlier life of the agent left. Anything that does not fit together is received anew.
    ///
    /// - Parameter trusting: that life ended in order; otherwise each chunk is compared with the manifest first.
    func open(trusting: Bool) {
        guard var found = found() else { return }
        found.facts = ImageFacts(readFrom: files.facts)
        found.savedFacts = found.facts
        if !trusting {
            found.doubted = found.bitmap
            found.bitmap = ChunkBitmap(count: found.bitmap.count)
        }
        state.withLock { $0 = found }
    }

    private func found() -> State? {
        guard
            let bytes = CacheFile.contents(
                files.manifest, limit: Manifest.maximumSerialisedBytes(imageBytes: Limits.imageBytes)),
            let manifest = try? Manifest(serialised: bytes)
        else { return nil }
        let saved = CacheFile.contents(files.bitmap, limit: manifest.chunkCount / 8 + 1)
            .flatMap { ChunkBitmap(count: manifest.chunkCount, bytes: $0) }
        if let file = try? CacheFile(path: files.raw, flags: O_RDWR), (try? file.size()) == manifest.sizeBytes {
            let bitmap = saved ?? Self.full(manifest.chunkCount)
            let missing = (0..<manifest.chunkCount).filter { !bitmap.contains($0) }
            return State(manifest: manifest, bitmap: bitmap, damaged: Set(missing), file: file, published: true)
        }
        guard let file = try? CacheFile(path: files.partial, flags: O_RDWR),
            (try? file.size()) == manifest.sizeBytes, let bitmap = saved,
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
    /// Whole and verified.
    var isComplete: Bool { state.withLock { $0.isReady } }
    /// It has its final name, and guests may have it open.
    var isPublished: Bool { state.withLock { $0.published } }
    var path: String? { state.withLock { $0.isReady ? files.raw : nil } }
    var heldChunks: ChunkBitmap { state.withLock { $0.bitmap } }
    var progress: (held: Int, total: Int) {
        state.withLock { ($0.bitmap.heldCount + $0.doubted.heldCount, $0.bitmap.count) }
    }

    /// Begins to receive an image; what was there under another manifest is thrown away. Zero chunks need no transfer:
    /// they are holes of the new file. Chunks that other images of the cache hold need none either.
    func begin(_ manifest: Manifest) throws(ImageCacheError) {
        let isNew: Bool
        do throws(ImageCacheError) {
            isNew = try start(manifest)
        } catch .diskFull {
            let needed = (0..<manifest.chunkCount).reduce(0) { sum, index in
                manifest.isZero(index) ? sum : sum + Int64(manifest.chunkSize(index))
            }
            try surroundings.makeRoom(image, needed, true)
            isNew = try start(manifest)
        }
        if isNew { surroundings.reuse(self) }
        try prepare()
    }

    /// False where it has begun already.
    private func start(_ manifest: Manifest) throws(ImageCacheError) -> Bool {
        try state.update { state throws(ImageCacheError) in
            if state.removed { throw .removed }
            if state.manifest?.digest == manifest.digest { return false }
            state = State()
            for path in [files.bitmap, files.facts, files.evicted, files.partial, files.raw] { unlink(path) }
            let file = try CacheFile(path: files.partial, flags: O_RDWR | O_CREAT | O_TRUNC)
            try file.truncate(to: manifest.sizeBytes)
            var bitmap = ChunkBitmap(count: manifest.chunkCount)
            for index in 0..<manifest.chunkCount where manifest.isZero(index) { bitmap.insert(index) }
            try file.synchronise()
            try CacheFile.replace(files.manifest, with: manifest.serialised)
            try CacheFile.replace(files.bitmap, with: bitmap.bytes)
            try CacheFile.synchroniseFolder(of: files.raw)
            state = State(manifest: manifest, bitmap: bitmap, file: file, isFresh: true)
            return true
        }
    }

    /// Before chunks are asked for: what is in doubt is compared with the manifest, and there is room for the rest.
    func prepare() throws(ImageCacheError) {
        settleDoubts()
        try repairZeroChunks()
        let needed = state.withLock { $0.missingBytes }
        if needed > 0 { try surroundings.makeRoom(image, needed, false) }
    }

    /// Takes a chunk whose digest was checked; from here on it is served.
    func accept(_ chunk: ChunkClient.VerifiedChunk) throws(ImageCacheError) {
        let (file, manifest, punches) = state.withLock { ($0.file, $0.manifest, $0.mayHoldOther(at: chunk.index)) }
        guard let file, let manifest else { throw .removed }
        let offset = manifest.chunkOffset(chunk.index)
        do throws(ImageCacheError) {
            try file.writeSparse(chunk.data, at: offset, punching: punches)
        } catch .diskFull {
            try surroundings.makeRoom(image, state.withLock { $0.missingBytes }, true)
            try file.writeSparse(chunk.data, at: offset, punching: punches)
        }
        try took(chunk.index, in: file, encoded: chunk.encoded)
    }

    /// A chunk is verified and written.
    func took(_ index: Int, in file: CacheFile, encoded: EncodedChunk? = nil) throws(ImageCacheError) {
        let save = state.update { state -> ChunkBitmap? in
            guard state.file === file else { return nil }
            state.bitmap.insert(index)
            state.damaged.remove(index)
            if let encoded { state.recent.insert(index, encoded) }
            state.unsavedChunks += 1
            guard state.unsavedChunks >= Self.chunksBetweenSaves else { return nil }
            state.unsavedChunks = 0
            return state.bitmap
        }
        if let save { try saveBitmap(save, file) }
    }

    /// Saves what is held, so that a restart begins there.
    func save() throws(ImageCacheError) {
        let (file, bitmap) = state.withLock { state in
            (state.published && state.bitmap.isComplete ? nil : state.file, Self.union(state.bitmap, state.doubted))
        }
        if let file { try saveBitmap(bitmap, file) }
        try saveFacts()
    }

    /// The bitmap is a copy from before the fsync, so that each of its chunks is on the disk when it gets there.
    func saveBitmap(_ bitmap: ChunkBitmap, _ file: CacheFile) throws(ImageCacheError) {
        try file.synchronise()
        try state.withLock { state throws(ImageCacheError) in
            guard state.file === file, !state.removed else { return }
            try CacheFile.replace(files.bitmap, with: bitmap.bytes)
        }
    }

    static func union(_ first: ChunkBitmap, _ second: ChunkBitmap) -> ChunkBitmap {
        var union = first
        for index in 0..<second.count where second.contains(index) { union.insert(index) }
        return union
    }

    /// Publishes the image under its name. Every chunk is held.
    func publish() throws(ImageCacheError) {
        let file = state.withLock { $0.bitmap.isComplete ? $0.file : nil }
        guard let file else { return }
        try file.synchronise()
        try state.update { state throws(ImageCacheError) in
            guard state.file === file, !state.removed, state.bitmap.isComplete else { throw .removed }
            if !state.published {
                guard rename(files.partial, files.raw) == 0 else { throw .last(files.raw) }
            }
            unlink(files.bitmap)
            try CacheFile.synchroniseFolder(of: files.raw)
            let now = surroundings.time.timestamp
            state.published = true
            state.lastServed = .now
            state.facts.heldSince = state.facts.heldSince ?? now
            state.facts.verifiedAt = state.facts.verifiedAt ?? now
        }
        try? saveFacts()
    }

    /// Forgets the image and removes its files. A guest that has the file open keeps it until it ends.
    func remove() {
        state.update { state in
            state = State(removed: true)
            for path in files.all { unlink(path) }
        }
    }

    // MARK: What is known of it

    /// A disk was made from it, or a peer served.
    func used() {
        let isNews = state.withLock { state -> Bool in
            let now = surroundings.time.timestamp
            state.facts.lastUsed = now
            guard let saved = state.savedFacts.lastUsed else { return true }
            return now - saved >= ImageFacts.useGranularity || now < saved
        }
        if isNews { try? saveFacts() }
    }

    func saveFacts() throws(ImageCacheError) {
        let facts = state.withLock { state -> ImageFacts? in
            guard state.manifest != nil, state.facts != state.savedFacts else { return nil }
            state.savedFacts = state.facts
            return state.facts
        }
        guard let facts else { return }
        try state.withLock { state throws(ImageCacheError) in
            if !state.removed { try facts.write(to: files.facts) }
        }
    }

    var facts: ImageFacts { state.withLock { $0.facts } }

    /// Bytes on the disk, and those to come.
    var size: (bytes: Int64, outstanding: Int64) {
        state.withLock { ($0.file?.allocatedBytes() ?? 0, $0.missingBytes) }
    }

    /// What the host has of it, as others are told; `nil` before its manifest is there.
    var value: HeldImageValue? {
        state.withLock { state in
            guard let manifest = state.manifest, !state.removed else { return nil }
            var value = HeldImageValue(
                image: manifest.image, manifestDigest: manifest.digest,
                chunksHeld: state.bitmap.heldCount + state.doubted.heldCount, chunksTotal: manifest.chunkCount)
            value.diskBytes = state.file?.allocatedBytes() ?? 0
            value.heldSince = state.published ? state.facts.heldSince : nil
            value.lastUsed = state.facts.lastUsed
            value.verifiedAt = state.facts.verifiedAt
            value.corruptChunks = state.facts.corruptChunks
            return value
        }
    }
}
