import Foundation
import ManagerImageHeaders
import Testing

/// Image files made by code: well-formed ones to begin with, and what a hostile hand does to them.
struct ImageFile {
    var bytes: [UInt8]

    init(count: Int) { bytes = [UInt8](repeating: 0, count: count) }

    mutating func put(_ text: String, at offset: Int) { put(Array(text.utf8), at: offset) }
    mutating func put(_ new: [UInt8], at offset: Int) { bytes.replaceSubrange(offset..<offset + new.count, with: new) }
    mutating func big32(_ value: UInt32, at offset: Int) {
        put((0..<4).map { UInt8(truncatingIfNeeded: value >> UInt32(24 - 8 * $0)) }, at: offset)
    }
    mutating func big64(_ value: UInt64, at offset: Int) {
        put((0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * $0)) }, at: offset)
    }
    mutating func little16(_ value: UInt16, at offset: Int) {
        put((0..<2).map { UInt8(truncatingIfNeeded: value >> UInt16(8 * $0)) }, at: offset)
    }
    mutating func little32(_ value: UInt32, at offset: Int) {
        put((0..<4).map { UInt8(truncatingIfNeeded: value >> UInt32(8 * $0)) }, at: offset)
    }
    mutating func little64(_ value: UInt64, at offset: Int) {
        put((0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }, at: offset)
    }

    static func qcow2(
        version: UInt32 = 3, size: UInt64 = 1 << 20, _ change: (inout ImageFile) -> Void = { _ in }
    )
        -> ImageFile
    {
        var file = ImageFile(count: 4 * 65_536)
        file.put([0x51, 0x46, 0x49, 0xFB], at: 0)
        file.big32(version, at: 4)
        file.big32(16, at: 20)
        file.big64(size, at: 24)
        file.big32(UInt32(max(1, (size + (1 << 29) - 1) >> 29)), at: 36)
        file.big64(65_536, at: 40)
        file.big64(131_072, at: 48)
        file.big32(1, at: 56)
        if version >= 3 {
            file.big32(4, at: 96)
            file.big32(104, at: 100)
        }
        change(&file)
        return file
    }

    static let descriptor = """
        # Disk DescriptorFile
        version=1
        CID=12345678
        parentCID=ffffffff
        createType="monolithicSparse"

        # Extent description
        RW 2048 SPARSE "disk.vmdk"
        """

    static func vmdk(descriptor: String = Self.descriptor, _ change: (inout ImageFile) -> Void = { _ in }) -> ImageFile
    {
        var file = ImageFile(count: 128 * 512)
        file.put("KDMV", at: 0)
        file.little32(1, at: 4)
        file.little32(3, at: 8)
        file.little64(2048, at: 12)
        file.little64(128, at: 20)
        file.little64(1, at: 28)
        file.little64(20, at: 36)
        file.little32(512, at: 44)
        file.little64(21, at: 48)
        file.little64(26, at: 56)
        file.little64(128, at: 64)
        file.put(descriptor, at: 512)
        change(&file)
        return file
    }

    static func vhd(
        type: UInt32 = 3, size: UInt64 = 4 << 20, _ change: (inout ImageFile) -> Void = { _ in }
    )
        -> ImageFile
    {
        let data = type == 2 ? Int(min(size, 8 << 20)) : 4096
        var file = ImageFile(count: data + 512)
        let footer = type == 2 ? data : 0
        file.put("conectix", at: footer)
        file.big32(0x0001_0000, at: footer + 12)
        file.big64(type == 2 ? .max : 512, at: footer + 16)
        file.big64(size, at: footer + 40)
        file.big64(size, at: footer + 48)
        file.big32(type, at: footer + 60)
        if type != 2 {
            file.put("cxsparse", at: 512)
            file.big64(.max, at: 520)
            file.big64(1536, at: 528)
            file.big32(0x0001_0000, at: 536)
            file.big32(2, at: 540)
            file.big32(2 << 20, at: 544)
        }
        change(&file)
        file.checkSum(footer, count: 512, field: 64)
        if type != 2 {
            file.checkSum(512, count: 1024, field: 36)
            // The copy at the end.
            file.put(Array(file.bytes[..<512]), at: file.bytes.count - 512)
        }
        return file
    }

    mutating func checkSum(_ start: Int, count: Int, field: Int) {
        big32(0, at: start + field)
        let sum = bytes[start..<start + count].reduce(UInt32(0)) { $0 &+ UInt32($1) }
        big32(~sum, at: start + field)
    }

    static func vdi(_ change: (inout ImageFile) -> Void = { _ in }) -> ImageFile {
        var file = ImageFile(count: 2 << 20)
        file.put("<<< Oracle VM VirtualBox Disk Image >>>\n", at: 0)
        file.little32(0xBEDA_107F, at: 64)
        file.little32(0x0001_0001, at: 68)
        file.little32(400, at: 72)
        file.little32(1, at: 76)
        file.little32(512, at: 340)
        file.little32(1 << 20, at: 344)
        file.little64(4 << 20, at: 368)
        file.little32(1 << 20, at: 376)
        file.little32(4, at: 384)
        file.little32(1, at: 388)
        change(&file)
        return file
    }

    static func iso() -> ImageFile {
        var file = ImageFile(count: 0x9000)
        file.put([1] + Array("CD001".utf8), at: 0x8000)
        return file
    }

    static func bootable() -> ImageFile {
        var file = ImageFile(count: 1 << 20)
        file.put([0x55, 0xAA], at: 510)
        return file
    }

    func truncated(to count: Int) -> ImageFile {
        var file = self
        file.bytes = Array(bytes[..<count])
        return file
    }
}

