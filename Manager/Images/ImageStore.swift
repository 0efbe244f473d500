public import ChunkPlane
import Crypto
import Foundation
import Glibc
public import Logging
public import ManagerImageHeaders
import ProcessFiles
import ProcessThreads
public import ProtocolModel
import ProtocolTransfer
import Synchronization

/// The manager's images: uploads, their import, and the packed chunks that chains begin with.
///
///     <folder>/staging/<id>.upload      the file as it came, 0600, until it is imported
///     <folder>/staging/<id>.convert/    a conversion's folder: a second name of the upload, and the raw intermediate
///     <folder>/staging/<id>.image/      the manifest, before it is published
///     <folder>/<id>/                    registered: manifest, chunks.pack; and chunks.index once all is packed
///
/// An image is served once its manifest is on the disk, while its chunks are packed; the upload stays until they are, so that
/// a crash costs nothing but the work. Published by fsync and rename; of `staging`, a restart leaves only uploads: those that
/// still arrive, and whole ones whose import was accepted or whose image is not packed yet. Names are made of identifiers alone, so that nothing a user writes becomes part of a path (SEC-03).
public final class ImageStore: Sendable, ChunkSourceStore {
    enum Work { case uploading, uploaded, inspected, importing }
    enum Held {
        case packing(ChunkPacker)
        case packed(StoredImage)
    }

    struct State {
        var work: [ImageID: Work] = [:]
        /// Uploads that this process has open.
        var uploads: [ImageID: UploadHandle] = [:]
        var images: [ImageID: Held] = [:]
        /// Images that are registered, and not packed yet.
        var unpacked: Set<ImageID> = []
        /// Once it is known to be whole, it is not looked for anew.
        var sandbox: ConverterSandbox?
    }

    let folder: String
    let logger: Logger
    let maximumImageBytes: Int64
    let packingThreads: Int
    private let threads: BlockingThreads
    let state = Mutex(State())

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
    /// afterwards, but for one that was registered before.
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
            if isUnpacked(image) { state.withLock { $0.work[image] = .uploaded } } else { discardUpload(image) }
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

    func advance(_ image: ImageID, from old: Work, to new: Work) -> Bool {
        state.withLock { state in
            guard state.work[image] == old else { return false }
            state.work[image] = new
            return true
        }
    }

    // MARK: What is there

    /// Digest of a served image's manifest; `nil` where there is none.
    public func manifestDigest(of image: ImageID) -> ContentDigest? { held(image)?.manifest.digest }

    /// Images that are registered and not packed yet: `pack` does it.
    public var unpackedImages: Set<ImageID> { state.withLock { $0.unpacked } }

    func isUnpacked(_ image: ImageID) -> Bool { state.withLock { $0.unpacked.contains(image) } }

    /// Removes an image. Chunks under way are still sent.
    public func remove(_ image: ImageID) {
        let held = state.withLock { state in
            state.unpacked.remove(image)
            return state.images.removeValue(forKey: image)
        }
        if case .packing(let packer)? = held { packer.remove() }
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
    /// - Returns: those of either whose file is still there; it can be inspected and imported again, or continued. What is to
    ///   be kept and was not packed yet is among `unpackedImages`.
    @discardableResult
    public func recover(
        keeping: Set<ImageID>, accepted: Set<ImageID> = [], arriving: Set<ImageID> = []
    ) -> (accepted: Set<ImageID>, arriving: Set<ImageID>) {
        let hasUpload = { (image: ImageID) in access(self.staging(image, "upload"), F_OK) == 0 }
        let (accepted, arriving) = (accepted.filter(hasUpload), arriving.filter(hasUpload))
        let unpacked = keeping.filter { image in
            let folder = self.published(image)
            return hasUpload(image) && access(folder + "/" + Names.manifest, F_OK) == 0
                && access(folder + "/" + Names.index, F_OK) != 0
        }
        let kept = Set(accepted.union(arriving).union(unpacked).map { "\($0).upload" })
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
            state.unpacked = unpacked
            for image in accepted.union(unpacked) { state.work[image] = .uploaded }
            for image in arriving { state.work[image] = .uploading }
        }
        return (accepted, arriving)
    }

    // MARK: Serving

    public func manifest(of image: ImageID) -> ManifestReading {
        if let held = held(image) { return .manifest(held.manifest.serialised) }
        return isUnpacked(image) ? .notYet : .notHeld
    }

    public func chunk(
        _ index: Int, of image: ImageID, manifest: ContentDigest, waitingUpTo: Duration
    ) -> ChunkReading {
        guard let held = held(image) else { return isUnpacked(image) ? .notYet : .notHeld }
        guard held.manifest.digest == manifest else { return .manifestDiffers }
        guard index >= 0, index < held.manifest.chunkCount, !held.manifest.isZero(index) else { return .outOfRange }
        return switch held {
        case .packed(let stored): .chunk(stored.chunk(index))
        case .packing(let packer): packer.chunk(index, waitingUpTo: waitingUpTo)
        }
    }

    private func held(_ image: ImageID) -> Held? {
        if let held = state.withLock({ $0.images[image] }) { return held }
        guard !isUnpacked(image), access(published(image), F_OK) == 0 else { return nil }
        do {
            let stored = try StoredImage(folder: published(image))
            guard stored.manifest.image == image else { return nil }
            state.withLock { $0.images[image] = .packed(stored) }
            return .packed(stored)
        } catch {
            logger.error(
                "a stored image cannot be used", metadata: ["image": "\(image)", "reason": "\(error.sentence)"])
            return nil
        }
    }

    func published(_ image: ImageID) -> String { "\(folder)/\(image)" }
    func staging(_ image: ImageID, _ kind: String) -> String { "\(folder)/staging/\(image).\(kind)" }

    static func inspect(_ path: String, declared: ImageFormat?) throws(ImageError) -> InspectedImage {
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
}

extension ImageStore.Held {
    var manifest: Manifest {
        switch self {
        case .packing(let packer): packer.manifest
        case .packed(let stored): stored.manifest
        }
    }
}
