import CZstd

/// Independent zstd frames (RFC 8878): the only use of the library.
public enum Zstandard {
    /// The level that images are packed with; measured to keep up with a disk on one or two cores.
    public static let packingLevel: Int32 = 3

    /// One frame, or `nil` where the frame would be longer than `limit` bytes.
    public static func compress(_ data: [UInt8], level: Int32 = packingLevel, limit: Int) -> [UInt8]? {
        guard limit > 0 else { return nil }
        let frame = [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            let written = ZSTD_compress(buffer.baseAddress, limit, data, data.count, level)
            count = ZSTD_isError(written) == 0 ? written : 0
        }
        return frame.isEmpty ? nil : frame
    }

    /// Decodes into exactly `byteCount` bytes; `nil` for anything else. Memory is bounded by the size asked for,
    /// whatever the frame's header claims.
    public static func decode(_ frame: [UInt8], exactly byteCount: Int) -> [UInt8]? {
        let data = [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
            let written = ZSTD_decompress(buffer.baseAddress, byteCount, frame, frame.count)
            count = ZSTD_isError(written) == 0 ? written : 0
        }
        return data.count == byteCount ? data : nil
    }
}