/// A hostile or broken file and the code of its refusal.
struct HostileImage: CustomTestStringConvertible {
    var name: String
    var file: ImageFile
    var declared: ImageFormat?
    var code: ImageRefusal.Code
    var testDescription: String { name }

    init(_ name: String, _ code: ImageRefusal.Code, declared: ImageFormat? = nil, _ file: ImageFile) {
        self.name = name
        self.file = file
        self.declared = declared
        self.code = code
    }

    static let corpus: [HostileImage] = qcow + vmdk + others

    private static func magic(_ bytes: [UInt8]) -> ImageFile {
        var file = ImageFile(count: 4096)
        file.put(bytes, at: 0)
        return file
    }

    private static let qcow: [HostileImage] = [
        HostileImage(
            "qcow2 with backing file", .backingFile,
            .qcow2 {
                $0.big64(112, at: 8)
                $0.big32(11, at: 16)
                $0.put("/etc/shadow", at: 112)
            }),
        HostileImage(
            "qcow2 v2 with backing file", .backingFile,
            .qcow2(version: 2) {
                $0.big64(80, at: 8)
                $0.big32(11, at: 16)
            }),
        HostileImage("qcow2 with backing length alone", .backingFile, .qcow2 { $0.big32(11, at: 16) }),
        HostileImage(
            "qcow2 with backing format extension", .backingFile,
            .qcow2 {
                $0.big32(0xE279_2ACA, at: 104)
                $0.big32(3, at: 108)
                $0.put("raw", at: 112)
            }),
        HostileImage("qcow2 with external data bit", .externalDataFile, .qcow2 { $0.big64(0b100, at: 72) }),
        HostileImage(
            "qcow2 with data file name", .externalDataFile,
            .qcow2 {
                $0.big32(0x4441_5441, at: 104)
                $0.big32(11, at: 108)
                $0.put("/etc/shadow", at: 112)
            }),
        HostileImage(
            "qcow2 with data file name behind another extension", .externalDataFile,
            .qcow2 {
                $0.big32(0x6803_F857, at: 104)
                $0.big32(48, at: 108)
                $0.big32(0x4441_5441, at: 160)
                $0.big32(11, at: 164)
            }),
        HostileImage("qcow2 encrypted with AES", .encrypted, .qcow2 { $0.big32(1, at: 32) }),
        HostileImage("qcow2 encrypted with LUKS", .encrypted, .qcow2 { $0.big32(2, at: 32) }),
        HostileImage(
            "qcow2 with a LUKS header extension", .encrypted,
            .qcow2 {
                $0.big32(0x0537_BE77, at: 104)
                $0.big32(16, at: 108)
            }),
        HostileImage("qcow2 of 2^63 bytes", .tooLarge, .qcow2 { $0.big64(1 << 63, at: 24) }),
        HostileImage("qcow2 of 16 EiB less one", .tooLarge, .qcow2 { $0.big64(.max, at: 24) }),
        HostileImage(
            "qcow2 claiming 2^60 clusters", .tooLarge,
            .qcow2 {
                $0.big32(9, at: 20)
                $0.big64(.max - 511, at: 24)
            }),
        HostileImage(
            "qcow2 whose table is too short for its size", .malformed,
            .qcow2 {
                $0.big64(8 << 40, at: 24)
                $0.big32(1, at: 36)
            }),
        HostileImage("qcow2 whose table lies beyond the file", .truncated, .qcow2(size: 16 << 40)),
        HostileImage("qcow2 with a table of 2^32 entries", .malformed, .qcow2 { $0.big32(.max, at: 36) }),
        HostileImage("qcow2 with a table offset of 2^63", .truncated, .qcow2 { $0.big64(1 << 63, at: 40) }),
        HostileImage("qcow2 with a crooked table offset", .malformed, .qcow2 { $0.big64(65_537, at: 40) }),
        HostileImage("qcow2 with reference counts beyond the file", .truncated, .qcow2 { $0.big64(1 << 40, at: 48) }),
        HostileImage("qcow2 with 2^32 clusters of reference counts", .malformed, .qcow2 { $0.big32(.max, at: 56) }),
        HostileImage("qcow2 with clusters of 2^31", .malformed, .qcow2 { $0.big32(31, at: 20) }),
        HostileImage("qcow2 with clusters of 2^0", .malformed, .qcow2 { $0.big32(0, at: 20) }),
        HostileImage(
            "qcow2 with an unknown incompatible feature", .unsupportedFeature, .qcow2 { $0.big64(1 << 40, at: 72) }),
        HostileImage("qcow2 marked corrupt", .malformed, .qcow2 { $0.big64(0b10, at: 72) }),
        HostileImage("qcow2 with reference counts of 2^63 bits", .malformed, .qcow2 { $0.big32(63, at: 96) }),
        HostileImage("qcow2 with a header of 2^32 bytes", .malformed, .qcow2 { $0.big32(.max - 7, at: 100) }),
        HostileImage(
            "qcow2 with an unknown compression", .unsupportedFeature,
            .qcow2 {
                $0.big32(112, at: 100)
                $0.bytes[104] = 9
            }),
        HostileImage(
            "qcow2 with an extension of 2^32 bytes", .malformed,
            .qcow2 {
                $0.big32(1, at: 104)
                $0.big32(.max, at: 108)
            }),
        HostileImage(
            "qcow2 with endless extensions", .malformed,
            .qcow2 { file in
                for entry in 0..<2000 { file.big32(1, at: 104 + 8 * entry) }
            }),
        HostileImage(
            "qcow2 whose first second-level table lies beyond the file", .truncated,
            .qcow2 { $0.big64(1 << 40, at: 65_536) }),
        HostileImage(
            "qcow2 with a crooked second-level table", .malformed, .qcow2 { $0.big64(65_536 + 512, at: 65_536) }),
        HostileImage(
            "qcow2 whose clusters lie beyond the file", .truncated,
            .qcow2 { file in
                file.big64(3 * 65_536 | 1 << 63, at: 65_536)
                for entry in 0..<16 { file.big64((1 << 50) | 1 << 63, at: 3 * 65_536 + 8 * entry) }
            }),
        HostileImage(
            "qcow2 whose compressed clusters lie beyond the file", .truncated,
            .qcow2 { file in
                file.big64(3 * 65_536 | 1 << 63, at: 65_536)
                file.big64(1 << 62 | 1 << 40, at: 3 * 65_536)
            }),
        HostileImage("qcow2 with 2^32 snapshots", .malformed, .qcow2 { $0.big32(.max, at: 60) }),
        HostileImage(
            "qcow2 with snapshots beyond the file", .truncated,
            .qcow2 {
                $0.big32(2, at: 60)
                $0.big64(1 << 50, at: 64)
            }),
        HostileImage("qcow version 1", .unsupportedVersion, .qcow2(version: 1)),
        HostileImage("qcow version 4", .unsupportedVersion, .qcow2(version: 4)),
        HostileImage("qcow2 cut in its header", .truncated, ImageFile.qcow2().truncated(to: 60)),
        HostileImage("qcow2 cut in its version 3 header", .truncated, ImageFile.qcow2().truncated(to: 80)),
        HostileImage("qcow2 cut before its tables", .truncated, ImageFile.qcow2().truncated(to: 70_000 - 7000)),
        HostileImage("qcow2 of no size", .empty, .qcow2(size: 0)),
        HostileImage("raw that carries a qcow2 magic", .formatMismatch, declared: .raw, .qcow2()),
    ]

