import ChunkPlane
import Glibc
import ProcessFiles
import ProcessThreads
import ProtocolModel
import ProtocolTransfer

/// Comparing what is on the disk with the manifest: after an unclean stop before anything is used, and now and then.
extension CachedImage {
    /// Chunks whose content nobody has compared since an unclean stop.
    var isInDoubt: Bool { state.withLock { $0.doubted.heldCount > 0 } }

    func nextDoubt(from start: Int) -> Int? {
        state.withLock { state in (max(0, start)..<max(start, state.doubted.count)).first { state.doubted.contains($0) }
        }
    }

    /// Whether a file is still that of the image.
    func holds(_ file: CacheFile) -> Bool { state.withLock { $0.file === file && !$0.removed } }

    /// Compares what is in doubt, or one chunk of it.
    func settleDoubts(only one: Int? = nil) {
        let (doubted, file, manifest) = state.withLock { ($0.doubted, $0.file, $0.manifest) }
        guard doubted.heldCount > 0, let file, let manifest else { return }
        let reader = try? MediumReader(path: file.path, limit: Limits.chunkBytes)
        for index in 0..<doubted.count where doubted.contains(index) && (one == nil || one == index) {
            if state.withLock({ $0.file !== file || $0.removed }) { return }
            _ = check(index, manifest, file, reader)
        }
    }

    /// Compares one chunk with its digest and keeps what was found.
    ///
    /// - Parameter reader: `nil` where the file cannot be opened by its name any more.
    /// - Returns: the bytes that were read; 0 for a hole.
    @discardableResult
    func check(_ index: Int, _ manifest: Manifest, _ file: CacheFile, _ reader: MediumReader?) -> Int {
        let claim = state.withLock { state in
            guard state.file === file, !state.removed else { return false }
            return state.bitmap.contains(index) || state.doubted.contains(index)
        }
        guard claim else { return 0 }
        let (offset, size) = (manifest.chunkOffset(index), manifest.chunkSize(index))
        if manifest.isZero(index), file.isHole(at: offset, count: size) {
            settle(index, isGood: true, in: file)
            return 0
        }
        // What cannot be read is as bad as what is wrong: it is written anew, and the disk puts it elsewhere.
        func looksGood() -> Bool {
            let bytes = try? reader?.read(at: offset, count: size) ?? file.read(at: offset, count: size)
            return bytes.map { manifest.verifies($0, index: index) } ?? false
        }
        // Twice: a chunk that was being written when the first read began is no rot.
        let isGood = looksGood() || looksGood()
        settle(index, isGood: isGood, in: file)
        return size
    }

    private func settle(_ index: Int, isGood: Bool, in file: CacheFile) {
        let isNews = state.update { state -> Bool in
            guard state.file === file, !state.removed else { return false }
            let wasHeld = state.bitmap.contains(index) || state.doubted.contains(index)
            state.doubted.remove(index)
            if isGood {
                state.bitmap.insert(index)
                return false
            }
            state.bitmap.remove(index)
            state.damaged.insert(index)
            if wasHeld { state.facts.corruptChunks += 1 }
            state.recent = RecentChunks()
            return wasHeld
        }
        guard isNews else { return }
        // Before anything else: whatever comes next, nobody trusts this chunk again.
        try? save()
        surroundings.damaged(self, index)
    }

    /// Chunks of zeros in whose place there is something else need no source: they are holes again.
    func repairZeroChunks() throws(ImageCacheError) {
        let (damaged, file, manifest) = state.withLock { ($0.damaged, $0.file, $0.manifest) }
        guard let file, let manifest else { return }
        for index in damaged.sorted() where manifest.isZero(index) {
            try file.punch(at: manifest.chunkOffset(index), count: manifest.chunkSize(index))
            try took(index, in: file)
        }
    }

    /// All of it has been compared and was found good, or not: then the time of the last good check stays.
    func finishedCheck(at now: Timestamp) {
        state.withLock { if $0.isReady { $0.facts.verifiedAt = now } }
        try? saveFacts()
    }

    // MARK: Chunks of others

    /// The digests of chunks that are missing, with where they go.
    func wantedDigests() -> [ContentDigest: [Int]] {
        let (manifest, bitmap, doubted) = state.withLock { ($0.manifest, $0.bitmap, $0.doubted) }
        guard let manifest else { return [:] }
        var wanted: [ContentDigest: [Int]] = [:]
        for index in 0..<manifest.chunkCount where !bitmap.contains(index) && !doubted.contains(index) {
            wanted[manifest.chunkDigest(index), default: []].append(index)
        }
        return wanted
    }

    /// Takes a chunk from another image of the cache: the same blocks on the disk where the file system can, a copy
    /// elsewhere. Verified either way by what is then in this file or was written to it (P7).
    ///
    /// - Returns: false where the other image's chunk is not what it should be.
    func take(_ index: Int, from other: CachedImage, _ otherIndex: Int) throws(ImageCacheError) -> Bool {
        let (file, manifest, punches) = state.withLock { ($0.file, $0.manifest, $0.mayHoldOther(at: index)) }
        let (source, sourceManifest) = other.state.withLock { ($0.isReady ? $0.file : nil, $0.manifest) }
        guard let file, let manifest else { throw .removed }
        guard let source, let sourceManifest else { return false }
        let (from, to) = (sourceManifest.chunkOffset(otherIndex), manifest.chunkOffset(index))
        let size = manifest.chunkSize(index)
        if size == manifest.chunkBytes, file.share(size, at: to, of: source, at: from) {
            guard manifest.verifies(try file.read(at: to, count: size), index: index) else {
                try file.punch(at: to, count: size)
                return false
            }
        } else {
            let bytes = try source.read(at: from, count: size)
            guard manifest.verifies(bytes, index: index) else { return false }
            try file.writeSparse(bytes, at: to, punching: punches)
        }
        try took(index, in: file)
        return true
    }
}
