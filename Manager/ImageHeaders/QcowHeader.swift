import ProtocolModel

/// qcow2, versions 2 and 3 (QEMU's docs/interop/qcow2.txt).
enum QcowHeader {
    private static let knownIncompatible: UInt64 = 0b11111

    /// The virtual size, once nothing in the header points outside of the file.
    static func check(_ header: inout HeaderReader) throws(ImageRefusal) -> UInt64 {
        let fixed = try header.bytes(at: 0, count: 72, what: "the end of the qcow2 header")
        let version = fixed.big32(4)
        guard version == 2 || version == 3 else {
            throw ImageRefusal(.unsupportedVersion, "qcow version \(version) is not supported; convert it to qcow2")
        }
        guard fixed.big64(8) == 0, fixed.big32(16) == 0 else { throw .backingFile("qcow2") }
        guard fixed.big32(32) == 0 else {
            throw ImageRefusal(.encrypted, "the qcow2 image is encrypted; images must not be encrypted")
        }
        let clusterBits = fixed.big32(20)
        guard (9...21).contains(clusterBits) else { throw .malformed("a cluster size of 2^\(clusterBits) bytes") }
        let size = fixed.big64(24)
        guard size <= UInt64(Limits.imageBytes) else { throw .tooLarge(size) }
        var extended = false
        if version == 3 { extended = try checkVersion3(&header, clusterBytes: 1 << UInt64(clusterBits)) }
        try checkExtensions(&header, version: version, clusterBytes: 1 << Int(clusterBits))
        try checkTables(fixed, in: &header, size: size, clusterBits: UInt64(clusterBits), extendedEntries: extended)
        return size
    }

    /// Feature bits; answers whether second-level entries have 16 bytes.
    private static func checkVersion3(_ header: inout HeaderReader, clusterBytes: UInt64) throws(ImageRefusal) -> Bool {
        let more = try header.bytes(at: 72, count: 32, what: "the end of the qcow2 header")
        let incompatible = more.big64(0)
        guard incompatible & 0b100 == 0 else {
            throw ImageRefusal(
                .externalDataFile,
                "the qcow2 image keeps its data in another file, which could be any file of the manager's host; "
                    + "convert it to one file first")
        }
        guard incompatible & 0b10 == 0 else {
            throw .malformed("the image is marked as corrupt; repair it first ('qemu-img check -r all')")
        }
        guard incompatible & ~knownIncompatible == 0 else {
            throw ImageRefusal(
                .unsupportedFeature,
                "the qcow2 image uses features that are not known here (bits 0x\(String(incompatible, radix: 16)))")
        }
        guard more.big32(24) <= 6 else { throw .malformed("reference counts of 2^\(more.big32(24)) bits") }
        let length = more.big32(28)
        guard length >= 104, length % 8 == 0, UInt64(length) <= clusterBytes else {
            throw .malformed("a header of \(length) bytes")
        }
        if length > 104 {
            let compression = try header.bytes(at: 104, count: 1, what: "the end of the qcow2 header").byte(0)
            guard compression <= 1 else {
                throw ImageRefusal(.unsupportedFeature, "the qcow2 image is compressed in a way that is not known here")
            }
        }
        return incompatible & 0b10000 != 0
    }

    /// Walks the header extensions: those that name another file or hold keys are refused.
    private static func checkExtensions(
        _ header: inout HeaderReader, version: UInt32, clusterBytes: Int
    ) throws(ImageRefusal) {
        var offset: UInt64 = 72
        if version == 3 {
            offset = UInt64(try header.bytes(at: 100, count: 4, what: "the end of the qcow2 header").big32(0))
        }
        for _ in 0..<64 {
            // A version 2 file of an old writer may have nothing behind its header.
            guard header.contains(offset: offset, count: 8), offset + 8 <= UInt64(clusterBytes) else { return }
            let entry = try header.bytes(at: offset, count: 8, what: "a header extension")
            let kind = entry.big32(0)
            let length = UInt64(entry.big32(4))
            switch kind {
            case 0: return
            case 0xE279_2ACA: throw .backingFile("qcow2")
            case 0x4441_5441:
                throw ImageRefusal(
                    .externalDataFile, "the qcow2 image names an external data file; convert it to one file first")
            case 0x0537_BE77:
                throw ImageRefusal(.encrypted, "the qcow2 image is encrypted; images must not be encrypted")
            default: break
            }
            guard offset + 8 + length <= UInt64(clusterBytes) else {
                throw .malformed("a header extension of \(length) bytes")
            }
            offset += 8 + (length + 7) / 8 * 8
        }
        throw .malformed("more header extensions than any writer makes")
    }

    /// The tables that the header points to lie within the file and fit the virtual size.
    private static func checkTables(
        _ fixed: HeaderBytes, in header: inout HeaderReader, size: UInt64, clusterBits: UInt64, extendedEntries: Bool
    ) throws(ImageRefusal) {
        let clusterBytes: UInt64 = 1 << clusterBits
        let tableEntries = UInt64(fixed.big32(36))
        let tableOffset = fixed.big64(40)
        let bytesPerEntry = clusterBytes * (clusterBytes / (extendedEntries ? 16 : 8))
        let needed = size / bytesPerEntry + (size % bytesPerEntry == 0 ? 0 : 1)
        guard tableEntries >= needed else {
            throw .malformed("a virtual size of \(size) bytes with a first-level table of \(tableEntries) entries")
        }
        guard tableEntries * 8 <= 32 << 20 else { throw .malformed("a first-level table of \(tableEntries) entries") }
        guard tableOffset % clusterBytes == 0 else { throw .malformed("a first-level table at \(tableOffset)") }
        guard header.contains(offset: tableOffset, count: tableEntries * 8) else {
            throw .truncated("the end of the qcow2 first-level table")
        }
        try checkFirstLevel(&header, at: tableOffset, entries: Int(min(tableEntries, needed)), clusterBytes)
        let countsOffset = fixed.big64(48)
        let countsClusters = UInt64(fixed.big32(56))
        guard countsClusters > 0, countsClusters * clusterBytes <= 8 << 20, countsOffset % clusterBytes == 0 else {
            throw .malformed("a reference count table of \(countsClusters) clusters")
        }
        guard header.contains(offset: countsOffset, count: countsClusters * clusterBytes) else {
            throw .truncated("the end of the qcow2 reference count table")
        }
        let snapshots = UInt64(fixed.big32(60))
        guard snapshots <= 65_536 else { throw .malformed("\(snapshots) snapshots") }
        if snapshots > 0, !header.contains(offset: fixed.big64(64), count: snapshots * 40) {
            throw .truncated("the end of the qcow2 snapshot table")
        }
    }

    /// Where the table is small enough to be read, each of its entries points to a place in the file. Images with usual
    /// clusters have one of 2 MiB for 128 TiB.
    private static func checkFirstLevel(
        _ header: inout HeaderReader, at offset: UInt64, entries: Int, _ clusterBytes: UInt64
    ) throws(ImageRefusal) {
        guard entries * 8 <= 1 << 20 else { return }
        let table = try header.bytes(at: offset, count: entries * 8, what: "the end of the qcow2 first-level table")
        for index in 0..<entries {
            let place = table.big64(index * 8) & 0x00FF_FFFF_FFFF_FE00
            guard place % clusterBytes == 0 else {
                throw .malformed("entry \(index) of the first-level table points to \(place)")
            }
            guard header.contains(offset: place, count: place == 0 ? 0 : 8) else {
                throw .truncated("the second-level table at \(place)")
            }
        }
    }
}
