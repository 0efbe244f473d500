public import Foundation
import ProtocolDigest
import ProtocolMessages
public import ProtocolModel
import SwiftProtobuf

/// Why a manifest cannot be used.
public enum ManifestError: Error, Equatable, Sendable, CustomStringConvertible {
    case unreadable
    case unknownVersion(UInt32)
    case imageIdentifier
    case size(UInt64)
    case chunkSize(UInt32)
    case digestCount(expected: Int, foundBytes: Int)

    public var description: String {
        switch self {
        case .unreadable: "the image's manifest could not be decoded; fetch it again from another source"
        case .unknownVersion(let version):
            "the image's manifest has version \(version), which this program does not know; upgrade it"
        case .imageIdentifier: "the manifest names no image"
        case .size(let size): "the manifest's image size of \(size) bytes is not within 1 and \(Limits.imageBytes)"
        case .chunkSize(let size):
            "the manifest's chunk size is \(size) bytes, which is no power of two from \(Limits.smallestChunkBytes) to "
                + "\(Limits.chunkBytes), or makes too many chunks"
        case .digestCount(let expected, let found):
            "the manifest holds \(found) bytes of chunk digests, which do not fit \(expected) chunks of 32 bytes each"
        }
    }
}

/// Describes a raw image: its size and the SHA-256 of each of its chunks. Always valid: made by checking decoders only.
///
/// The SHA-256 of the serialised form is the image's identity in the fleet, so the serialised form is kept as it came
/// and is never made anew from the fields.
public struct Manifest: Hashable, Sendable {
    public static let version: UInt32 = 1

    public let image: ImageID
    /// Size of the raw image in bytes; at least 1, at most `Limits.imageBytes`.
    public let sizeBytes: Int64
    /// Size of each chunk but the last in bytes: a power of two from `Limits.smallestChunkBytes` to `Limits.chunkBytes`.
    public let chunkBytes: Int
    /// The bytes whose SHA-256 is `digest`.
    public let serialised: [UInt8]
    /// The image's identity in the fleet.
    public let digest: ContentDigest
    private let chunkDigests: [UInt8]

    /// Describes an image that was just cut into chunks of `chunkBytes`. `chunkDigests` holds 32 bytes a chunk; zeros mean
    /// a zero chunk.
    public init(
        image: ImageID, sizeBytes: Int64, chunkBytes: Int = Limits.chunkBytes, chunkDigests: [UInt8]
    ) throws(ManifestError) {
        var message = Roost_V1_ImageManifest()
        message.version = Self.version
        message.imageID = Data(image.bytes)
        message.sizeBytes = UInt64(clamping: sizeBytes)
        message.chunkBytes = UInt32(clamping: chunkBytes)
        message.chunkDigests = Data(chunkDigests)
        guard let serialised: [UInt8] = try? message.serializedBytes() else { throw .unreadable }
        try self.init(serialised: serialised)
    }

    /// Reads and checks a serialised `ImageManifest`.
    public init(serialised: [UInt8]) throws(ManifestError) {
        guard serialised.count <= Self.maximumSerialisedBytes(imageBytes: Limits.imageBytes),
            let message = try? Roost_V1_ImageManifest(serializedBytes: serialised)
        else { throw .unreadable }
        guard message.version == Self.version else { throw .unknownVersion(message.version) }
        guard let image = ImageID(bytes: message.imageID) else { throw .imageIdentifier }
        guard message.sizeBytes >= 1, message.sizeBytes <= UInt64(Limits.imageBytes) else {
            throw .size(message.sizeBytes)
        }
        let size = Int64(message.sizeBytes)
        let chunkBytes = Int(message.chunkBytes)
        guard chunkBytes.nonzeroBitCount == 1, chunkBytes >= Limits.smallestChunkBytes, chunkBytes <= Limits.chunkBytes
        else { throw .chunkSize(message.chunkBytes) }
        let count = Self.chunkCount(imageBytes: size, chunkBytes: chunkBytes)
        guard chunkBytes == Limits.chunkBytes || count <= Limits.smallChunksPerImage else {
            throw .chunkSize(message.chunkBytes)
        }
        guard message.chunkDigests.count == count * ContentDigest.byteCount else {
            throw .digestCount(expected: count, foundBytes: message.chunkDigests.count)
        }
        self.image = image
        self.sizeBytes = size
        self.chunkBytes = chunkBytes
        self.serialised = serialised
        self.chunkDigests = Array(message.chunkDigests)
        self.digest = Self.digest(of: serialised)
    }

