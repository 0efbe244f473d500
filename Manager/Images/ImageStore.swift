public import ChunkPlane
import Foundation
import Glibc
public import Logging
public import ManagerImageHeaders
import ProcessThreads
public import ProtocolModel
import ProtocolTransfer
import Synchronization

/// Where an import is.
public struct ImportProgress: Hashable, Sendable {
    public enum Phase: String, Hashable, Sendable { case converting, packing }
    public let phase: Phase
    /// 0...100 over the whole import.
    public let percent: Int
}

/// What became of an upload.
public struct ImportedImage: Hashable, Sendable {
    public let format: ImageFormat
    /// Size of the raw image in bytes.
    public let virtualSize: Int64
    public let manifestDigest: ContentDigest
    public let chunkCount: Int
    /// Bytes that the chunks take on the manager's disk.
    public let storedBytes: Int64
}

/// The manager's images: uploads, their import, and the packed chunks that chains begin with.
///
///     <folder>/staging/<id>.upload      the file as it came, 0600, until it is imported
///     <folder>/staging/<id>.raw         the raw intermediate of a conversion
///     <folder>/staging/<id>.image/      the image being packed
///     <folder>/<id>/                    published: chunks.pack, chunks.index, manifest
///
/// Published by fsync and rename; of `staging`, a restart leaves only whole uploads whose import was accepted. Names are made of identifiers alone,
/// so that nothing a user writes becomes part of a path (SEC-03).
public final class ImageStore: Sendable, ChunkSourceStore {
    private enum Work { case uploading, uploaded, inspected, importing }

    private struct State {
        var work: [ImageID: Work] = [:]
        var images: [ImageID: StoredImage] = [:]
    }

    let folder: String
    private let logger: Logger
    private let maximumImageBytes: Int64
    private let packingThreads: Int
    private let threads: BlockingThreads
    private let state = Mutex(State())

    /// - Parameters:
    ///   - maximumImageBytes: The largest file and the largest raw image that this site takes.
    ///   - packingThreads: Threads that hash and compress, over all imports each.
    public init(
        folder: String, logger: Logger, maximumImageBytes: Int64 = 1 << 40, packingThreads: Int = 2
    ) throws(ImageError) {
        self.folder = folder
        self.logger = logger
        self.maximumImageBytes = min(maximumImageBytes, Limits.imageBytes)
        self.packingThreads = packingThreads
        self.threads = BlockingThreads(name: "image-work", threads: 4)
        try Files.makeFolder(folder + "/staging")
    }

    // MARK: Uploads

    /// Opens a staging file. One upload an image.
    public func beginUpload(_ image: ImageID) throws(ImageError) -> UploadHandle {
        let free = state.withLock { state -> Bool in
            guard state.work[image] == nil else { return false }
            state.work[image] = .uploading
            return true
        }
        guard free, access(published(image), F_OK) != 0 else {
            if free { state.withLock { $0.work[image] = nil } }
            throw .uploadExists("\(image)")
        }
        do {
            return try UploadHandle(
                image: image, store: self, path: staging(image, "upload"), limitBytes: maximumImageBytes)
        } catch {
            state.withLock { $0.work[image] = nil }
            throw error
        }
    }

    func uploadFinished(_ image: ImageID) { state.withLock { $0.work[image] = .uploaded } }
    func uploadAbandoned(_ image: ImageID) { state.withLock { $0.work[image] = nil } }

    func onThread<Value: Sendable>(
        _ body: @escaping @Sendable () throws(ImageError) -> Value
    ) async throws(ImageError) -> Value {
        let result: Result<Value, ImageError>
        do {
            result = try await threads.run { Result { () throws(ImageError) in try body() } }
        } catch {
            throw .busy
        }
        return try result.get()
    }

    /// Looks at a finished upload's header, before any other program opens the file (SEC-01). A refused upload is gone
    /// afterwards.
    public func inspectUpload(
        _ image: ImageID, declaredFormat: ImageFormat?
    ) async throws(ImageError) -> InspectedImage {
        guard advance(image, from: .uploaded, to: .inspected) else { throw .noUpload("\(image)") }
        do throws(ImageError) {
            let upload = staging(image, "upload")
            let inspected = try await onThread { () throws(ImageError) in
                try Self.inspect(upload, declared: declaredFormat)
            }
            guard inspected.virtualSize <= maximumImageBytes else {
                throw ImageError.uploadTooLarge(limitBytes: maximumImageBytes)
            }
            return inspected
        } catch {
            discardUpload(image)
            logger.notice(
                "image refused",
                metadata: ["image": "\(image)", "code": "\(error.code)", "reason": "\(error.sentence)"])
            throw error
        }
    }

