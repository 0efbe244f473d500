public import ChunkPlane
import Foundation
import Glibc
import ProcessFiles
import ProcessThreads
public import ProtocolModel
import ProtocolTransfer
import Synchronization

/// Copies of guests' disks on this host, until the manager has them: `<cache>/_captures/<image>.raw` with its manifest beside it,
/// and `<image>.partial` while it is copied. Served to the manager alone, and to nobody before all of it is on the disk.
public final class CaptureFolder: Sendable, ChunkSourceStore {
    private struct Copy: Sendable {
        let file: CacheFile
        let manifest: Manifest
    }

    public let path: String
    private let freeFloorBytes: Int64
    private let copies = Mutex<[ImageID: Copy]>([:])

    /// Opens what an earlier life of the agent finished, and removes everything else.
    ///
    /// - Parameter freeFloorBytes: Space of the disk that is left for others.
    public init(cache: String, freeFloorBytes: Int64 = 0) throws(ImageCacheError) {
        path = cache + "/_captures"
        self.freeFloorBytes = freeFloorBytes
        do {
            // QEMU's user passes through to the file that it is given.
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o711])
        } catch {
            throw .file(path: path, reason: error.localizedDescription)
        }
        var found: [ImageID: Copy] = [:]
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        for name in names where name.hasSuffix(".manifest") {
            guard let image = ImageID(name.dropLast(".manifest".count)) else { continue }
            found[image] = open(image)
        }
        for name in names {
            let image = name.lastIndex(of: ".").flatMap { ImageID(name[..<$0]) }
            if name.hasSuffix(".partial") || image.flatMap({ found[$0] }) == nil { unlink(path + "/" + name) }
        }
        copies.withLock { $0 = found }
    }

    private func open(_ image: ImageID) -> Copy? {
        let limit = Manifest.maximumSerialisedBytes(imageBytes: Limits.imageBytes)
        guard let bytes = CacheFile.contents(manifest(image), limit: limit),
            let manifest = try? Manifest(serialised: bytes), manifest.image == image,
            let file = try? CacheFile(path: raw(image), flags: O_RDONLY), (try? file.size()) == manifest.sizeBytes
        else { return nil }
        return Copy(file: file, manifest: manifest)
    }

    // MARK: Making

    /// Where a disk is to be copied to; nothing is there.
    ///
    /// - Throws: `diskFull` where a disk of that size does not fit, since QEMU reserves all of it while it copies.
    public func prepare(_ image: ImageID, sizeBytes: Int64) throws(ImageCacheError) -> String {
        remove(image)
        var status = statvfs()
        if statvfs(path, &status) == 0, status.f_blocks > 0 {
            let free = Int64(clamping: UInt64(status.f_bavail) * UInt64(status.f_frsize))
            guard free - freeFloorBytes >= sizeBytes else { throw .diskFull(path: path) }
        }
        return partial(image)
    }

    /// Reads the copy once, for its manifest, and has all of it on the disk under its name. Blocks.
    ///
    /// - Parameters:
    ///   - sizeBytes: What the copy must have.
    ///   - progress: is told percents; where it answers false, this stops with `removed`.
    public func seal(
        _ image: ImageID, sizeBytes: Int64, progress: (Int) -> Bool
    ) throws(ImageCacheError) -> SealedCapture {
        let file = try CacheFile(path: partial(image), flags: O_RDWR)
        guard try file.size() == sizeBytes, sizeBytes > 0 else {
            throw .file(path: partial(image), reason: "the copy has another size than the disk")
        }
        let chunkBytes = Manifest.chunkBytes(forImageBytes: sizeBytes)
        let count = Manifest.chunkCount(imageBytes: sizeBytes, chunkBytes: chunkBytes)
        var digests: [UInt8] = []
        digests.reserveCapacity(count * ContentDigest.byteCount)
        for index in 0..<count {
            guard progress(index * 100 / count) else { throw .removed }
            digests += try digest(of: file, at: Int64(index) * Int64(chunkBytes), limit: chunkBytes, sizeBytes)
        }
        let manifest: Manifest
        do {
            manifest = try Manifest(image: image, sizeBytes: sizeBytes, chunkBytes: chunkBytes, chunkDigests: digests)
        } catch {
            throw .file(path: partial(image), reason: error.description)
        }
        try file.synchronise()
        guard rename(partial(image), raw(image)) == 0 else { throw .last(raw(image)) }
        // Last: without it the next life of the agent begins anew.
        try CacheFile.replace(self.manifest(image), with: manifest.serialised)
        try CacheFile.synchroniseFolder(of: raw(image))
        copies.withLock { $0[image] = Copy(file: file, manifest: manifest) }
        return SealedCapture(image: image, manifestDigest: manifest.digest, sizeBytes: sizeBytes)
    }

    /// 32 zero bytes for a chunk of zeros, which takes no room from here on.
    private func digest(
        of file: CacheFile, at offset: Int64, limit: Int, _ sizeBytes: Int64
    ) throws(ImageCacheError) -> [UInt8] {
        let count = Int(min(Int64(limit), sizeBytes - offset))
        if !file.isHole(at: offset, count: count) {
            let data = try file.read(at: offset, count: count)
            guard data.count == count else { throw .file(path: file.path, reason: "the copy ends too early") }
            let isZero = data.withUnsafeBytes { bytes in
                bytes[0] == 0 && memcmp(bytes.baseAddress!, bytes.baseAddress! + 1, count - 1) == 0
            }
            if !isZero { return Manifest.digest(of: data).bytes }
        }
        try file.punch(at: offset, count: count)
        return [UInt8](repeating: 0, count: ContentDigest.byteCount)
    }

    /// Removes all of a copy; nothing there is no error.
    public func remove(_ image: ImageID) {
        copies.withLock { $0[image] = nil }
        for file in [manifest(image), raw(image), partial(image)] { unlink(file) }
    }

    // MARK: What is there

    /// Whole copies.
    public var sealed: [SealedCapture] {
        copies.withLock { copies in
            copies.map {
                SealedCapture(
                    image: $0.key, manifestDigest: $0.value.manifest.digest, sizeBytes: $0.value.manifest.sizeBytes)
            }
        }.sorted { $0.image < $1.image }
    }

    public func holds(_ image: ImageID) -> Bool { copies.withLock { $0[image] != nil } }

    public func manifest(of image: ImageID) -> ManifestReading {
        copies.withLock { $0[image] }.map { .manifest($0.manifest.serialised) } ?? .notHeld
    }

    public func chunk(
        _ index: Int, of image: ImageID, manifest: ContentDigest, waitingUpTo: Duration
    ) -> ChunkReading {
        guard let copy = copies.withLock({ $0[image] }) else { return .notHeld }
        guard copy.manifest.digest == manifest else { return .manifestDiffers }
        guard index >= 0, index < copy.manifest.chunkCount, !copy.manifest.isZero(index) else { return .outOfRange }
        // Whoever gets it verifies it too; but nothing leaves a host that was not verified there (P7).
        guard
            let data = try? copy.file.read(at: copy.manifest.chunkOffset(index), count: copy.manifest.chunkSize(index)),
            copy.manifest.verifies(data, index: index)
        else { return .failed("chunk \(index) of the copy cannot be read, or has changed since it was made") }
        return .chunk(EncodedChunk(encoding: .raw, bytes: data))
    }

    private func raw(_ image: ImageID) -> String { "\(path)/\(image).raw" }
    private func partial(_ image: ImageID) -> String { "\(path)/\(image).partial" }
    private func manifest(_ image: ImageID) -> String { "\(path)/\(image).manifest" }
}

/// What a host serves: images of its cache to those whom the manager names, and copies of its guests' disks to the manager.
public struct HostChunks: ChunkSourceStore {
    private let cache: ImageCache
    private let captures: CaptureFolder

    public init(cache: ImageCache, captures: CaptureFolder) {
        self.cache = cache
        self.captures = captures
    }

    /// Whether a peer may have an image. A node never gets what is copied of a disk, nor the manager what is cached (SEC-07).
    public func mayServe(_ image: ImageID, to peer: PeerIdentity) -> Bool {
        switch peer {
        case .manager: captures.holds(image)
        case .node: cache.mayServe(image, to: peer)
        }
    }

    /// While there are both they are the same, down to the manifest's digest.
    public func manifest(of image: ImageID) -> ManifestReading {
        captures.holds(image) ? captures.manifest(of: image) : cache.manifest(of: image)
    }

    public func chunk(
        _ index: Int, of image: ImageID, manifest: ContentDigest, waitingUpTo limit: Duration
    ) -> ChunkReading {
        captures.holds(image)
            ? captures.chunk(index, of: image, manifest: manifest, waitingUpTo: limit)
            : cache.chunk(index, of: image, manifest: manifest, waitingUpTo: limit)
    }
}