    private static func described(_ old: String, _ new: String) -> ImageFile {
        .vmdk(descriptor: ImageFile.descriptor.replacingOccurrences(of: old, with: new))
    }

    private static let vmdk: [HostileImage] = [
        HostileImage(
            "VMDK naming /etc/shadow as flat extent", .externalExtent,
            described("RW 2048 SPARSE \"disk.vmdk\"", "RW 2048 FLAT \"/etc/shadow\" 0")),
        HostileImage(
            "VMDK naming /etc/shadow as sparse extent", .externalExtent, described("disk.vmdk", "/etc/shadow")),
        HostileImage("VMDK naming ../ as extent", .externalExtent, described("disk.vmdk", "..")),
        HostileImage("VMDK naming a protocol as extent", .externalExtent, described("disk.vmdk", "nbd:host")),
        HostileImage(
            "VMDK with two extents", .externalExtent,
            described("RW 2048 SPARSE \"disk.vmdk\"", "RW 1024 SPARSE \"disk.vmdk\"\nRW 1024 SPARSE \"b.vmdk\"")),
        HostileImage("VMDK with no extent", .externalExtent, described("RW 2048 SPARSE \"disk.vmdk\"", "")),
        HostileImage("VMDK of type monolithicFlat", .externalExtent, described("monolithicSparse", "monolithicFlat")),
        HostileImage("VMDK of type vmfs", .externalExtent, described("monolithicSparse", "vmfs")),
        HostileImage("VMDK with a parent", .backingFile, described("parentCID=ffffffff", "parentCID=abcdef01")),
        HostileImage(
            "VMDK with a parent's name", .backingFile,
            described("CID=12345678", "CID=12345678\nparentFileNameHint=\"/etc/shadow\"")),
        HostileImage(
            "VMDK with capacity 0 that follows its descriptor", .externalExtent, .vmdk { $0.little64(0, at: 12) }),
        HostileImage("VMDK without descriptor", .externalExtent, .vmdk { $0.little64(0, at: 28) }),
        HostileImage("VMDK with a descriptor of 2^60 sectors", .externalExtent, .vmdk { $0.little64(1 << 60, at: 36) }),
        HostileImage("VMDK with a descriptor at 2^60", .externalExtent, .vmdk { $0.little64(1 << 60, at: 28) }),
        HostileImage("VMDK of 2^63 sectors", .tooLarge, .vmdk { $0.little64(1 << 63, at: 12) }),
        HostileImage("VMDK with grains of 0", .malformed, .vmdk { $0.little64(0, at: 20) }),
        HostileImage("VMDK with grain tables of 2^32", .malformed, .vmdk { $0.little32(.max, at: 44) }),
        HostileImage("VMDK with its directory beyond the file", .truncated, .vmdk { $0.little64(1 << 50, at: 56) }),
        HostileImage(
            "VMDK whose grain table lies beyond the file", .truncated, .vmdk { $0.little32(.max, at: 26 * 512) }),
        HostileImage(
            "VMDK whose grains lie beyond the file", .truncated,
            .vmdk {
                $0.little32(30, at: 26 * 512)
                $0.little32(1 << 30, at: 30 * 512)
            }),
        HostileImage("VMDK version 9", .unsupportedVersion, .vmdk { $0.little32(9, at: 4) }),
        HostileImage("VMDK without the footer it promises", .truncated, .vmdk { $0.little64(.max, at: 56) }),
        HostileImage("VMDK cut in its header", .truncated, ImageFile.vmdk().truncated(to: 100)),
        HostileImage("VMDK descriptor alone", .externalExtent, text(ImageFile.descriptor)),
        HostileImage(
            "VMDK descriptor behind blank lines", .externalExtent, declared: .raw,
            text("\n  \n# x\nversion=1\nRW 1 FLAT \"/etc/shadow\" 0\n")),
        HostileImage("raw that carries a VMDK magic", .formatMismatch, declared: .raw, .vmdk()),
        HostileImage("ESX sparse extent", .unsupportedFormat, text("COWD")),
    ]

