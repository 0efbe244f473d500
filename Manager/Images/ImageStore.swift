public import ChunkPlane
import Crypto
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
///     <folder>/staging/<id>.convert/    a conversion's folder: a second name of the upload, and the raw intermediate
///     <folder>/staging/<id>.image/      the image being packed
///     <folder>/<id>/                    published: chunks.pack, chunks.index, manifest
///
/// Published by fsync and rename; of `staging`, a restart leaves only uploads: those that still arrive, and whole ones whose
/// import was accepted. Names are made of identifiers alone, so that nothing a user writes becomes part of a path (SEC-03).
public final class ImageStore: Sendable, ChunkSourceStore {
    private enum Work { case uploading, uploaded, inspected, importing }

    private struct State {
        var work: [ImageID: Work] = [:]
        /// Uploads that this process has open.
        var uploads: [ImageID: UploadHandle] = [:]
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

    /// Opens an empty staging file, in place of one that was begun before. One upload an image.
    ///
    /// - Parameter expectedBytes: the size of the file to come, where it is known: what cannot fit is refused at once.
    public func beginUpload(_ image: ImageID, expectedBytes: Int64? = nil) async throws(ImageError) -> UploadWriter {
        let earlier = try state.withLock { state throws(ImageError) -> UploadHandle? in
            guard state.work[image] == nil || state.work[image] == .uploading else { throw .uploadExists("\(image)") }
            state.work[image] = .uploading
            return state.uploads.removeValue(forKey: image)
        }
        // Its writer, should there be one, writes to a file without a name from here on, and is told so.
        await earlier?.abandon()
        do throws(ImageError) {
            let path = staging(image, "upload")
            let handle = try await onThread { () throws(ImageError) in
                guard access(self.published(image), F_OK) != 0 else { throw .uploadExists("\(image)") }
                if let expectedBytes {
                    guard expectedBytes <= self.maximumImageBytes else {
                        throw .uploadTooLarge(limitBytes: self.maximumImageBytes)
                    }
                    guard Files.hasSpace(path, for: expectedBytes) else { throw .diskFull(path: path) }
                }
                Files.remove(path)
                let file = try OpenFile(path: path, flags: O_RDWR | O_CREAT | O_EXCL)
                return UploadHandle(
                    image: image, store: self, path: path, file: file, hasher: SHA256(), position: 0,
                    limitBytes: self.maximumImageBytes)
            }
            let other = state.withLock { state in
                state.work[image] = .uploading
                defer { state.uploads[image] = handle }
                return state.uploads[image]
            }
            // Of two who begin at once, the later one stays.
            await other?.abandon()
            return try await handle.attach(at: 0)
        } catch {
            state.withLock { state in
                if state.work[image] == .uploading, state.uploads[image] == nil { state.work[image] = nil }
            }
            throw error
        }
    }

    /// The upload that was begun and has not ended; one from before a restart is read again, since its hash was lost.
    public func upload(_ image: ImageID) async throws(ImageError) -> UploadHandle? {
        let (isOpen, known) = state.withLock { ($0.work[image] == .uploading, $0.uploads[image]) }
        guard isOpen else { return nil }
        if let known { return known }
        let path = staging(image, "upload")
        let reopened: UploadHandle? = try await onThread { () throws(ImageError) in
            guard access(path, F_OK) == 0 else { return nil }
            let file = try OpenFile(path: path, flags: O_RDWR)
            var (hasher, position) = (SHA256(), Int64(0))
            while true {
                let piece = try file.read(at: position, count: 1 << 20)
                if piece.isEmpty { break }
                hasher.update(data: piece)
                position += Int64(piece.count)
            }
            return UploadHandle(
                image: image, store: self, path: path, file: file, hasher: hasher, position: position,
                limitBytes: self.maximumImageBytes)
        }
        // Two who came back at once share the one that was first.
        return state.withLock { state in
            guard state.work[image] == .uploading else { return nil }
            if let first = state.uploads[image] { return first }
            state.uploads[image] = reopened
            return reopened
        }
    }

    /// False where another has begun meanwhile.
    func finished(_ handle: UploadHandle) -> Bool { end(handle, as: .uploaded) }
    func abandoned(_ handle: UploadHandle) -> Bool { end(handle, as: nil) }

