import Glibc
import ProcessFiles
import ProcessThreads
import ProtocolModel
import ProtocolTransfer

/// Takes the digest of each chunk of a raw image, close behind a converter that still writes it: what a manifest is made of.
///
/// Several threads take chunks in turn, in order; each holds one chunk, so that memory is bounded by the number of threads.
final class ChunkDigester: Sendable {
    private struct State {
        var next = 0
        var finished = 0
        var digests: [UInt8]
        var failure: ImageError?
    }

    private let source: GrowingFile
    private let raw: RawChunks
    private let progress: @Sendable (Int) -> Void
    private let isCancelled: @Sendable () -> Bool
    private let state: Monitor<State>

    /// - Parameter progress: is told percents.
    init(
        source: GrowingFile, raw: RawChunks, progress: @escaping @Sendable (Int) -> Void,
        isCancelled: @escaping @Sendable () -> Bool
    ) {
        self.source = source
        self.raw = raw
        self.progress = progress
        self.isCancelled = isCancelled
        self.state = Monitor(State(digests: [UInt8](repeating: 0, count: raw.count * ContentDigest.byteCount)))
    }

    /// Works on `threads` threads, this one among them. Blocks.
    func run(threads: Int) throws(ImageError) -> [UInt8] {
        let group = ThreadGroup(maximum: max(0, threads - 1))
        for _ in 1..<max(1, threads) { _ = group.start(name: "chunk-digest") { [self] in work() } }
        work()
        group.waitForAll()
        let (failure, digests) = state.withLock { ($0.failure, $0.digests) }
        if let failure { throw failure }
        return digests
    }

    private func work() {
        // One buffer for all chunks: a new one would cost each chunk as much as its hash.
        var data: [UInt8] = []
        while let number = take() {
            do {
                try digestOne(number, &data)
            } catch {
                state.withLock { $0.failure = $0.failure ?? error }
                return
            }
            if let percent = finishedOne() { progress(percent) }
        }
    }

    private func take() -> Int? {
        let cancelled = isCancelled()
        return state.withLock { state in
            if cancelled { state.failure = state.failure ?? .cancelled }
            guard state.failure == nil, state.next < raw.count else { return nil }
            state.next += 1
            return state.next - 1
        }
    }

    private func digestOne(_ number: Int, _ data: inout [UInt8]) throws(ImageError) {
        // Whoever stopped the converter knows better why.
        guard source.waits(for: raw.end(of: number)) else { throw .cancelled }
        guard try raw.read(number, into: &data) else { return }
        let digest = Manifest.digest(of: data)
        state.withLock { state in
            let start = number * ContentDigest.byteCount
            state.digests.replaceSubrange(start..<start + ContentDigest.byteCount, with: digest.bytes)
        }
    }

    /// The percent, where it just changed.
    private func finishedOne() -> Int? {
        state.withLock { state in
            state.finished += 1
            let percent = state.finished * 100 / raw.count
            return percent != (state.finished - 1) * 100 / raw.count ? percent : nil
        }
    }
}

/// A raw image's chunks, in the file that a converter or a user wrote.
struct RawChunks: Sendable {
    let file: OpenFile
    /// Size of the image: the file's, rounded up to a sector.
    let sizeBytes: Int64
    let chunkBytes: Int
    let count: Int
    private let fileBytes: Int64

    init(file: OpenFile, fileBytes: Int64, sizeBytes: Int64) {
        self.file = file
        self.fileBytes = fileBytes
        self.sizeBytes = (sizeBytes + 511) / 512 * 512
        self.chunkBytes = Manifest.chunkBytes(forImageBytes: self.sizeBytes)
        self.count = Manifest.chunkCount(imageBytes: self.sizeBytes, chunkBytes: chunkBytes)
    }

    /// Whether the file is as long as it was.
    var hasKeptSize: Bool { get throws(ImageError) { try file.size() == fileBytes } }

    /// Where the chunk ends in the image.
    func end(of number: Int) -> Int64 { min(Int64(number + 1) * Int64(chunkBytes), sizeBytes) }

    /// Reads a chunk whole; false where it is all zeros.
    func read(_ number: Int, into data: inout [UInt8]) throws(ImageError) -> Bool {
        let offset = Int64(number) * Int64(chunkBytes)
        let size = Int(end(of: number) - offset)
        if offset >= fileBytes || file.isHole(at: offset, count: size) { return false }
        if data.count != size { data = [UInt8](unsafeUninitializedCapacity: size) { $1 = size } }
        // The image's size is rounded up to a sector; the file may end before that.
        try file.read(at: offset, into: &data)
        return !Self.isZero(data)
    }

    private static func isZero(_ data: [UInt8]) -> Bool {
        data.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress, bytes.count > 0, bytes[0] == 0 else { return bytes.isEmpty }
            // Each byte equals the one before it, and the first is zero.
            return memcmp(start, start + 1, bytes.count - 1) == 0
        }
    }
}
