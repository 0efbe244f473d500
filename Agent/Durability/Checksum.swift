/// CRC-32C (Castagnoli, RFC 3720 appendix B.4): finds torn and rotten records. No protection against forgery.
public struct Checksum: Sendable {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? 0x82F6_3B78 ^ (value >> 1) : value >> 1 }
    }

    public static func crc32c(_ bytes: some Sequence<UInt8>) -> UInt32 {
        // Behind one call, since a walk over bytes of an unknown type is a call for each of them.
        bytes.withContiguousStorageIfAvailable { crc32c(of: $0) }
            ?? Array(bytes).withUnsafeBufferPointer { crc32c(of: $0) }
    }

    private static func crc32c(of bytes: UnsafeBufferPointer<UInt8>) -> UInt32 {
        ~bytes.reduce(~UInt32(0)) { value, byte in table[Int((value ^ UInt32(byte)) & 0xFF)] ^ (value >> 8) }
    }
}

extension FixedWidthInteger {
    /// Little-endian bytes, as they stand in our files.
    public var littleEndianBytes: [UInt8] { withUnsafeBytes(of: littleEndian) { Array($0) } }

    /// Reads little-endian bytes; `nil` where the count is wrong.
    public init?(littleEndianBytes bytes: some Collection<UInt8>) {
        guard bytes.count == Self.bitWidth / 8 else { return nil }
        self = bytes.reversed().reduce(0) { $0 << 8 | Self($1) }
    }
}
