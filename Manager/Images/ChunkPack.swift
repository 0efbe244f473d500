import ChunkPlane
import Foundation
import Glibc
import ManagerImageHeaders
import ProcessFiles
import ProtocolModel
import ProtocolTransfer

/// Where one chunk lies in `chunks.pack`.
struct PackedChunk: Hashable {
    var offset: Int64 = 0
    /// 0: a zero chunk, of which nothing is kept.
    var length: UInt32 = 0
    var encoding = EncodedChunk.Encoding.raw

    /// As it travels, read from the pack piece by piece.
    func encoded(in pack: OpenFile) -> EncodedChunk {
        EncodedChunk(encoding: encoding, count: Int(length)) { buffer, position in
            pack.fills(buffer, from: offset + Int64(position))
        }
    }
}

/// The index of a pack: a magic of eight bytes, then for each chunk offset u64, length u32, encoding u32, big endian.
struct PackIndex {
    private static let magic = Array("roostpk1".utf8)
    private static let entryBytes = 16

    var entries: [PackedChunk]

    init(count: Int) { entries = [PackedChunk](repeating: PackedChunk(), count: count) }

    /// Reads an index that fits `manifest` and a pack of `packBytes`; anything else is `nil`.
    init?(_ bytes: [UInt8], manifest: Manifest, packBytes: Int64) {
        let header = HeaderBytes(bytes: bytes)
        guard bytes.count == Self.magic.count + manifest.chunkCount * Self.entryBytes, header.has(Self.magic) else {
            return nil
        }
        entries = []
        entries.reserveCapacity(manifest.chunkCount)
        for index in 0..<manifest.chunkCount {
            let position = Self.magic.count + index * Self.entryBytes
            let length = header.big32(position + 8)
            guard let offset = Int64(exactly: header.big64(position)), offset <= packBytes,
                Int64(length) <= packBytes - offset, Int(length) <= manifest.chunkSize(index),
                (length == 0) == manifest.isZero(index),
                let encoding = EncodedChunk.Encoding(rawValue: UInt8(truncatingIfNeeded: header.big32(position + 12)))
            else { return nil }
            entries.append(PackedChunk(offset: offset, length: length, encoding: encoding))
        }
    }

    var serialised: [UInt8] {
        var bytes = Self.magic
        bytes.reserveCapacity(bytes.count + entries.count * Self.entryBytes)
        func append(_ value: UInt64, _ count: Int) {
            for shift in (0..<count).reversed() { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * shift))) }
        }
        for entry in entries {
            append(UInt64(entry.offset), 8)
            append(UInt64(entry.length), 4)
            append(UInt64(entry.encoding.rawValue), 4)
        }
        return bytes
    }
}

/// An image of which all is packed: its manifest, and the pack that its chunks are read from.
final class StoredImage: Sendable {
    let manifest: Manifest
    private let index: PackIndex
    private let pack: OpenFile

    init(folder: String) throws(ImageError) {
        pack = try OpenFile(path: folder + "/" + Names.pack, flags: O_RDONLY)
        manifest = try Self.manifest(in: folder)
        let bytes = try Self.whole(folder + "/" + Names.index, limit: 16 * manifest.chunkCount + 8)
        guard let index = PackIndex(bytes, manifest: manifest, packBytes: try pack.size()) else {
            throw .file(path: folder + "/" + Names.index, reason: "the index does not fit the manifest and the pack")
        }
        self.index = index
    }

    var storedBytes: Int64 { index.entries.reduce(0) { $0 + Int64($1.length) } }

    func chunk(_ number: Int) -> EncodedChunk { index.entries[number].encoded(in: pack) }

    /// The manifest of an image's folder.
    static func manifest(in folder: String) throws(ImageError) -> Manifest {
        let serialised = try whole(
            folder + "/" + Names.manifest, limit: Manifest.maximumSerialisedBytes(imageBytes: Limits.imageBytes))
        do {
            return try Manifest(serialised: serialised)
        } catch {
            throw .file(path: folder, reason: error.description)
        }
    }

    private static func whole(_ path: String, limit: Int) throws(ImageError) -> [UInt8] {
        let file = try OpenFile(path: path, flags: O_RDONLY)
        let size = try file.size()
        guard size <= Int64(limit) else { throw .file(path: path, reason: "the file is larger than it can be") }
        return try file.read(at: 0, count: Int(size))
    }
}

/// File names inside an image's folder.
enum Names {
    static let pack = "chunks.pack"
    static let index = "chunks.index"
    static let manifest = "manifest"
}
