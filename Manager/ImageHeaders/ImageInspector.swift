import ProtocolModel

/// What an image's header says, once it is known to be harmless.
public struct InspectedImage: Hashable, Sendable {
    public let format: ImageFormat
    /// Size of the raw image in bytes.
    public let virtualSize: Int64
}

/// Looks at the header of an uploaded file before any other program opens it (SEC-01), and refuses what could make a
/// converter read other files, or more than the file itself holds.
///
/// Pure: it reads through a closure, never more than 2 MiB in all, and no file, however broken, can make it trap.
public enum ImageInspector {
    /// - Parameters:
    ///   - reader: Answers `count` bytes of the file at `offset`. Only asked for bytes below `fileBytes`.
    ///   - declared: The format that the uploader named; `nil` to detect it.
    ///   - fileBytes: Size of the file.
    public static func inspect(
        reader: @escaping (_ offset: Int64, _ count: Int) throws -> [UInt8], declared: ImageFormat?, fileBytes: Int64
    ) throws(ImageRefusal) -> InspectedImage {
        guard fileBytes > 0 else {
            throw ImageRefusal(.empty, "the file is empty; check that the whole image was uploaded")
        }
        var header = HeaderReader(fileBytes: fileBytes, source: reader)
        let detected = try FormatDetector.detect(&header)
        let format = try agree(declared: declared, detected: detected)
        let size: UInt64 =
            switch format {
            case .qcow2: try QcowHeader.check(&header)
            case .vmdk: try VMDKHeader.check(&header)
            case .vhd: try VHDHeader.check(&header)
            case .vdi: try VDIHeader.check(&header)
            case .raw, .iso: UInt64(fileBytes)
            }
        guard size > 0 else { throw ImageRefusal(.empty, "the image has a virtual size of 0 bytes") }
        guard size <= UInt64(Limits.imageBytes) else { throw .tooLarge(size) }
        // A disk has whole sectors; what follows the last byte reads as zeros.
        return InspectedImage(format: format, virtualSize: Int64((size + 511) / 512 * 512))
    }

    private static func agree(
        declared: ImageFormat?, detected: FormatDetector.Finding
    ) throws(ImageRefusal) -> ImageFormat {
        switch (declared, detected) {
        case (_, .refused(let refusal)): throw refusal
        case (nil, .format(let format)): return format
        case (nil, .bootRecord): return .raw
        case (nil, .nothing):
            throw ImageRefusal(
                .formatUnknown,
                "the file carries no image format that is known; if it is a raw disk, declare the format raw")
        case (.raw?, .bootRecord), (.raw?, .nothing): return .raw
        // A raw copy of an installation medium is what its name says.
        case (.raw?, .format(.iso)): return .raw
        case (let declared?, .format(let format)):
            guard declared == format else {
                throw ImageRefusal(
                    .formatMismatch,
                    "the image was declared as \(declared.rawValue) but the file is \(format.rawValue); "
                        + "name the format that it has")
            }
            return format
        case (let declared?, .bootRecord), (let declared?, .nothing):
            throw ImageRefusal(
                .formatMismatch,
                "the image was declared as \(declared.rawValue) but the file does not carry that format's signature")
        }
    }
}

/// Tells formats by their signatures, wherever a converter would look for them.
enum FormatDetector {
    enum Finding {
        case format(ImageFormat)
        /// No signature but a boot record: a raw disk.
        case bootRecord
        case nothing
        case refused(ImageRefusal)
    }

