import ChunkPlane
import Foundation
import Glibc
import Logging
public import ManagerImageHeaders
import ProcessFiles
public import ProtocolModel
import ProtocolTransfer
import Synchronization

/// Where an import is.
public struct ImportProgress: Hashable, Sendable {
    public enum Phase: String, Hashable, Sendable { case converting, hashing }
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
}

/// The two steps of an import: what the image is, which is all that its users wait for, and then its chunks' frames, made
/// while hosts get them already.
extension ImageStore {
    /// Converts an upload that was inspected, makes the raw image's manifest while it does, and serves it from then on. The
    /// upload stays until `discardUpload`, so that an import whose end was not recorded can be repeated; after a failure
    /// nothing stays, and after a cancellation, which stops it, the upload alone.
    ///
    /// - Parameter recorded: the manifest that the image had in an earlier life, in which it was not packed; it must have
    ///   the same one again, and a failure leaves its upload.
    public func register(
        _ image: ImageID, _ inspected: InspectedImage, as recorded: ContentDigest? = nil,
        progress: @escaping @Sendable (ImportProgress) -> Void = { _ in }
    ) async throws(ImageError) -> ImportedImage {
        guard advance(image, from: .inspected, to: .importing) else { throw .noUpload("\(image)") }
        do throws(ImageError) {
            let imported = try await Files.whileSpaceLasts(in: folder + "/staging") { () async throws(ImageError) in
                let (manifest, raw) = try await self.describe(image, inspected, progress: progress)
                try await self.onThread { () throws(ImageError) in
                    try self.publish(manifest, raw, as: recorded)
                }
                return ImportedImage(
                    format: inspected.format, virtualSize: manifest.sizeBytes, manifestDigest: manifest.digest,
                    chunkCount: manifest.chunkCount)
            }
            logger.info(
                "image imported",
                metadata: [
                    "image": "\(image)", "format": "\(imported.format.rawValue)",
                    "virtual_bytes": "\(imported.virtualSize)", "manifest": "\(imported.manifestDigest)",
                ])
            return imported
        } catch {
            if error == .cancelled || recorded != nil {
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

    /// Packs the chunks of a registered image, for good. After a failure the image is still served, and this may be called
    /// again; the upload is to be kept until then.
    ///
    /// - Returns: the bytes that its chunks take on the disk.
    @discardableResult
    public func pack(_ image: ImageID) async throws(ImageError) -> Int64 {
        guard case .packing(let packer)? = state.withLock({ $0.images[image] }) else { throw .noUpload("\(image)") }
        try await Files.whileSpaceLasts(in: folder + "/staging") { () async throws(ImageError) in
            let (cancellation, threads) = (Cancellation(), self.packingThreads)
            try await withTaskCancellationHandler {
                await self.caught { () throws(ImageError) in
                    try packer.run(threads: threads) { cancellation.isCancelled }
                }
            } onCancel: {
                cancellation.cancel()
            }.get()
        }
        let stored = try StoredImage(folder: published(image))
        let isThere = state.withLock { state in
            guard case .packing(let current)? = state.images[image], current === packer else { return false }
            state.images[image] = .packed(stored)
            state.unpacked.remove(image)
            return true
        }
        guard isThere else { throw .cancelled }
        logger.info("image packed", metadata: ["image": "\(image)", "stored_bytes": "\(stored.storedBytes)"])
        return stored.storedBytes
    }

    private func caught<Value: Sendable>(
        _ body: @escaping @Sendable () throws(ImageError) -> Value
    ) async -> Result<Value, ImageError> {
        do throws(ImageError) { return .success(try await onThread(body)) } catch { return .failure(error) }
    }

    /// The raw image of an upload, and its manifest.
    private func describe(
        _ image: ImageID, _ inspected: InspectedImage, progress: @escaping @Sendable (ImportProgress) -> Void
    ) async throws(ImageError) -> (Manifest, RawChunks) {
        guard let format = inspected.format.converterName else {
            let source = GrowingFile(
                whole: try OpenFile(path: staging(image, "upload"), flags: O_RDONLY | O_NONBLOCK))
            return try await digest(image, source, inspected) {
                progress(ImportProgress(phase: .hashing, percent: $0))
            }.get()
        }
        let workplace = try await workplace(for: image)
        let source = GrowingFile(
            path: workplace.path + "/" + Converter.target, showsHoles: try Files.showsHoles(in: workplace.path))
        let meter = ImportMeter(progress)
        let converter = Converter(format: format, folder: workplace.path, virtualSize: inspected.virtualSize)
        async let conversion = convert(converter, in: workplace.sandbox, source) { meter.converted($0) }
        let digested = await digest(image, source, inspected) { meter.digested($0) }
        // Whatever is left of the conversion is stopped where this one is left.
        if case .failure(let error) = digested, error != .cancelled { throw error }
        try await conversion.get()
        let (manifest, raw) = try digested.get()
        guard try raw.hasKeptSize else { throw .conversionFailed("the raw image grew after it was begun") }
        return (manifest, raw)
    }

    private func convert(
        _ converter: Converter, in sandbox: ConverterSandbox, _ target: GrowingFile,
        progress: @escaping @Sendable (Int) -> Void
    ) async -> Result<Void, ImageError> {
        do throws(ImageError) {
            try await converter.run(in: sandbox, progress: progress)
            target.end(isWhole: true)
            return .success(())
        } catch {
            target.end(isWhole: false)
            return .failure(error)
        }
    }

    /// A folder that the converter owns with what it works on, and reaches nothing else of the store.
    private func workplace(for image: ImageID) async throws(ImageError) -> (path: String, sandbox: ConverterSandbox) {
        let (upload, workplace) = (staging(image, "upload"), staging(image, "convert"))
        let sandbox = await sandbox()
        try await onThread { () throws(ImageError) in
            Files.remove(workplace)
            try Files.makeFolder(workplace)
            guard link(upload, workplace + "/" + Converter.source) == 0 else { throw .last(workplace) }
            if let user = sandbox.user {
                for path in [workplace, workplace + "/" + Converter.source] {
                    guard lchown(path, user.user, user.group) == 0 else { throw .last(path) }
                }
            }
        }
        return (workplace, sandbox)
    }

    private func sandbox() async -> ConverterSandbox {
        if let known = state.withLock({ $0.sandbox }) { return known }
        let sandbox = await ConverterSandbox.detect()
        if sandbox.isComplete {
            state.withLock { $0.sandbox = sandbox }
        } else {
            logger.warning("converting without the whole sandbox", metadata: ["reason": "\(sandbox.shortcoming)"])
        }
        return sandbox
    }

    private func digest(
        _ image: ImageID, _ source: GrowingFile, _ inspected: InspectedImage,
        progress: @escaping @Sendable (Int) -> Void
    ) async -> Result<(Manifest, RawChunks), ImageError> {
        let (cancellation, threads) = (Cancellation(), packingThreads)
        return await withTaskCancellationHandler {
            await caught { () throws(ImageError) in
                guard let (file, bytes) = try source.opened() else { throw .cancelled }
                // A converter may round a size up to whole cylinders; what it writes is the image.
                let size = inspected.format.converterName == nil ? inspected.virtualSize : max(512, bytes)
                let raw = RawChunks(file: file, fileBytes: bytes, sizeBytes: size)
                let digester = ChunkDigester(source: source, raw: raw, progress: progress) { cancellation.isCancelled }
                let digests = try digester.run(threads: threads)
                do throws(ManifestError) {
                    let manifest = try Manifest(
                        image: image, sizeBytes: raw.sizeBytes, chunkBytes: raw.chunkBytes, chunkDigests: digests)
                    return (manifest, raw)
                } catch {
                    throw .conversionFailed(error.description)
                }
            }
        } onCancel: {
            cancellation.cancel()
        }
    }

    /// Puts the manifest where a restart finds it, and serves the image.
    private func publish(
        _ manifest: Manifest, _ raw: RawChunks, as recorded: ContentDigest?
    ) throws(ImageError) {
        let image = manifest.image
        if let recorded {
            guard manifest.digest == recorded else {
                throw .conversionFailed("it has become another image than it was when it was registered")
            }
        } else {
            let target = staging(image, "image")
            Files.remove(target)
            try Files.makeFolder(target)
            try Files.write(manifest.serialised, to: target + "/" + Names.manifest)
            try Files.synchroniseFolder(target)
            try Files.publish(target, as: published(image))
        }
        let packer = try ChunkPacker(manifest: manifest, raw: raw, folder: published(image))
        state.withLock { state in
            state.images[image] = .packing(packer)
            state.unpacked.insert(image)
        }
    }
}

/// How far conversion and digests together are.
private final class ImportMeter: Sendable {
    private let done = Mutex((converted: 0, digested: 0))
    private let progress: @Sendable (ImportProgress) -> Void

    init(_ progress: @escaping @Sendable (ImportProgress) -> Void) {
        self.progress = progress
        progress(ImportProgress(phase: .converting, percent: 0))
    }

    func converted(_ percent: Int) { tell { $0.converted = max($0.converted, percent) } }
    func digested(_ percent: Int) { tell { $0.digested = max($0.digested, percent) } }

    private func tell(_ change: (inout (converted: Int, digested: Int)) -> Void) {
        // Told while it is held, so that the percents only grow.
        done.withLock { done in
            change(&done)
            let phase: ImportProgress.Phase = done.converted < 100 ? .converting : .hashing
            progress(ImportProgress(phase: phase, percent: (done.converted + done.digested) / 2))
        }
    }
}

/// Tells threads that the task that waits for them was cancelled.
private final class Cancellation: Sendable {
    private let flag = Mutex(false)
    var isCancelled: Bool { flag.withLock { $0 } }
    func cancel() { flag.withLock { $0 = true } }
}