    /// Removes an upload that will not be imported.
    public func discardUpload(_ image: ImageID) {
        for kind in ["upload", "raw", "image"] { Files.remove(staging(image, kind)) }
        state.withLock { $0.work[image] = nil }
    }

    private func advance(_ image: ImageID, from old: Work, to new: Work) -> Bool {
        state.withLock { state in
            guard state.work[image] == old else { return false }
            state.work[image] = new
            return true
        }
    }

    // MARK: Import

    /// Converts, packs and publishes an upload that was inspected. Once it is published, the upload stays until
    /// `discardUpload`, so that an import whose end was not recorded can be repeated; after a failure nothing stays, and
    /// after a cancellation, which stops it, the upload alone.
    public func importUpload(
        _ image: ImageID, _ inspected: InspectedImage, progress: @escaping @Sendable (ImportProgress) -> Void = { _ in }
    ) async throws(ImageError) -> ImportedImage {
        guard advance(image, from: .inspected, to: .importing) else { throw .noUpload("\(image)") }
        do throws(ImageError) {
            let imported = try await carryOut(image, inspected, progress: progress)
            logger.info(
                "image imported",
                metadata: [
                    "image": "\(image)", "format": "\(imported.format.rawValue)",
                    "virtual_bytes": "\(imported.virtualSize)", "stored_bytes": "\(imported.storedBytes)",
                    "manifest": "\(imported.manifestDigest)",
                ])
            return imported
        } catch {
            if error == .cancelled {
                for kind in ["raw", "image"] { Files.remove(staging(image, kind)) }
                state.withLock { $0.work[image] = .uploaded }
            } else {
                discardUpload(image)
            }
            logger.notice(
                "import failed",
                metadata: ["image": "\(image)", "code": "\(error.code)", "reason": "\(error.sentence)"])
            throw error
        }
    }

    private func carryOut(
        _ image: ImageID, _ inspected: InspectedImage, progress: @escaping @Sendable (ImportProgress) -> Void
    ) async throws(ImageError) -> ImportedImage {
        let upload = staging(image, "upload")
        var raw = upload
        if let name = inspected.format.converterName {
            raw = staging(image, "raw")
            progress(ImportProgress(phase: .converting, percent: 0))
            let isolated = await Converter.canIsolate()
            if !isolated {
                logger.warning("converting without a network namespace; run as root where namespaces are allowed")
            }
            try await Converter(format: name, source: upload, target: raw, virtualSize: inspected.virtualSize)
                .run(isolated: isolated) { progress(ImportProgress(phase: .converting, percent: $0 / 2)) }
        }
        progress(ImportProgress(phase: .packing, percent: 50))
        let cancellation = Cancellation()
        let path = raw
        let result = await withTaskCancellationHandler { () async -> Result<StoredImage, ImageError> in
            do throws(ImageError) {
                return .success(
                    try await onThread { () throws(ImageError) in
                        try self.pack(image, raw: path, inspected: inspected, cancellation: cancellation) { percent in
                            progress(ImportProgress(phase: .packing, percent: 50 + percent / 2))
                        }
                    })
            } catch {
                return .failure(error)
            }
        } onCancel: {
            cancellation.cancel()
        }
        let stored = try result.get()
        return ImportedImage(
            format: inspected.format, virtualSize: stored.manifest.sizeBytes, manifestDigest: stored.manifest.digest,
            chunkCount: stored.manifest.chunkCount, storedBytes: stored.storedBytes)
    }

    private static func inspect(_ path: String, declared: ImageFormat?) throws(ImageError) -> InspectedImage {
        let file = try OpenFile(path: path, flags: O_RDONLY)
        let size = try file.size()
        do {
            return try ImageInspector.inspect(
                reader: { offset, count in try file.read(at: offset, count: count) }, declared: declared,
                fileBytes: size)
        } catch {
            throw .refused(error)
        }
    }

