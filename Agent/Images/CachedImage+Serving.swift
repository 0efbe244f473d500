import ChunkPlane
import ProcessFiles
import ProcessThreads
import ProtocolModel
import ProtocolTransfer

extension CachedImage {
    func readManifest() -> ManifestReading {
        state.withLock { state in
            state.manifest.map { .manifest($0.serialised) } ?? (state.removed ? .notHeld : .notYet)
        }
    }

    /// Waits for a chunk that is on its way, at most `wait`; then reads it outside of the lock.
    func readChunk(_ index: Int, manifest digest: ContentDigest, waitingUpTo wait: Duration) -> ChunkReading {
        let found = state.wait(upTo: wait) { state in Self.find(index, digest, in: &state) }
        switch found {
        case nil: return .notYet
        case .answer(let answer): return answer
        case .file(let file, let manifest):
            used()
            return Self.read(index, manifest, file)
        case .doubted:
            // Used for the first time since the crash.
            settleDoubts(only: index)
            return readChunk(index, manifest: digest, waitingUpTo: wait)
        }
    }

    private enum Found: Sendable {
        case answer(ChunkReading)
        case file(CacheFile, Manifest)
        case doubted
    }

    /// `nil` while the chunk may still come.
    private static func find(_ index: Int, _ digest: ContentDigest, in state: inout State) -> Found? {
        if state.removed { return .answer(.notHeld) }
        guard let manifest = state.manifest else { return nil }
        guard manifest.digest == digest else { return .answer(.manifestDiffers) }
        guard index >= 0, index < manifest.chunkCount, !manifest.isZero(index) else { return .answer(.outOfRange) }
        if state.doubted.contains(index) { return .doubted }
        guard state.bitmap.contains(index), let file = state.file else { return nil }
        state.lastServed = .now
        return state.recent.chunk(index).map { .answer(.chunk($0)) } ?? .file(file, manifest)
    }

    private static func read(_ index: Int, _ manifest: Manifest, _ file: CacheFile) -> ChunkReading {
        let offset = manifest.chunkOffset(index)
        return .chunk(
            EncodedChunk(encoding: .raw, count: manifest.chunkSize(index)) { buffer, position in
                file.fills(buffer, from: offset + Int64(position))
            })
    }

    /// Gives the memory of recent chunks back once the image is complete and the hosts behind have caught up.
    func dropRecentIfQuiet() {
        state.withLock { state in
            if state.isReady, .now - state.lastServed > .seconds(60) { state.recent = RecentChunks() }
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
        bytes += chunk.count
        var dropped = 0
        while bytes > Self.maximumBytes, dropped < order.count {
            bytes -= chunks.removeValue(forKey: order[dropped])?.count ?? 0
            dropped += 1
        }
        order.removeFirst(dropped)
    }

    func chunk(_ index: Int) -> EncodedChunk? { chunks[index] }
}
