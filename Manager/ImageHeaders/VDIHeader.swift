import ProtocolModel

/// VirtualBox's VDI, version 1.1. All numbers are little endian.
enum VDIHeader {
    static let signature: UInt32 = 0xBEDA_107F

    static func check(_ header: inout HeaderReader) throws(ImageRefusal) -> UInt64 {
        let bytes = try header.bytes(at: 0, count: 512, what: "the end of the VDI header")
        guard bytes.little32(68) == 0x0001_0001 else {
            throw ImageRefusal(
                .unsupportedVersion, "VDI version 0x\(String(bytes.little32(68), radix: 16)) is not supported")
        }
        let parents = bytes.slice(424, 32)
        switch bytes.little32(76) {
        case 1, 2: break
        case 3, 4: throw .backingFile("VDI")
        default: throw .malformed("a VDI of type \(bytes.little32(76))")
        }
        guard parents.allSatisfy({ $0 == 0 }) else { throw .backingFile("VDI") }
        let size = bytes.little64(368)
        guard size <= UInt64(Limits.imageBytes) else { throw .tooLarge(size) }
        let block = UInt64(bytes.little32(376))
        guard block == 1 << 20 else {
            throw ImageRefusal(.unsupportedFeature, "VDI blocks of \(block) bytes are not supported")
        }
        let blocks = UInt64(bytes.little32(384))
        let allocated = UInt64(bytes.little32(388))
        guard blocks * block >= size, allocated <= blocks else {
            throw .malformed("a virtual size of \(size) bytes with \(blocks) blocks, \(allocated) of them present")
        }
        guard blocks == (size + block - 1) / block else {
            throw .malformed("\(blocks) blocks for a virtual size of \(size) bytes")
        }
        let (map, data) = (UInt64(bytes.little32(340)), UInt64(bytes.little32(344)))
        guard map >= 512, data >= map + blocks * 4 else {
            throw .malformed("a block map at \(map) and data at \(data), which lie over each other or the header")
        }
        guard header.contains(offset: map, count: blocks * 4) else {
            throw .truncated("the end of the VDI's block map")
        }
        guard header.contains(offset: data, count: allocated * block) else {
            throw .truncated("the end of the VDI's data")
        }
        return size
    }
}
