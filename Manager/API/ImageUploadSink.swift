public import ManagerModel
public import NIOCore

/// Where an uploaded image file goes. The record says already that the image is being saved (`Commands.beginUpload`),
/// and is told by the caller where the upload fails; what comes after `finish` the sink records itself.
public protocol ImageUploadSink: Sendable {
    /// Opens a file for the image.
    ///
    /// - Parameter expectedBytes: the size that the sender announced, if it did.
    /// - Throws: `Refusal`, such as `storageFull`.
    func begin(_ image: Image, expectedBytes: Int64?) async throws -> any ImageUpload
}

/// One upload. Exactly one of `finish` and `cancel` is called, once, after which it is used no more.
public protocol ImageUpload: Sendable {
    /// Takes the next bytes; returns when more may come, so that a slow disk slows the sender.
    func append(_ bytes: ByteBuffer) async throws
    /// The file is complete: inspects it, and starts its conversion, which goes on after this returns.
    ///
    /// - Throws: `Refusal` `imageRejected` where the file is refused; nothing of it is left then.
    func finish() async throws
    /// The sender went away or failed: leaves nothing behind.
    func cancel() async
}
