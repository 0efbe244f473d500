import ProtocolModel

/// VHD, fixed and dynamic (Microsoft Virtual Hard Disk Image Format Specification 1.0). All numbers are big endian.
enum VHDHeader {
    static func check(_ header: inout HeaderReader) throws(ImageRefusal) -> UInt64 {
        guard header.fileBytes >= 512 else { throw .truncated("the VHD footer") }
        let start = try header.bytes(at: 0, count: 512, what: "the VHD footer")
        if start.has("conectix") { return try checkDynamic(start, &header) }
        let end = try header.bytes(at: UInt64(header.fileBytes) - 512, count: 512, what: "the VHD footer")
        let size = try checkFooter(end)
        guard end.big32(60) == 2 else { throw .malformed("a VHD that is not fixed begins without its footer") }
        guard header.contains(offset: 0, count: size + 512) else { throw .truncated("the end of the VHD's data") }
        return size
    }

    private static func checkDynamic(_ footer: HeaderBytes, _ header: inout HeaderReader) throws(ImageRefusal) -> UInt64
    {
        let size = try checkFooter(footer)
        guard footer.big32(60) == 3 else { throw .malformed("a VHD of type \(footer.big32(60)) with a leading footer") }
        let details = try header.bytes(at: footer.big64(16), count: 1024, what: "the VHD's dynamic header")
        guard details.has("cxsparse") else { throw .malformed("the VHD's dynamic header has no signature") }
        try checkSum(details, field: 36, what: "dynamic header")
        guard details.slice(40, 16).allSatisfy({ $0 == 0 }), details.slice(64, 512).allSatisfy({ $0 == 0 }),
            details.slice(576, 192).allSatisfy({ $0 == 0 })
        else { throw .backingFile("VHD") }
        let entries = UInt64(details.big32(28))
        let block = UInt64(details.big32(32))
        guard block >= 4096, block <= 256 << 20, block & (block - 1) == 0 else {
            throw .malformed("blocks of \(block) bytes")
        }
        guard entries * block >= size else {
            throw .malformed("a virtual size of \(size) bytes with a table of \(entries) blocks")
        }
        guard header.contains(offset: details.big64(16), count: entries * 4) else {
            throw .truncated("the end of the VHD's block table")
        }
        try checkCopy(of: footer, &header)
        return size
    }

    /// Programs differ in which of the two footers they believe, so both say the same.
    private static func checkCopy(of footer: HeaderBytes, _ header: inout HeaderReader) throws(ImageRefusal) {
        let end = try header.bytes(at: UInt64(header.fileBytes) - 512, count: 512, what: "the VHD footer")
        guard end.has("conectix") else { throw .truncated("the VHD footer") }
        try checkSum(end, field: 64, what: "footer")
        guard end.big64(48) == footer.big64(48), end.big32(60) == footer.big32(60), end.big64(16) == footer.big64(16)
        else { throw .malformed("the two footers of the VHD differ") }
    }

    private static func checkFooter(_ footer: HeaderBytes) throws(ImageRefusal) -> UInt64 {
        try checkSum(footer, field: 64, what: "footer")
        guard footer.big32(12) >> 16 == 1 else {
            throw ImageRefusal(.unsupportedVersion, "VHD version \(footer.big32(12) >> 16) is not supported")
        }
        switch footer.big32(60) {
        case 2, 3: break
        case 4: throw .backingFile("VHD")
        default: throw ImageRefusal(.unsupportedFeature, "a VHD of type \(footer.big32(60)) is not supported")
        }
        let size = footer.big64(48)
        guard size <= UInt64(Limits.imageBytes) else { throw .tooLarge(size) }
        return size
    }

    /// The complement of the sum of all bytes but the field's own.
    private static func checkSum(_ bytes: HeaderBytes, field: Int, what: String) throws(ImageRefusal) {
        var sum: UInt32 = 0
        for (offset, byte) in bytes.bytes.enumerated() where !(field..<field + 4).contains(offset) {
            sum &+= UInt32(byte)
        }
        guard ~sum == bytes.big32(field) else { throw .malformed("the checksum of the VHD's \(what) is wrong") }
    }
}
