public import ProtocolModel

/// A chunk as it travels: in memory, or in a file that is open.
public struct EncodedChunk: Sendable {
    public enum Encoding: UInt8, Hashable, Sendable {
        case raw = 1
        case zstd = 2
    }

    /// Fills the buffer with the chunk's bytes from a position on; false where they cannot be read.
    public typealias Read = @Sendable (_ buffer: UnsafeMutableRawBufferPointer, _ position: Int) -> Bool

    private enum Content: Sendable {
        case memory([UInt8])
        case file(Read)
    }

    public let encoding: Encoding
    /// How many bytes travel.
    public let count: Int
    private let content: Content

    public init(encoding: Encoding, bytes: [UInt8]) {
        self.encoding = encoding
        self.count = bytes.count
        self.content = .memory(bytes)
    }

    /// A chunk that is read piece by piece as it is sent, so that nothing as large as a chunk is ever held for it.
    public init(encoding: Encoding, count: Int, read: @escaping Read) {
        self.encoding = encoding
        self.count = count
        self.content = .file(read)
    }

    /// All of it in memory; empty where it cannot be read.
    public var bytes: [UInt8] {
        switch content {
        case .memory(let bytes): bytes
        case .file(let read):
            [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
                filled = read(UnsafeMutableRawBufferPointer(buffer), 0) ? count : 0
            }
        }
    }

    /// The chunk's data; `nil` unless it decodes to exactly `byteCount` bytes.
    public func decoded(byteCount: Int) -> [UInt8]? {
        let bytes = bytes
        return switch encoding {
        case .raw: bytes.count == byteCount ? bytes : nil
        case .zstd: Zstandard.decode(bytes, exactly: byteCount)
        }
    }

    /// Hands over all bytes in order, in pieces of at most `scratch`. False where some cannot be read.
    func forEachPiece(
        through scratch: inout [UInt8], _ body: (UnsafeRawBufferPointer) throws(TransferError) -> Void
    ) throws(TransferError) -> Bool {
        switch content {
        case .memory(let bytes):
            try Self.lend(bytes, bytes.count, to: body)
        case .file(let read):
            var position = 0
            while position < count {
                let piece = min(scratch.count, count - position)
                let isRead = scratch.withUnsafeMutableBytes {
                    read(UnsafeMutableRawBufferPointer(rebasing: $0[..<piece]), position)
                }
                guard isRead else { return false }
                try Self.lend(scratch, piece, to: body)
                position += piece
            }
        }
        return true
    }

    private static func lend(
        _ bytes: [UInt8], _ count: Int, to body: (UnsafeRawBufferPointer) throws(TransferError) -> Void
    ) throws(TransferError) {
        do {
            try bytes.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
        } catch let error as TransferError {
            throw error
        } catch {
            throw .closed
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
