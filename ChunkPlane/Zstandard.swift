import CZstd

/// Independent zstd frames (RFC 8878).
public enum Zstandard {
    /// For what somebody waits for: of a Debian image 330 MB a second and core, to 34 % of its data (an AMD EPYC).
    public static let promptLevel: Int32 = 3
    /// For what travels later, perhaps to hundreds of hosts: 75 MB a second and core, and a twentieth less than `promptLevel`.
    /// Receivers decode both equally fast.
    public static let thoroughLevel: Int32 = 9

    /// One frame, or `nil` where the frame would be longer than `limit` bytes.
    public static func compress(_ data: [UInt8], level: Int32 = promptLevel, limit: Int) -> [UInt8]? {
        ZstandardPacker(level: level).compress(data, limit: limit)
    }

    /// Decodes into exactly `byteCount` bytes; `nil` for anything else. Memory is bounded by the size asked for,
    /// whatever the frame's header claims.
    public static func decode(_ frame: [UInt8], exactly byteCount: Int) -> [UInt8]? {
        var data = [UInt8](unsafeUninitializedCapacity: byteCount) { _, count in count = byteCount }
        return ZstandardReader().decode(frame, into: &data) ? data : nil
    }
}

/// Makes one frame after another with the same tables; belongs to one thread at a time.
public struct ZstandardPacker: ~Copyable {
    private let context: OpaquePointer
    private let level: Int32

    public init(level: Int32 = Zstandard.promptLevel) {
        guard let context = ZSTD_createCCtx() else { preconditionFailure("there is memory for a packer") }
        self.context = context
        self.level = level
    }

    /// One frame, or `nil` where the frame would be longer than `limit` bytes.
    public func compress(_ data: [UInt8], limit: Int) -> [UInt8]? {
        guard limit > 0 else { return nil }
        let frame = [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            let written = ZSTD_compressCCtx(context, buffer.baseAddress, limit, data, data.count, level)
            count = ZSTD_isError(written) == 0 ? written : 0
        }
        return frame.isEmpty ? nil : frame
    }

    deinit { ZSTD_freeCCtx(context) }
}

/// Decodes one frame after another with the same tables; belongs to one thread at a time.
struct ZstandardReader: ~Copyable {
    private let context: OpaquePointer

    init() {
        guard let context = ZSTD_createDCtx() else { preconditionFailure("there is memory for a decoder") }
        self.context = context
    }

    /// Fills `data` from the frame; false where the frame does not hold exactly that many bytes.
    func decode(_ frame: [UInt8], into data: inout [UInt8]) -> Bool {
        let count = data.count
        return data.withUnsafeMutableBytes { buffer in
            let written = ZSTD_decompressDCtx(context, buffer.baseAddress, count, frame, frame.count)
            return ZSTD_isError(written) == 0 && written == count
        }
    }

    deinit { ZSTD_freeDCtx(context) }
}
