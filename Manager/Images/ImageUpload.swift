import Crypto
import Foundation
import Glibc
import ProcessFiles
public import ProtocolModel
import Synchronization

/// What an upload amounted to.
public struct UploadSummary: Hashable, Sendable {
    public let sha256: ContentDigest
    public let byteCount: Int64
}

/// A file on its way into the store: hashed while it is written, kept when its sender goes away, and continued by whoever
/// comes back, also after a restart.
///
/// One writer at a time: each that attaches puts out the one before it, whose connection may be dead without anybody
/// having noticed.
public actor UploadHandle {
    public nonisolated let image: ImageID
    private let store: ImageStore
    private let path: String
    private let limitBytes: Int64
    private var file: OpenFile?
    private var hasher: SHA256
    private var position: Int64
    private var writer = 0
    private var isWriting = false
    private var waiting: [CheckedContinuation<Void, Never>] = []
    private var checkedSpaceAt: Int64 = 0
    /// Bytes between two looks at the disk's free space.
    private static let spaceInterval: Int64 = 16 << 20

    init(
        image: ImageID, store: ImageStore, path: String, file: OpenFile, hasher: SHA256, position: Int64,
        limitBytes: Int64
    ) {
        self.image = image
        self.store = store
        self.path = path
        self.file = file
        self.hasher = hasher
        self.position = position
        self.limitBytes = limitBytes
    }

    /// Bytes that have arrived.
    public var byteCount: Int64 { position }

    /// Becomes the writer, from where the file ends so far.
    ///
    /// - Parameter offset: where the sender means to go on.
    /// - Throws: `ImageError.uploadOffset` where that is another place; the present writer stays.
    public func attach(at offset: Int64) throws(ImageError) -> UploadWriter {
        guard file != nil else { throw .uploadClosed }
        guard offset == position else { throw .uploadOffset(expected: position) }
        writer += 1
        return UploadWriter(handle: self, number: writer)
    }

    /// Refuses a file that cannot fit, before it comes.
    public func checkRoom(for bytes: Int64) throws(ImageError) {
        guard bytes <= limitBytes else { throw .uploadTooLarge(limitBytes: limitBytes) }
        guard Files.hasSpace(path, for: bytes - position) else { throw .diskFull(path: path) }
    }

    /// Writes on a thread of the store. A failure ends the upload and removes what was written.
    fileprivate func append(_ bytes: [UInt8], by number: Int) async throws(ImageError) {
        while isWriting { await withCheckedContinuation { waiting.append($0) } }
        let file = try current(number)
        let offset = position
        guard offset <= limitBytes - Int64(bytes.count) else {
            abandon()
            throw .uploadTooLarge(limitBytes: limitBytes)
        }
        position += Int64(bytes.count)
        hasher.update(data: bytes)
        isWriting = true
        defer {
            isWriting = false
            for waiter in waiting { waiter.resume() }
            waiting = []
        }
        let looksAtSpace = position - checkedSpaceAt >= Self.spaceInterval
        let (written, arrived) = (checkedSpaceAt, position)
        if looksAtSpace { checkedSpaceAt = position }
        let path = path
        do {
            try await store.onThread { () throws(ImageError) in
                if looksAtSpace, !Files.hasSpace(path) { throw .diskFull(path: path) }
                try file.write(bytes, at: offset)
                if looksAtSpace { file.beginWriting(from: written, count: arrived - written) }
            }
        } catch {
            abandon()
            throw error
        }
    }

    /// Has all on the disk and answers digest and size; then the upload can be inspected.
    fileprivate func finish(by number: Int) async throws(ImageError) -> UploadSummary {
        let file = try current(number)
        do {
            try await store.onThread { () throws(ImageError) in try file.synchronise() }
        } catch {
            abandon()
            throw error
        }
        _ = try current(number)
        guard let digest = ContentDigest(bytes: hasher.finalize()) else { throw .uploadClosed }
        self.file = nil
        guard store.finished(self) else { throw .uploadSuperseded }
        return UploadSummary(sha256: digest, byteCount: position)
    }

    /// Forgets what has arrived, to begin again: a server that cannot go on sends all anew.
    fileprivate func restart(by number: Int) async throws(ImageError) {
        let file = try current(number)
        try await store.onThread { () throws(ImageError) in try file.truncate(to: 0) }
        position = 0
        checkedSpaceAt = 0
        hasher = SHA256()
    }

    private func current(_ number: Int) throws(ImageError) -> OpenFile {
        guard let file else { throw .uploadClosed }
        guard number == writer else { throw .uploadSuperseded }
        return file
    }

    fileprivate func cancel(by number: Int) { if number == writer { abandon() } }

    /// Removes what was written; harmless when the upload ended before.
    func abandon() {
        guard file != nil else { return }
        file = nil
        // Where another has begun meanwhile, the file is that one's.
        if store.abandoned(self) { Files.remove(path) }
    }
}

/// The right to write to an upload, until another takes it.
public struct UploadWriter: Sendable {
    public let handle: UploadHandle
    fileprivate let number: Int

    /// - Throws: `ImageError`. What was written before is gone then, unless another writer took over.
    public func append(_ bytes: [UInt8]) async throws(ImageError) { try await handle.append(bytes, by: number) }
    public func finish() async throws(ImageError) -> UploadSummary { try await handle.finish(by: number) }
    public func restart() async throws(ImageError) { try await handle.restart(by: number) }
    /// Removes what has arrived. To leave it for later, simply stop writing.
    public func cancel() async { await handle.cancel(by: number) }
}
