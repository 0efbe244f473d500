public import ManagerModel
public import NIOCore
public import ProtocolModel

/// Where an uploaded image file goes. The record says already that the image is being saved (`Commands.beginUpload`),
/// and is told by the caller how the upload goes; what comes after `finish` the sink records itself.
public protocol ImageUploadSink: Sendable {
    /// Opens a file for the image, or the one that was begun.
    ///
    /// - Parameters:
    ///   - offset: where the sender goes on; 0 begins anew.
    ///   - expectedBytes: the size of the whole file, where it is known.
    /// - Throws: `Refusal`, such as `storageFull`; `UploadMisplaced` where the file ends elsewhere.
    func open(_ image: Image, at offset: Int64, expectedBytes: Int64?) async throws -> any ImageUpload
    /// How many bytes of the image's file are here; `nil` where none was begun.
    func received(_ image: ImageID) async throws -> Int64?
    /// Removes what has come of a file that is not wanted any more.
    func discard(_ image: ImageID) async
    /// An image is to be fetched; the record says which, and from where.
    func fetchSoon()
}

/// The sender goes on at another place than where the file ends.
public struct UploadMisplaced: Error, Equatable {
    public var expected: Int64

    public init(expected: Int64) { self.expected = expected }
}

/// One connection that sends a file. At most one of `finish` and `cancel` is called, once, after which it is used no more;
/// where neither is, what has come stays, and may be gone on with.
public protocol ImageUpload: Sendable {
    /// Takes the next bytes; returns when more may come, so that a slow disk slows the sender.
    ///
    /// - Throws: `Refusal`. Nothing of the file is left then, but where another has taken the upload over (`conflict`).
    func append(_ bytes: ByteBuffer) async throws
    /// The file is complete: inspects it, and starts its conversion, which goes on after this returns.
    ///
    /// - Throws: `Refusal` `imageRejected` where the file is refused; nothing of it is left then.
    func finish() async throws
    /// Leaves nothing behind.
    func cancel() async
}