    /// SHA-256 of any bytes, as manifests and chunks are named by it.
    public static func digest(of bytes: some DataProtocol) -> ContentDigest {
        var hasher = ContentHasher()
        for region in bytes.regions { region.withUnsafeBytes { hasher.update($0) } }
        return hasher.finish()
    }

    /// The chunk size for an image of that size: as small as keeps the manifest short.
    ///
    /// A chunk is handed on when all of it is verified, so that each host of a chain is one chunk's time behind the one
    /// before it. With 4 MiB, eight hosts would take a tenth longer for an image of 256 MiB than one.
    public static func chunkBytes(forImageBytes size: Int64) -> Int {
        var bytes = Limits.smallestChunkBytes
        while bytes < Limits.chunkBytes, chunkCount(imageBytes: size, chunkBytes: bytes) > Limits.smallChunksPerImage {
            bytes *= 2
        }
        return bytes
    }

    /// How many chunks of `chunkBytes` an image of that size has.
    public static func chunkCount(imageBytes: Int64, chunkBytes: Int) -> Int {
        Int((imageBytes + Int64(chunkBytes) - 1) / Int64(chunkBytes))
    }

    /// The most bytes that a manifest of an image of that size may take: what a receiver is willing to hold.
    public static func maximumSerialisedBytes(imageBytes: Int64) -> Int {
        let bounded = min(max(imageBytes, 0), Limits.imageBytes)
        let small = min(
            chunkCount(imageBytes: bounded, chunkBytes: Limits.smallestChunkBytes), Limits.smallChunksPerImage)
        let chunks = max(chunkCount(imageBytes: bounded, chunkBytes: Limits.chunkBytes), small)
        return chunks * ContentDigest.byteCount + 128
    }

    public var chunkCount: Int { chunkDigests.count / ContentDigest.byteCount }

    /// Where chunk `index` begins in the raw image.
    public func chunkOffset(_ index: Int) -> Int64 { Int64(index) * Int64(chunkBytes) }

    /// Bytes of chunk `index`: `chunkBytes` for all but the last.
    public func chunkSize(_ index: Int) -> Int {
        Int(min(Int64(chunkBytes), sizeBytes - chunkOffset(index)))
    }

    /// Whether the chunk is all zeros, so that nothing travels for it.
    public func isZero(_ index: Int) -> Bool { digestBytes(index).allSatisfy { $0 == 0 } }

    /// SHA-256 of the chunk's data; 32 zero bytes for a zero chunk.
    public func chunkDigest(_ index: Int) -> ContentDigest {
        guard let digest = ContentDigest(bytes: digestBytes(index)) else {
            preconditionFailure("the digests were counted when the manifest was read")
        }
        return digest
    }

    /// Whether `data` is chunk `index` (P7).
    public func verifies(_ data: [UInt8], index: Int) -> Bool {
        guard index >= 0, index < chunkCount, data.count == chunkSize(index) else { return false }
        if isZero(index) { return data.allSatisfy { $0 == 0 } }
        return ContentDigest(hashing: data).bytes.elementsEqual(digestBytes(index))
    }

    private func digestBytes(_ index: Int) -> ArraySlice<UInt8> {
        chunkDigests[index * ContentDigest.byteCount..<(index + 1) * ContentDigest.byteCount]
    }
}
