import Crypto
import Foundation
import Glibc
public import ProtocolModel
import Synchronization

/// What an upload amounted to.
public struct UploadSummary: Hashable, Sendable {
    public let sha256: ContentDigest
    public let byteCount: Int64
}

/// A file on its way into the store: hashed while it is written. One writer at a time, as an upload comes.
public actor UploadHandle {
    public nonisolated let image: ImageID
    private let store: ImageStore
    private let path: String
    private var file: OpenFile?
    private var hasher = SHA256()
    private var position: Int64 = 0
    private let limitBytes: Int64

    init(image: ImageID, store: ImageStore, path: String, limitBytes: Int64) throws(ImageError) {
        self.image = image
        self.store = store
        self.path = path
        self.limitBytes = limitBytes
        self.file = try OpenFile(path: path, flags: O_WRONLY | O_CREAT | O_EXCL)
    }

    /// Writes on a thread of the store. Any failure ends the upload and removes what was written.
    public func append(_ bytes: [UInt8]) async throws(ImageError) {
        guard let file else { throw .uploadClosed }
        let offset = position
        guard offset <= limitBytes - Int64(bytes.count) else {
            abandon()
            throw .uploadTooLarge(limitBytes: limitBytes)
        }
        position += Int64(bytes.count)
        // Appends that overlap would be hashed in another order than written; the offset above keeps the file right,
        // and hashing before the first suspension keeps the digest right.
        hasher.update(data: bytes)
        do {
            try await store.onThread { () throws(ImageError) in try file.write(bytes, at: offset) }
        } catch {
            abandon()
            throw error
        }
    }

    /// Has all on the disk and answers digest and size; then the upload can be inspected.
    public func finish() async throws(ImageError) -> UploadSummary {
        guard let file else { throw .uploadClosed }
        do {
            try await store.onThread { () throws(ImageError) in try file.synchronise() }
        } catch {
            abandon()
            throw error
        }
        guard self.file != nil, let digest = ContentDigest(bytes: hasher.finalize()) else { throw .uploadClosed }
        self.file = nil
        store.uploadFinished(image)
        return UploadSummary(sha256: digest, byteCount: position)
    }

    /// Removes what was written; harmless when the upload ended before.
    public func cancel() { abandon() }

    private func abandon() {
        guard file != nil else { return }
        file = nil
        Files.remove(path)
        store.uploadAbandoned(image)
    }

    deinit {
        // An upload whose connection died without a word leaves nothing behind.
        if file != nil {
            Files.remove(path)
            store.uploadAbandoned(image)
        }
    }
}
