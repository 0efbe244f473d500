import ProtocolModel
import ProtocolTransfer
import Testing

@testable import ChunkPlane

/// What a transfer is made of, without sockets.
@Suite struct ChunkPartsTests {
    let image = ImageID.generate(at: Timestamp(milliseconds: 1))

    private func manifest(_ chunks: [[UInt8]]) throws -> Manifest {
        try Manifest(
            image: image, sizeBytes: Int64(chunks.reduce(0) { $0 + $1.count }),
            chunkBytes: Limits.smallestChunkBytes, chunkDigests: chunks.flatMap { Manifest.digest(of: $0).bytes })
    }

    private func chunks(_ count: Int) -> [[UInt8]] {
        (0..<count).map { [UInt8](repeating: UInt8($0 + 1), count: Limits.smallestChunkBytes) } + [[7, 8, 9]]
    }

    @Test func buffersAreUsedAgainButNeverShared() {
        let buffers = ChunkBuffers(limit: 2)
        var first = buffers.take(1000)
        first[0] = 1
        let kept = first
        buffers.give(first)
        first = []
        // Somebody kept it: what is taken may be changed without that being seen.
        var second = buffers.take(1000)
        second[0] = 2
        #expect(kept[0] == 1)
        // One that nobody kept comes back itself.
        buffers.give([UInt8](repeating: 3, count: 500))
        #expect(buffers.take(500) == [UInt8](repeating: 3, count: 500))
        #expect(buffers.take(10).count == 10)
        // No more are held than allowed.
        for value in 1...3 { buffers.give([UInt8](repeating: UInt8(value), count: 2)) }
        #expect(Set([buffers.take(2)[0], buffers.take(2)[0]]) == [2, 3])
    }

    @Test("P7 a chunk is handed over only as its digest says", arguments: [EncodedChunk.Encoding.raw, .zstd])
    func verifies(encoding: EncodedChunk.Encoding) throws {
        let chunks = chunks(2)
        let manifest = try manifest(chunks)
        let verifier = ChunkVerifier(manifest: manifest, buffers: ChunkBuffers(limit: 1))
        func encoded(_ bytes: [UInt8]) throws -> EncodedChunk {
            encoding == .raw
                ? EncodedChunk(encoding: .raw, bytes: bytes)
                : EncodedChunk(encoding: .zstd, bytes: try #require(Zstandard.compress(bytes, limit: 1 << 20)))
        }
        for (index, chunk) in chunks.enumerated() {
            #expect(try verifier.verify(index, encoded(chunk)).get().data == chunk)
            var damaged = chunk
            damaged[damaged.count / 2] ^= 1
            #expect(throws: TransferError.digestMismatch(chunk: index)) {
                try verifier.verify(index, encoded(damaged)).get()
            }
            #expect(throws: TransferError.undecodable(chunk: index)) {
                try verifier.verify(index, encoded(Array(chunk.dropLast()))).get()
            }
        }
    }

    @Test func verifiesOnSeveralThreads() throws {
        let chunks = chunks(20)
        let helpers = ParallelVerifier(manifest: try manifest(chunks), buffers: ChunkBuffers(limit: 4), threads: 3)
        defer { helpers.close() }
        for (index, chunk) in chunks.enumerated() {
            var chunk = chunk
            if index == 13 { chunk[0] ^= 1 }
            helpers.submit(index, EncodedChunk(encoding: .raw, bytes: chunk))
        }
        for (index, chunk) in chunks.enumerated() {
            let outcome = try #require(helpers.outcome(of: index, waiting: true))
            if index == 13 {
                #expect(throws: TransferError.digestMismatch(chunk: 13)) { try outcome.get() }
            } else {
                #expect(try outcome.get().data == chunk)
            }
        }
        #expect(helpers.outcome(of: 0, waiting: false) == nil)
    }

    @Test func chunksInFilesAreHandedOverInPieces() throws {
        let content = (0..<1000).map { UInt8(truncatingIfNeeded: $0) }
        let chunk = EncodedChunk(encoding: .raw, count: content.count) { buffer, position in
            guard position + buffer.count <= content.count else { return false }
            buffer.copyBytes(from: content[position..<position + buffer.count])
            return true
        }
        #expect(chunk.bytes == content)
        #expect(chunk.decoded(byteCount: 1000) == content)
        var scratch = [UInt8](repeating: 0, count: 300)
        var pieces: [[UInt8]] = []
        #expect(try chunk.forEachPiece(through: &scratch) { pieces.append(Array($0)) })
        #expect(pieces.map(\.count) == [300, 300, 300, 100])
        #expect(Array(pieces.joined()) == content)
        let broken = EncodedChunk(encoding: .raw, count: 1000) { _, position in position < 300 }
        pieces = []
        #expect(try !broken.forEachPiece(through: &scratch) { pieces.append(Array($0)) })
        #expect(pieces.count == 1)
        let unreadable = EncodedChunk(encoding: .raw, count: 1000) { _, _ in false }
        #expect(unreadable.bytes.isEmpty)
        #expect(unreadable.decoded(byteCount: 1000) == nil)
    }
}