    private static func text(_ text: String) -> ImageFile {
        var file = ImageFile(count: 4096)
        file.put(text, at: 0)
        return file
    }

    private static let others: [HostileImage] = [
        HostileImage("VHD with a parent", .backingFile, .vhd(type: 4)),
        HostileImage("VHD with a parent's locator", .backingFile, .vhd { $0.big32(0x5732_7275, at: 512 + 576) }),
        HostileImage("VHD with a parent's name", .backingFile, .vhd { $0.put("x", at: 512 + 64) }),
        HostileImage("VHD of 2^63 bytes", .tooLarge, .vhd(size: 1 << 63)),
        HostileImage("VHD whose table is too short", .malformed, .vhd(size: 1 << 40)),
        HostileImage("VHD with its table beyond the file", .truncated, .vhd { $0.big64(1 << 40, at: 528) }),
        HostileImage("VHD with its header beyond the file", .truncated, .vhd { $0.big64(1 << 60, at: 16) }),
        HostileImage(
            "VHD with a wrong checksum", .malformed,
            {
                var file = ImageFile.vhd()
                file.bytes[100] ^= 1
                return file
            }()),
        HostileImage(
            "fixed VHD that was cut", .truncated,
            {
                var file = ImageFile.vhd(type: 2, size: 4 << 20)
                file.bytes.removeFirst(1 << 20)
                return file
            }()),
        HostileImage("VDI with a parent", .backingFile, .vdi { $0.bytes[430] = 1 }),
        HostileImage("differencing VDI", .backingFile, .vdi { $0.little32(4, at: 76) }),
        HostileImage("VDI of 2^63 bytes", .tooLarge, .vdi { $0.little64(1 << 63, at: 368) }),
        HostileImage("VDI with too few blocks", .malformed, .vdi { $0.little32(1, at: 384) }),
        HostileImage(
            "VDI with its map beyond the file", .truncated,
            .vdi {
                $0.little32(1 << 30, at: 340)
                $0.little32(1 << 31, at: 344)
            }),
        HostileImage("VDI with blocks of 0", .unsupportedFeature, .vdi { $0.little32(0, at: 376) }),
        HostileImage("QED", .unsupportedFormat, text("QED\0")),
        HostileImage("VHDX", .unsupportedFormat, text("vhdxfile")),
        HostileImage(
            "LUKS", .encrypted,
            {
                var file = ImageFile(count: 4096)
                file.put(Array("LUKS".utf8) + [0xBA, 0xBE], at: 0)
                return file
            }()),
        HostileImage(
            "gzip", .unsupportedFormat,
            {
                var file = ImageFile(count: 4096)
                file.put([0x1F, 0x8B], at: 0)
                return file
            }()),
        HostileImage(
            "VHD whose footers differ in size", .malformed,
            {
                var file = ImageFile.vhd()
                let end = file.bytes.count - 512
                file.big64(1 << 30, at: end + 48)
                file.checkSum(end, count: 512, field: 64)
                return file
            }()),
        HostileImage(
            "VHD whose footers differ in type", .malformed,
            {
                var file = ImageFile.vhd()
                let end = file.bytes.count - 512
                file.big32(2, at: end + 60)
                file.checkSum(end, count: 512, field: 64)
                return file
            }()),
        HostileImage("VHD without its last footer", .truncated, ImageFile.vhd().truncated(to: 4096)),
        HostileImage("VHD with blocks of 2^32", .malformed, .vhd { $0.big32(.max, at: 544) }),
        HostileImage("VHD of an unknown type", .unsupportedFeature, .vhd(type: 7)),
        HostileImage("VDI with more blocks than it needs", .malformed, .vdi { $0.little32(5, at: 384) }),
        HostileImage("VDI with 2^32 blocks", .malformed, .vdi { $0.little32(.max, at: 384) }),
        HostileImage("VDI whose map lies over its header", .malformed, .vdi { $0.little32(0, at: 340) }),
        HostileImage("VDI whose data lie over its map", .malformed, .vdi { $0.little32(512, at: 344) }),
        HostileImage("VDI with more blocks present than there are", .malformed, .vdi { $0.little32(9, at: 388) }),
        HostileImage("VDI cut in its data", .truncated, ImageFile.vdi().truncated(to: 3 << 19)),
        HostileImage("VDI version 9", .unsupportedVersion, .vdi { $0.little32(9, at: 68) }),
        HostileImage("one byte", .formatUnknown, ImageFile(count: 1)),
        HostileImage("one byte declared as qcow2", .formatMismatch, declared: .qcow2, ImageFile(count: 1)),
        HostileImage("zip", .unsupportedFormat, magic([0x50, 0x4B, 0x03, 0x04])),
        HostileImage("zip declared as raw", .unsupportedFormat, declared: .raw, magic([0x50, 0x4B, 0x03, 0x04])),
        HostileImage("zstd", .unsupportedFormat, magic([0x28, 0xB5, 0x2F, 0xFD])),
        HostileImage("xz", .unsupportedFormat, magic([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00])),
        HostileImage("bzip2", .unsupportedFormat, text("BZh91AY")),
        HostileImage("lz4", .unsupportedFormat, magic([0x04, 0x22, 0x4D, 0x18])),
        HostileImage("7z", .unsupportedFormat, magic([0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C])),
        HostileImage(
            "tar with a link that leaves its folder (SEC-05)", .unsupportedFormat,
            {
                var file = text("../../etc/shadow")
                file.put("ustar", at: 257)
                return file
            }()),
        HostileImage("a program", .unsupportedFormat, declared: .raw, magic([0x7F, 0x45, 0x4C, 0x46])),
        HostileImage("a web page", .unsupportedFormat, declared: .raw, text("\n <!DOCTYPE html><title>404</title>")),
        HostileImage(
            "ISO that is a qcow2 too", .formatMismatch, declared: .iso,
            .qcow2 { $0.put([1] + Array("CD001".utf8), at: 0x8000) }),
        HostileImage(
            "ISO that is a VHD too", .formatMismatch, declared: .iso,
            {
                var file = ImageFile.vhd(type: 2, size: 1 << 20)
                file.put([1] + Array("CD001".utf8), at: 0x8000)
                return file
            }()),
        HostileImage(
            "ISO that is a VMDK descriptor too", .externalExtent, declared: .iso,
            {
                var file = ImageFile.iso()
                file.put("# Disk DescriptorFile\nRW 1 FLAT \"/etc/shadow\" 0\n", at: 0)
                return file
            }()),
        HostileImage(
            "ISO cut before its volume", .formatMismatch, declared: .iso, ImageFile.iso().truncated(to: 0x8000)),
        HostileImage("nothing", .empty, ImageFile(count: 0)),
        HostileImage("zeros without a declared format", .formatUnknown, ImageFile(count: 4096)),
        HostileImage("zeros declared as qcow2", .formatMismatch, declared: .qcow2, ImageFile(count: 4096)),
        HostileImage("qcow2 declared as VMDK", .formatMismatch, declared: .vmdk, .qcow2()),
        HostileImage("raw disk declared as qcow2", .formatMismatch, declared: .qcow2, .bootable()),
    ]
}
