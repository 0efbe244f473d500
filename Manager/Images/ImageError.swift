public import ManagerImageHeaders
public import ProcessFiles
public import ProtocolModel

/// Why an image could not be taken in.
public enum ImageError: FileFailure, Equatable, Sendable, CustomStringConvertible {
    /// The file itself is the reason; nothing of it is left.
    case refused(ImageRefusal)
    case noUpload(String)
    case uploadExists(String)
    case uploadClosed
    /// The sender goes on at another place than where the file ends.
    case uploadOffset(expected: Int64)
    /// Another sends the file now.
    case uploadSuperseded
    case uploadTooLarge(limitBytes: Int64)
    case checksumMismatch(expected: ContentDigest, found: ContentDigest)
    case diskFull(path: String)
    case conversionFailed(String)
    case conversionTimedOut(seconds: Int64)
    case converterMissing(String)
    case cancelled
    case busy
    case file(path: String, reason: String)

    /// Stable: stands in problem documents and logs.
    public var code: String {
        switch self {
        case .refused(let refusal): refusal.code.rawValue
        case .noUpload: "image_upload_missing"
        case .uploadExists: "image_upload_exists"
        case .uploadClosed: "image_upload_closed"
        case .uploadOffset: "image_upload_offset"
        case .uploadSuperseded: "image_upload_superseded"
        case .uploadTooLarge: "image_too_large"
        case .checksumMismatch: "image_checksum_mismatch"
        case .diskFull: "image_store_full"
        case .conversionFailed: "image_conversion_failed"
        case .conversionTimedOut: "image_conversion_timeout"
        case .converterMissing: "image_converter_missing"
        case .cancelled: "image_cancelled"
        case .busy: "image_store_busy"
        case .file: "image_store_error"
        }
    }

    /// What is wrong and what to do.
    public var sentence: String {
        switch self {
        case .refused(let refusal): refusal.sentence
        case .noUpload(let image): "no finished upload of image \(image) is there; upload the file again"
        case .uploadExists(let image): "image \(image) is being uploaded already or is there"
        case .uploadClosed: "the upload was finished or cancelled before; begin a new one"
        case .uploadOffset(let expected):
            "\(expected) bytes of the file have arrived; go on from there (Upload-Offset: \(expected))"
        case .uploadSuperseded: "somebody else has begun to send this file; only one may"
        case .checksumMismatch(let expected, let found):
            "the file's SHA-256 is \(found), not \(expected) as announced; it was changed or damaged on its way"
        case .uploadTooLarge(let limit): "the file is larger than the \(limit) bytes that this site accepts"
        case .diskFull(let path): "the disk that holds \(path) is full; free space on the manager and try again"
        case .conversionFailed(let reason): "the image could not be converted to raw: \(reason)"
        case .conversionTimedOut(let seconds): "the conversion to raw was stopped after \(seconds) s"
        case .converterMissing(let program):
            "\(program) is not installed on the manager; install qemu-utils and util-linux"
        case .cancelled: "the import was cancelled"
        case .busy: "too many images are being worked on; try again later"
        case .file(let path, let reason): "\(path): \(reason)"
        }
    }

    public var description: String { sentence }
}
