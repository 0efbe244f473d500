public import ChunkPlane
import Foundation
import Glibc
import ProcessFiles
public import ProtocolModel
import ProtocolTransfer
import Synchronization

extension ImageStore {
    /// Takes in an image whose chunks a node has: pulls them, packs them as an import does, and publishes the image. What came
    /// of one that was not finished is begun anew; after a failure nothing stays.
    ///
    /// Blocks, so it is for a thread of its own.
    ///
    /// - Parameters:
    ///   - connect: opens the connection to the node.
    ///   - progress: is told percents.
    /// - Throws: `CaptureError`: what is wrong with the node or the way there, or with the store.
    public func takeIn(
        _ image: ImageID, manifestDigest: ContentDigest, sizeBytes: Int64,
        connect: () throws(TransferError) -> ChunkClient, progress: (Int) -> Void
    ) throws(CaptureError) {
        // A crash may have come between this and the record's change.
        if self.manifestDigest(of: image) == manifestDigest { return }
        guard sizeBytes <= maximumImageBytes else { throw .store(.uploadTooLarge(limitBytes: maximumImageBytes)) }
        do {
            remove(image)
            let client = try transfer(connect)
            let manifest = try transfer { () throws(TransferError) in
                try client.manifest(of: image, digest: manifestDigest, sizeBytes: sizeBytes)
            }
            let packer = try store { () throws(ImageError) in
                try CapturePacker(manifest: manifest, folder: try workplace(image))
            }
            try pull(manifest, through: client, into: packer, progress)
            try store { () throws(ImageError) in
                try packer.finish()
                try publishWorkplace(of: image)
            }
        } catch {
            Files.remove(staging(image, "image"))
            throw error
        }
    }

    private func pull(
        _ manifest: Manifest, through client: ChunkClient, into packer: CapturePacker, _ progress: (Int) -> Void
    ) throws(CaptureError) {
        let indexes = (0..<manifest.chunkCount).filter { !manifest.isZero($0) }
        var (done, percent) = (0, 0)
        var failure: ImageError?
        do {
            try client.fetch(manifest, indexes: indexes) { chunk throws(TransferError) in
                do throws(ImageError) {
                    guard Files.hasSpace(packer.folder + "/", for: Int64(chunk.data.count)) else {
                        throw .diskFull(path: packer.folder)
                    }
                    try packer.add(chunk.index, chunk.data)
                } catch {
                    failure = error
                    throw .interrupted
                }
                done += 1
                guard done * 100 / indexes.count > percent else { return }
                percent = done * 100 / indexes.count
                progress(percent)
            }
        } catch {
            throw failure.map { .store($0) } ?? .transfer(error)
        }
    }

    /// Where the image is put together, until it is published; what is there is removed.
    private func workplace(_ image: ImageID) throws(ImageError) -> String {
        let workplace = staging(image, "image")
        Files.remove(workplace)
        try Files.makeFolder(workplace)
        return workplace
    }

    private func publishWorkplace(of image: ImageID) throws(ImageError) {
        try Files.publish(staging(image, "image"), as: published(image))
        let stored = try StoredImage(folder: published(image))
        state.withLock { $0.images[image] = .packed(stored) }
    }

    private func transfer<Value>(_ body: () throws(TransferError) -> Value) throws(CaptureError) -> Value {
        do { return try body() } catch { throw .transfer(error) }
    }

    private func store<Value>(_ body: () throws(ImageError) -> Value) throws(CaptureError) -> Value {
        do { return try body() } catch { throw .store(error) }
    }
}

/// Why the copy of a disk could not be taken in.
public enum CaptureError: Error, Equatable, Sendable {
    /// The node, or the way to it.
    case transfer(TransferError)
    case store(ImageError)
}

/// Packs chunks that come in order, each verified, under a manifest that is known. Belongs to one thread.
final class CapturePacker {
    let folder: String
    private let manifest: Manifest
    private let pack: OpenFile
    /// Somebody waits for the image until all of it is packed.
    private let frames = ZstandardPacker(level: Zstandard.promptLevel)
    private var index: PackIndex
    private var packBytes: Int64 = 0

    init(manifest: Manifest, folder: String) throws(ImageError) {
        self.manifest = manifest
        self.folder = folder
        pack = try OpenFile(path: folder + "/" + Names.pack, flags: O_WRONLY | O_CREAT | O_EXCL)
        index = PackIndex(count: manifest.chunkCount)
    }

    func add(_ number: Int, _ data: [UInt8]) throws(ImageError) {
        // As in an import: a frame that saves less than a tenth costs every receiver more time than it saves.
        let frame = frames.compress(data, limit: data.count * 9 / 10)
        let bytes = frame ?? data
        try pack.write(bytes, at: packBytes)
        index.entries[number] = PackedChunk(
            offset: packBytes, length: UInt32(bytes.count), encoding: frame == nil ? .raw : .zstd)
        packBytes += Int64(bytes.count)
    }

    /// Has all of it on the disk.
    func finish() throws(ImageError) {
        try pack.synchronise()
        try Files.write(index.serialised, to: folder + "/" + Names.index)
        try Files.write(manifest.serialised, to: folder + "/" + Names.manifest)
    }
}
