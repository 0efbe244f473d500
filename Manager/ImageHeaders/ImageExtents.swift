import ProtocolModel

/// Whether all data that an image's tables point to are in the file. A converter reads zeros where a file that was cut ends,
/// and says nothing.
///
/// Reads the tables alone, each once: for each TiB of an image with usual clusters 128 MiB.
public enum ImageExtents {
    /// - Parameters:
    ///   - reader: Answers up to `count` bytes of the file at `offset`.
    ///   - inspected: What `ImageInspector` found out about the same file.
    public static func check(
        reader: @escaping (_ offset: Int64, _ count: Int) throws -> [UInt8], _ inspected: InspectedImage,
        fileBytes: Int64
    ) throws(ImageRefusal) {
        var header = HeaderReader(fileBytes: fileBytes, budget: .max, source: reader)
        switch inspected.format {
        case .qcow2: try checkQcow(&header)
        case .vmdk: try checkVMDK(&header)
        // Their size or their end was checked with the header.
        case .raw, .iso, .vhd, .vdi: break
        }
    }

    // MARK: qcow2

    private static let offsetMask: UInt64 = 0x00FF_FFFF_FFFF_FE00
    private static let compressed: UInt64 = 1 << 62
    private static let zero: UInt64 = 1

    private static func checkQcow(_ header: inout HeaderReader) throws(ImageRefusal) {
        let fixed = try header.bytes(at: 0, count: 72, what: "the end of the qcow2 header")
        let version = fixed.big32(4)
        let features = version == 3 ? try header.bytes(at: 72, count: 8, what: "the qcow2 header").big64(0) : 0
        let (bits, width) = (UInt64(fixed.big32(20)), features & 0b10000 != 0 ? 16 : 8)
        let clusterBytes = 1 << Int(bits)
        let bytesPerTable = UInt64(clusterBytes) * UInt64(clusterBytes / width)
        let tables = Int((fixed.big64(24) + bytesPerTable - 1) / bytesPerTable)
        var seen: Set<UInt64> = []
        // In pieces, since the first-level table may have 32 MiB.
        for first in stride(from: 0, to: tables, by: 4096) {
            let count = min(4096, tables - first)
            let entries = try header.bytes(
                at: fixed.big64(40) + UInt64(first * 8), count: count * 8,
                what: "the end of the qcow2 first-level table")
            for index in 0..<count {
                let place = entries.big64(index * 8) & offsetMask
                guard place != 0, seen.insert(place).inserted else { continue }
                guard header.contains(offset: place, count: 8) else {
                    throw .truncated("the second-level table at \(place)")
                }
                let table = try header.bytesAvailable(at: place, count: clusterBytes)
                try checkTable(table, width: width, version: version, clusterBits: bits, header)
            }
        }
    }

    /// Written out plainly: it looks at each cluster of the image.
    private static func checkTable(
        _ table: HeaderBytes, width: Int, version: UInt32, clusterBits: UInt64, _ header: HeaderReader
    ) throws(ImageRefusal) {
        let size = UInt64(max(0, header.fileBytes))
        let place = (UInt64(1) << (62 - (clusterBits - 8))) - 1
        let beyond = table.bytes.withUnsafeBytes { bytes -> UInt64? in
            for start in stride(from: 0, to: bytes.count - width + 1, by: width) {
                let entry = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: start, as: UInt64.self))
                if entry == 0 { continue }
                if entry & compressed != 0 {
                    if entry & place >= size { return entry & place }
                    continue
                }
                let offset = entry & offsetMask
                if offset < size { continue }
                // Clusters that read as zeros may have a place that nothing was ever written to.
                if width == 8, version == 3, entry & zero != 0 { continue }
                if width == 16 {
                    let parts = UInt64(
                        bigEndian: bytes.loadUnaligned(fromByteOffset: start + 8, as: UInt64.self))
                    if parts & 0xFFFF_FFFF == 0 { continue }
                }
                return offset
            }
            return nil
        }
        if let beyond { throw .truncated("its data at \(beyond)") }
    }

    // MARK: VMDK

    private static func checkVMDK(_ header: inout HeaderReader) throws(ImageRefusal) {
        var fixed = try header.bytes(at: 0, count: 512, what: "the end of the VMDK header")
        if fixed.little64(56) == .max {
            fixed = try header.bytes(at: UInt64(header.fileBytes) - 1024, count: 512, what: "the VMDK footer")
        }
        let sectors = UInt64(max(0, header.fileBytes)) / 512
        let (grain, entries) = (fixed.little64(20), UInt64(fixed.little32(44)))
        let tables = Int((fixed.little64(12) + grain * entries - 1) / (grain * entries))
        var seen: Set<UInt32> = []
        for first in stride(from: 0, to: tables, by: 4096) {
            let count = min(4096, tables - first)
            let directory = try header.bytes(
                at: fixed.little64(56) * 512 + UInt64(first * 4), count: count * 4,
                what: "the end of the VMDK grain directory")
            for index in 0..<count {
                let place = directory.little32(index * 4)
                guard place > 1, seen.insert(place).inserted else { continue }
                let table = try header.bytes(
                    at: UInt64(place) * 512, count: Int(entries) * 4, what: "the end of a VMDK grain table")
                for entry in 0..<Int(entries) where UInt64(table.little32(entry * 4)) >= max(2, sectors) {
                    throw .truncated("its data at sector \(table.little32(entry * 4))")
                }
            }
        }
    }
}
