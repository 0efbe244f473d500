/// Reads pieces of an untrusted file: never beyond its end, never more than a budget in all.
struct HeaderReader {
    /// Enough for every header and descriptor that is looked at, and little enough to read from anybody.
    static let budgetBytes = 2 << 20

    let fileBytes: Int64
    private let source: (Int64, Int) throws -> [UInt8]
    private var budget: Int

    init(
        fileBytes: Int64, budget: Int = Self.budgetBytes, source: @escaping (Int64, Int) throws -> [UInt8]
    ) {
        self.fileBytes = fileBytes
        self.budget = budget
        self.source = source
    }

    /// Exactly `count` bytes at `offset`; `what` names them in a refusal.
    mutating func bytes(at offset: UInt64, count: Int, what: String) throws(ImageRefusal) -> HeaderBytes {
        guard count >= 0, offset <= UInt64(max(0, fileBytes)), UInt64(count) <= UInt64(max(0, fileBytes)) - offset
        else { throw .truncated(what) }
        guard count <= budget else {
            throw ImageRefusal(.inspectionLimit, "more of the file than usual would have to be read to check \(what)")
        }
        budget -= count
        let bytes: [UInt8]
        do {
            bytes = try source(Int64(offset), count)
        } catch {
            throw ImageRefusal(.truncated, "\(what) could not be read: \(error)")
        }
        guard bytes.count == count else { throw .truncated(what) }
        return HeaderBytes(bytes: bytes)
    }

    /// Up to `count` bytes at `offset`; fewer at the end of the file, none beyond it.
    mutating func bytesAvailable(at offset: UInt64, count: Int) throws(ImageRefusal) -> HeaderBytes {
        guard offset < UInt64(max(0, fileBytes)) else { return HeaderBytes(bytes: []) }
        let available = Int(min(UInt64(count), UInt64(fileBytes) - offset))
        return try bytes(at: offset, count: available, what: "the header")
    }

    /// Whether `count` bytes at `offset` lie within the file.
    func contains(offset: UInt64, count: UInt64) -> Bool {
        let size = UInt64(max(0, fileBytes))
        return offset <= size && count <= size - offset
    }
}

/// A piece of a header, read by number type. Offsets are constants of ours within a size that was checked; one outside
/// reads as zero rather than trap.
package struct HeaderBytes {
    package let bytes: [UInt8]

    package init(bytes: [UInt8]) { self.bytes = bytes }

    package var count: Int { bytes.count }

    package func big32(_ offset: Int) -> UInt32 { UInt32(truncatingIfNeeded: big(offset, 4)) }
    package func big64(_ offset: Int) -> UInt64 { big(offset, 8) }
    package func little16(_ offset: Int) -> UInt16 { UInt16(truncatingIfNeeded: little(offset, 2)) }
    package func little32(_ offset: Int) -> UInt32 { UInt32(truncatingIfNeeded: little(offset, 4)) }
    package func little64(_ offset: Int) -> UInt64 { little(offset, 8) }

    package func byte(_ offset: Int) -> UInt8 { offset >= 0 && offset < bytes.count ? bytes[offset] : 0 }

    package func slice(_ offset: Int, _ count: Int) -> ArraySlice<UInt8> {
        guard offset >= 0, count >= 0, offset <= bytes.count else { return [] }
        return bytes[offset..<min(bytes.count, offset + count)]
    }

    package func has(_ text: String, at offset: Int = 0) -> Bool {
        slice(offset, text.utf8.count).elementsEqual(text.utf8)
    }

    package func has(_ magic: [UInt8], at offset: Int = 0) -> Bool { slice(offset, magic.count).elementsEqual(magic) }

    private func big(_ offset: Int, _ count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 << 8 | UInt64(byte(offset + $1)) }
    }

    private func little(_ offset: Int, _ count: Int) -> UInt64 {
        (0..<count).reversed().reduce(0) { $0 << 8 | UInt64(byte(offset + $1)) }
    }
}
