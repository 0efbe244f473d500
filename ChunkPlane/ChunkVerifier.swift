import ProcessThreads
import ProtocolTransfer

/// Decodes chunks and compares them with their digests. Belongs to one thread.
struct ChunkVerifier: ~Copyable {
    private let manifest: Manifest
    private let buffers: ChunkBuffers
    private let zstandard = ZstandardReader()

    init(manifest: Manifest, buffers: ChunkBuffers) {
        self.manifest = manifest
        self.buffers = buffers
    }

    func verify(_ index: Int, _ encoded: EncodedChunk) -> Result<ChunkClient.VerifiedChunk, TransferError> {
        let size = manifest.chunkSize(index)
        var data: [UInt8]
        switch encoded.encoding {
        case .raw: data = encoded.bytes
        case .zstd:
            data = buffers.take(size)
            guard zstandard.decode(encoded.bytes, into: &data) else { return .failure(.undecodable(chunk: index)) }
        }
        guard data.count == size else { return .failure(.undecodable(chunk: index)) }
        guard manifest.verifies(data, index: index) else { return .failure(.digestMismatch(chunk: index)) }
        return .success(ChunkClient.VerifiedChunk(index: index, data: data, encoded: encoded))
    }
}

/// Verifies beside the thread that receives, so that a connection is not held to what one processor hashes and decodes.
/// Used only while bytes come faster than that: each hand-over costs two changes of thread.
final class ParallelVerifier: Sendable {
    typealias Outcome = Result<ChunkClient.VerifiedChunk, TransferError>
    private struct Job: Sendable {
        let index: Int
        let encoded: EncodedChunk
    }

    private let queue = JobQueue<Job>(limit: 64)
    private let outcomes = Monitor<[Int: Outcome]>([:])
    private let threads: ThreadGroup
    private let manifest: Manifest
    private let buffers: ChunkBuffers

    init(manifest: Manifest, buffers: ChunkBuffers, threads: Int) {
        self.manifest = manifest
        self.buffers = buffers
        self.threads = ThreadGroup(maximum: threads)
    }

    /// Takes a chunk in; what becomes of it is asked for later.
    func submit(_ index: Int, _ encoded: EncodedChunk) {
        guard let isTaken = try? queue.add(Job(index: index, encoded: encoded)) else {
            // Nobody is free for it.
            let outcome = ChunkVerifier(manifest: manifest, buffers: buffers).verify(index, encoded)
            outcomes.update { $0[index] = outcome }
            return
        }
        guard !isTaken else { return }
        threads.start(name: "chunk-verify") { [queue, outcomes, manifest, buffers] in
            let verifier = ChunkVerifier(manifest: manifest, buffers: buffers)
            while let job = queue.take(upTo: 1)?.first {
                let outcome = verifier.verify(job.index, job.encoded)
                outcomes.update { $0[job.index] = outcome }
            }
        }
    }

    /// What became of a chunk; `nil` where it is not done and `waiting` is false.
    func outcome(of index: Int, waiting: Bool) -> Outcome? {
        waiting
            ? outcomes.wait { $0.removeValue(forKey: index) } : outcomes.withLock { $0.removeValue(forKey: index) }
    }

    /// Ends the threads after what they have in hand.
    func close() { queue.close() }
}
