public import ProtocolModel

/// A chunk as it travels.
public struct EncodedChunk: Hashable, Sendable {
    public enum Encoding: UInt8, Hashable, Sendable {
        case raw = 1
        case zstd = 2
    }

    public var encoding: Encoding
    public var bytes: [UInt8]

    public init(encoding: Encoding, bytes: [UInt8]) {
        self.encoding = encoding
        self.bytes = bytes
    }

    /// The chunk's data; `nil` unless it decodes to exactly `byteCount` bytes.
    public func decoded(byteCount: Int) -> [UInt8]? {
        switch encoding {
        case .raw: bytes.count == byteCount ? bytes : nil
        case .zstd: Zstandard.decode(bytes, exactly: byteCount)
        }
    }
}

/// What a store answers to a request for a chunk.
public enum ChunkReading: Sendable {
    case chunk(EncodedChunk)
    /// On its way here; ask again.
    case notYet
    case notHeld
    case manifestDiffers
    case outOfRange
    case failed(String)
}

/// What a store answers to a request for a manifest.
public enum ManifestReading: Sendable {
    case manifest([UInt8])
    case notYet
    case notHeld
}

/// Where a chunk server reads. Calls come on the server's own threads and may block.
public protocol ChunkSourceStore: Sendable {
    /// The serialised manifest.
    func manifest(of image: ImageID) -> ManifestReading

    /// One chunk whose digest was verified here. Where it is on its way, the call may wait for it.
    func chunk(_ index: Int, of image: ImageID, manifest: ContentDigest, waitingUpTo: Duration) -> ChunkReading
}
