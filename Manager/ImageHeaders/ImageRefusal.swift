import ProtocolModel

/// Why an uploaded file is not taken as an image.
public struct ImageRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// Stable: stands in problem documents, logs and tests.
    public enum Code: String, Sendable, Hashable, CaseIterable {
        case empty = "image_empty"
        case truncated = "image_truncated"
        case malformed = "image_malformed"
        case backingFile = "image_backing_file"
        case externalDataFile = "image_external_data_file"
        case externalExtent = "image_external_extent"
        case encrypted = "image_encrypted"
        case tooLarge = "image_too_large"
        case unsupportedVersion = "image_unsupported_version"
        case unsupportedFeature = "image_unsupported_feature"
        case unsupportedFormat = "image_unsupported_format"
        case formatUnknown = "image_format_unknown"
        case formatMismatch = "image_format_mismatch"
        case inspectionLimit = "image_inspection_limit"
    }

    public let code: Code
    /// What is wrong and what to do.
    public let sentence: String

    init(_ code: Code, _ sentence: String) {
        self.code = code
        self.sentence = sentence
    }

    public var description: String { sentence }

    static func backingFile(_ format: String) -> Self {
        Self(
            .backingFile,
            "the \(format) image names a backing file, which could be any file of the manager's host; flatten it first "
                + "('qemu-img convert -O qcow2 IN OUT')")
    }

    static func tooLarge(_ bytes: UInt64) -> Self {
        Self(
            .tooLarge,
            "the image claims a virtual size of \(bytes) bytes; at most \(Limits.imageBytes) bytes are accepted")
    }

    static func truncated(_ what: String) -> Self {
        Self(.truncated, "the file ends before \(what); upload it again, or check the copy that you have")
    }

    static func malformed(_ what: String) -> Self {
        Self(.malformed, "the image's header makes no sense: \(what)")
    }
}
