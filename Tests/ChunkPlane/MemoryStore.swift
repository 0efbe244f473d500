import ChunkPlane
import Foundation
import ProtocolModel
import ProtocolTransfer
import Synchronization

/// Chunks in memory, some of them not there yet.
final class MemoryStore: ChunkSourceStore {
    let manifest: Manifest
    let data: [[UInt8]]
    private let available: Mutex<Set<Int>>
    private let corrupt: Mutex<Set<Int>> = Mutex([])

    init(image: ImageID, chunks: [[UInt8]]) throws {
        data = chunks
        manifest = try Manifest(
            image: image, sizeBytes: Int64(chunks.reduce(0) { $0 + $1.count }),
            chunkDigests: chunks.flatMap { Manifest.digest(of: $0).bytes })
        available = Mutex(Set(chunks.indices))
    }

    func withhold(_ index: Int) { available.withLock { _ = $0.remove(index) } }
    func provide(_ index: Int) { available.withLock { _ = $0.insert(index) } }
    func corrupt(_ index: Int) { corrupt.withLock { _ = $0.insert(index) } }

    func manifest(of image: ImageID) -> ManifestReading {
        image == manifest.image ? .manifest(manifest.serialised) : .notHeld
    }

    func chunk(_ index: Int, of image: ImageID, manifest digest: ContentDigest, waitingUpTo: Duration) -> ChunkReading {
        guard image == manifest.image else { return .notHeld }
        guard digest == manifest.digest else { return .manifestDiffers }
        guard data.indices.contains(index) else { return .outOfRange }
        guard available.withLock({ $0.contains(index) }) else { return .notYet }
        var bytes = data[index]
        if corrupt.withLock({ $0.contains(index) }) { bytes[0] ^= 1 }
        if let frame = Zstandard.compress(bytes, limit: bytes.count * 9 / 10) {
            return .chunk(EncodedChunk(encoding: .zstd, bytes: frame))
        }
        return .chunk(EncodedChunk(encoding: .raw, bytes: bytes))
    }
}