    private func end(_ handle: UploadHandle, as work: Work?) -> Bool {
        state.withLock { state in
            guard state.uploads[handle.image] === handle else { return false }
            state.uploads[handle.image] = nil
            state.work[handle.image] = work
            return true
        }
    }

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
        for kind in ["upload", "convert", "image"] { Files.remove(staging(image, kind)) }
        state.withLock { state in
            state.work[image] = nil
            state.uploads[image] = nil
        }
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
                for kind in ["convert", "image"] { Files.remove(staging(image, kind)) }
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
        let stored = try await Files.whileSpaceLasts(in: folder + "/staging") { () async throws(ImageError) in
            var raw = self.staging(image, "upload")
            if let name = inspected.format.converterName {
                progress(ImportProgress(phase: .converting, percent: 0))
                raw = try await self.convert(image, name, inspected.virtualSize) {
                    progress(ImportProgress(phase: .converting, percent: $0 / 2))
                }
            }
            progress(ImportProgress(phase: .packing, percent: 50))
            let path = raw
            let cancellation = Cancellation()
            return try await withTaskCancellationHandler { () async -> Result<StoredImage, ImageError> in
                do throws(ImageError) {
                    return .success(
                        try await self.onThread { () throws(ImageError) in
                            try self.pack(image, raw: path, inspected: inspected, cancellation: cancellation) {
                                progress(ImportProgress(phase: .packing, percent: 50 + $0 / 2))
                            }
                        })
                } catch {
                    return .failure(error)
                }
            } onCancel: {
                cancellation.cancel()
            }.get()
        }
        Files.remove(staging(image, "convert"))
        return ImportedImage(
            format: inspected.format, virtualSize: stored.manifest.sizeBytes, manifestDigest: stored.manifest.digest,
            chunkCount: stored.manifest.chunkCount, storedBytes: stored.storedBytes)
    }

    /// The raw image of an upload.
    private func convert(
        _ image: ImageID, _ format: String, _ virtualSize: Int64, progress: @escaping @Sendable (Int) -> Void
    ) async throws(ImageError) -> String {
        let (upload, workplace) = (staging(image, "upload"), staging(image, "convert"))
        let sandbox = await ConverterSandbox.detect()
        if !sandbox.isComplete {
            logger.warning("converting without the whole sandbox", metadata: ["reason": "\(sandbox.shortcoming)"])
        }
        try await onThread { () throws(ImageError) in
            Files.remove(workplace)
            try Files.makeFolder(workplace)
            guard link(upload, workplace + "/" + Converter.source) == 0 else { throw OpenFile.failure(workplace) }
            // The converter owns these two and reaches nothing else of the store.
            if let user = sandbox.user {
                for path in [workplace, workplace + "/" + Converter.source] {
                    guard lchown(path, user.user, user.group) == 0 else { throw OpenFile.failure(path) }
                }
            }
        }
        try await Converter(format: format, folder: workplace, virtualSize: virtualSize)
            .run(in: sandbox, progress: progress)
        return workplace + "/" + Converter.target
    }

    private static func inspect(_ path: String, declared: ImageFormat?) throws(ImageError) -> InspectedImage {
        let file = try OpenFile(path: path, flags: O_RDONLY)
        let size = try file.size()
        do {
            let reader = { (offset: Int64, count: Int) in try file.read(at: offset, count: count) }
            let inspected = try ImageInspector.inspect(reader: reader, declared: declared, fileBytes: size)
            try ImageExtents.check(reader: reader, inspected, fileBytes: size)
            return inspected
        } catch {
            throw .refused(error)
        }
    }

    private func pack(
        _ image: ImageID, raw: String, inspected: InspectedImage, cancellation: Cancellation,
        progress: @escaping @Sendable (Int) -> Void
    ) throws(ImageError) -> StoredImage {
        // The converter owns its folder: a link or a pipe there would have this process read what that one may not.
        let file = try OpenFile(path: raw, flags: O_RDONLY | O_NONBLOCK)
        guard try file.isPlain() else { throw .file(path: raw, reason: "the converter left no plain file") }
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
    /// - Parameters:
    ///   - accepted: images whose whole upload was on the disk, and whose import did not end.
    ///   - arriving: images whose file had begun to arrive.
    /// - Returns: those of either whose file is still there; it can be inspected and imported again, or continued.
    @discardableResult
    public func recover(
        keeping: Set<ImageID>, accepted: Set<ImageID> = [], arriving: Set<ImageID> = []
    ) -> (accepted: Set<ImageID>, arriving: Set<ImageID>) {
        let hasUpload = { (image: ImageID) in access(self.staging(image, "upload"), F_OK) == 0 }
        let (accepted, arriving) = (accepted.filter(hasUpload), arriving.filter(hasUpload))
        let kept = Set(accepted.union(arriving).map { "\($0).upload" })
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
        state.withLock { state in
            for image in accepted { state.work[image] = .uploaded }
            for image in arriving { state.work[image] = .uploading }
        }
        return (accepted, arriving)
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