    static func detect(_ header: inout HeaderReader) throws(ImageRefusal) -> Finding {
        let first = try header.bytesAvailable(at: 0, count: 1024)
        if first.has([0x51, 0x46, 0x49, 0xFB]) { return .format(.qcow2) }
        if first.has("KDMV") { return .format(.vmdk) }
        if first.little32(64) == VDIHeader.signature { return .format(.vdi) }
        if first.has("conectix") { return .format(.vhd) }
        if let refusal = foreign(first) { return .refused(refusal) }
        let size = UInt64(max(0, header.fileBytes))
        if size >= 512 {
            let last = try header.bytes(at: size - 512, count: 512, what: "its last sector")
            if last.has("conectix") { return .format(.vhd) }
            if last.has("koly") { return .refused(unsupported("an Apple disk image")) }
        }
        let volume = try header.bytesAvailable(at: 0x8000, count: 6)
        if volume.has("CD001", at: 1) { return .format(.iso) }
        if first.byte(510) == 0x55, first.byte(511) == 0xAA { return .bootRecord }
        return .nothing
    }

    /// Formats that a converter might detect but that are not taken, also not under the name of raw.
    private static func foreign(_ first: HeaderBytes) -> ImageRefusal? {
        let signatures: [([UInt8], String)] = [
            (Array("COWD".utf8), "a VMware ESX 3 sparse extent"),
            (Array("vhdxfile".utf8), "VHDX"),
            (Array("QED\0".utf8), "QED"),
            (Array("LUKS".utf8) + [0xBA, 0xBE], "an encrypted LUKS volume"),
            (Array("WithoutFreeSpace".utf8), "a Parallels image"),
            (Array("WithouFreSpacExt".utf8), "a Parallels image"),
            (Array("Bochs Virtual HD Image".utf8), "a Bochs image"),
            (Array("OOOM".utf8), "a User Mode Linux image"),
            (Array("#!/bin/sh\n#V2.0 Format".utf8), "a cloop image"),
            ([0x1F, 0x8B], "compressed with gzip; decompress it first"),
            ([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00], "compressed with xz; decompress it first"),
            (Array("BZh".utf8), "compressed with bzip2; decompress it first"),
            ([0x28, 0xB5, 0x2F, 0xFD], "compressed with zstd; decompress it first"),
            ([0x04, 0x22, 0x4D, 0x18], "compressed with lz4; decompress it first"),
            (Array("LZIP".utf8), "compressed with lzip; decompress it first"),
            ([0x50, 0x4B, 0x03, 0x04], "a zip archive; unpack it first"),
            ([0x50, 0x4B, 0x05, 0x06], "an empty zip archive"),
            ([0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C], "a 7z archive; unpack it first"),
            (Array("Rar!".utf8) + [0x1A, 0x07], "a rar archive; unpack it first"),
            ([0x7F] + Array("ELF".utf8), "a program"),
        ]
        for (signature, name) in signatures where first.has(signature) {
            return name.hasPrefix("an encrypted")
                ? ImageRefusal(.encrypted, "the file is \(name); images must not be encrypted") : unsupported(name)
        }
        // A descriptor is text that names other files as extents; it may begin with blank and comment lines.
        let text = String(decoding: first.bytes.prefix { $0 != 0 }, as: UTF8.self).lowercased()
        let page = text.drop { $0.isWhitespace || $0 == "\u{FEFF}" }
        if page.hasPrefix("<!doctype html") || page.hasPrefix("<html") {
            return unsupported("a web page, perhaps an error that was saved in place of the image")
        }
        if text.contains("# disk descriptorfile") || isDescriptor(text) {
            return ImageRefusal(
                .externalExtent,
                "the file is a VMDK descriptor, which names other files; upload one monolithic VMDK")
        }
        if first.slice(0, 512).count == 512, first.has("ustar", at: 257) {
            return unsupported("a tar archive; unpack it first")
        }
        return nil
    }

    private static func isDescriptor(_ text: String) -> Bool {
        for line in text.split(whereSeparator: \.isNewline) {
            let line = line.drop { $0 == " " || $0 == "\t" }
            if line.isEmpty || line.hasPrefix("#") { continue }
            return line.hasPrefix("version=") || line.hasPrefix("createtype=")
        }
        return false
    }

    private static func unsupported(_ name: String) -> ImageRefusal {
        ImageRefusal(
            .unsupportedFormat,
            "the file is \(name); accepted are \(ImageFormat.allCases.map(\.rawValue).joined(separator: ", "))")
    }
}