    private func pack(
        _ image: ImageID, raw: String, inspected: InspectedImage, cancellation: Cancellation,
        progress: @escaping @Sendable (Int) -> Void
    ) throws(ImageError) -> StoredImage {
        let file = try OpenFile(path: raw, flags: O_RDONLY)
        // A converter may round a size up to whole cylinders; what it wrote is the image.
        let size = inspected.format.converterName == nil ? inspected.virtualSize : max(512, try file.size())
        let target = staging(image, "image")
        Files.remove(target)
        try Files.makeFolder(target)
        let packer = try ChunkPacker(
            image: image, raw: file, sizeBytes: (size + 511) / 512 * 512, folder: target, progress: progress,
            isCancelled: { cancellation.isCancelled })
        _ = try packer.run(threads: packingThreads)
        if cancellation.isCancelled { throw .cancelled }
        try Files.publish(target, as: published(image))
        let stored = try StoredImage(folder: published(image))
        state.withLock { $0.images[image] = stored }
        return stored
    }

    // MARK: What is there

    /// Digest of a published image's manifest; `nil` where there is none.
    public func manifestDigest(of image: ImageID) -> ContentDigest? { stored(image)?.manifest.digest }

    /// Removes a published image. Chunks under way are still sent.
    public func remove(_ image: ImageID) {
        state.withLock { $0.images[image] = nil }
        let gone = staging(image, "removed")
        Files.remove(gone)
        // Renamed first, so that a crash leaves no half of an image under its name.
        if rename(published(image), gone) == 0 { Files.remove(gone) }
    }

    /// To be called once at start: removes what a crash left behind, and every image that is not to be kept.
    ///
    /// - Parameter accepted: images whose whole upload was on the disk, and whose import did not end.
    /// - Returns: those of them whose upload is still there; it can be inspected and imported again.
    @discardableResult
    public func recover(keeping: Set<ImageID>, accepted: Set<ImageID> = []) -> Set<ImageID> {
        let resumable = accepted.filter { access(staging($0, "upload"), F_OK) == 0 }
        let kept = Set(resumable.map { "\($0).upload" })
        for name in Files.names(in: folder + "/staging") where !kept.contains(name) {
            Files.remove(folder + "/staging/" + name)
        }
        for name in Files.names(in: folder) where name != "staging" {
            guard let image = ImageID(name), name == "\(image)" else { continue }
            if !keeping.contains(image) {
                logger.info("removing an image that is not registered", metadata: ["image": "\(image)"])
                remove(image)
            }
        }
        state.withLock { state in for image in resumable { state.work[image] = .uploaded } }
        return resumable
    }

    // MARK: Serving

    public func manifest(of image: ImageID) -> ManifestReading {
        stored(image).map { .manifest($0.manifest.serialised) } ?? .notHeld
    }

    public func chunk(
        _ index: Int, of image: ImageID, manifest: ContentDigest, waitingUpTo: Duration
    ) -> ChunkReading {
        guard let stored = stored(image) else { return .notHeld }
        guard stored.manifest.digest == manifest else { return .manifestDiffers }
        guard index >= 0, index < stored.manifest.chunkCount, !stored.manifest.isZero(index) else { return .outOfRange }
        return .chunk(stored.chunk(index))
    }

    private func stored(_ image: ImageID) -> StoredImage? {
        if let stored = state.withLock({ $0.images[image] }) { return stored }
        guard access(published(image), F_OK) == 0 else { return nil }
        do {
            let stored = try StoredImage(folder: published(image))
            guard stored.manifest.image == image else { return nil }
            state.withLock { $0.images[image] = stored }
            return stored
        } catch {
            logger.error(
                "a stored image cannot be used", metadata: ["image": "\(image)", "reason": "\(error.sentence)"])
            return nil
        }
    }

    private func published(_ image: ImageID) -> String { "\(folder)/\(image)" }
    private func staging(_ image: ImageID, _ kind: String) -> String { "\(folder)/staging/\(image).\(kind)" }
}

/// Tells threads that the task that waits for them was cancelled.
private final class Cancellation: Sendable {
    private let flag = Mutex(false)
    var isCancelled: Bool { flag.withLock { $0 } }
    func cancel() { flag.withLock { $0 = true } }
}
