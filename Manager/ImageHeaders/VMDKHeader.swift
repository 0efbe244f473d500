import ProtocolModel

/// VMDK in one file: monolithicSparse and streamOptimized (VMware Virtual Disk Format 5.0).
enum VMDKHeader {
    private static let sector: UInt64 = 512
    private static let atEnd = UInt64.max

    static func check(_ header: inout HeaderReader) throws(ImageRefusal) -> UInt64 {
        let first = try header.bytes(at: 0, count: 512, what: "the end of the VMDK header")
        let capacity = try checkSparse(first, header)
        if first.little64(56) == atEnd {
            // streamOptimized: what counts is the copy of the header in front of the end marker.
            let size = UInt64(header.fileBytes)
            guard size >= 3 * sector else { throw .truncated("the VMDK footer") }
            let footer = try header.bytes(at: size - 2 * sector, count: 512, what: "the VMDK footer")
            guard footer.has("KDMV"), footer.little64(56) != atEnd else { throw .truncated("the VMDK footer") }
            guard try checkSparse(footer, header) == capacity else {
                throw .malformed("header and footer of the VMDK differ in size")
            }
        }
        try checkDescriptor(first, &header)
        return capacity * sector
    }

    /// Capacity in sectors.
    private static func checkSparse(_ bytes: HeaderBytes, _ header: HeaderReader) throws(ImageRefusal) -> UInt64 {
        let version = bytes.little32(4)
        guard (1...3).contains(version) else {
            throw ImageRefusal(.unsupportedVersion, "VMDK version \(version) is not supported; convert it to qcow2")
        }
        let capacity = bytes.little64(12)
        // With a capacity of 0 a converter follows the descriptor to other files.
        guard capacity > 0 else {
            throw ImageRefusal(.externalExtent, "the VMDK holds no data of its own; upload one monolithic VMDK")
        }
        guard capacity <= UInt64(Limits.imageBytes) / sector else {
            let (claimed, overflow) = capacity.multipliedReportingOverflow(by: sector)
            throw .tooLarge(overflow ? .max : claimed)
        }
        let grain = bytes.little64(20)
        guard grain > 0, grain & (grain - 1) == 0, grain >= 8, grain <= 2048 else {
            throw .malformed("grains of \(grain) sectors")
        }
        let entries = UInt64(bytes.little32(44))
        guard entries > 0, entries <= 4096 else { throw .malformed("grain tables of \(entries) entries") }
        guard bytes.little16(77) <= 1 else {
            throw ImageRefusal(.unsupportedFeature, "the VMDK is compressed in a way that is not known here")
        }
        let tables = (capacity + grain * entries - 1) / (grain * entries)
        guard tables * 4 <= 512 << 20 else { throw .malformed("a grain directory of \(tables) entries") }
        let directory = bytes.little64(56)
        if directory != atEnd {
            guard directory > 0, directory <= UInt64(header.fileBytes) / sector,
                header.contains(offset: directory * sector, count: tables * 4)
            else { throw .truncated("the end of the VMDK grain directory") }
        }
        return capacity
    }

    /// The embedded descriptor: one extent, of this very file, and no parent.
    private static func checkDescriptor(_ first: HeaderBytes, _ header: inout HeaderReader) throws(ImageRefusal) {
        let offset = first.little64(28)
        let sectors = first.little64(36)
        guard offset > 0, sectors > 0, sectors <= 128, offset <= UInt64(header.fileBytes) / sector else {
            throw ImageRefusal(
                .externalExtent, "the VMDK carries no descriptor of its own; upload one monolithic VMDK")
        }
        let bytes = try header.bytes(
            at: offset * sector, count: Int(sectors * sector), what: "the end of the VMDK descriptor")
        var extents = 0
        var type = ""
        for line in String(decoding: bytes.bytes.prefix { $0 != 0 }, as: UTF8.self).split(whereSeparator: \.isNewline) {
            let words = line.split { $0 == " " || $0 == "\t" }
            guard let word = words.first?.uppercased(), !word.hasPrefix("#") else { continue }
            if word == "RW" || word == "RDONLY" || word == "NOACCESS" {
                extents += 1
                try checkExtent(line)
                continue
            }
            let (key, value) = assignment(line)
            switch key {
            case "createtype": type = value.lowercased()
            case "parentfilenamehint": throw .backingFile("VMDK")
            case "parentcid" where value.lowercased() != "ffffffff": throw .backingFile("VMDK")
            case "changetrackpath":
                throw ImageRefusal(.externalExtent, "the VMDK names a change tracking file; upload one monolithic VMDK")
            default: break
            }
        }
        guard type == "monolithicsparse" || type == "streamoptimized" else {
            throw ImageRefusal(
                .externalExtent,
                "a VMDK of type '\(type)' keeps its data in other files; upload one monolithic VMDK"
            )
        }
        guard extents == 1 else {
            throw ImageRefusal(.externalExtent, "the VMDK names \(extents) extents; exactly one is accepted")
        }
    }

    /// `RW 8192 SPARSE "disk.vmdk"`: sparse, and a plain name.
    private static func checkExtent(_ line: Substring) throws(ImageRefusal) {
        let words = line.split(maxSplits: 3) { $0 == " " || $0 == "\t" }
        guard words.count == 4, UInt64(words[1]) != nil, words[2].uppercased() == "SPARSE" else {
            throw ImageRefusal(
                .externalExtent, "the VMDK names an extent that is not its own sparse data; upload one monolithic VMDK")
        }
        let name = words[3]
        let plain = name.utf8.filter { $0 == UInt8(ascii: "\"") }.count == 2 && name.hasPrefix("\"")
        guard plain, !name.contains("/"), !name.contains("\\"), !name.contains(".."), !name.contains(":") else {
            throw ImageRefusal(
                .externalExtent,
                "the VMDK's extent names a path, which could be any file of the host; upload one monolithic VMDK"
            )
        }
    }

    /// A line `key = "value"`, the key in lower case.
    private static func assignment(_ line: Substring) -> (key: String, value: String) {
        guard let equals = line.firstIndex(of: "=") else { return ("", "") }
        func trimmed(_ text: Substring) -> String {
            String(text.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
        }
        let value = trimmed(line[line.index(after: equals)...]).filter { $0 != "\"" }
        return (trimmed(line[..<equals]).lowercased(), value)
    }
}
