import ChunkPlane
import Foundation
import Glibc
import ProcessFiles
import ProcessThreads
import ProtocolModel
import ProtocolTransfer

/// Compresses a registered image's chunks where that saves a tenth, and packs them, while they are served already: what is
/// asked for is packed first.
///
/// Each thread holds one chunk and its frame, so that memory is bounded by the number of threads. The order in the pack does
/// not matter, since the index says where each lies.
final class ChunkPacker: Sendable {
    private enum Entry {
        case raw
        case underWay
        case packed(PackedChunk)
    }

    private struct State {
        var entries: [Entry]
        var next = 0
        var packBytes: Int64 = 0
        var failure: ImageError?
        var isRemoved = false
    }

    /// Of the threads that pack what nobody has asked for yet; Linux has it by thread.
    private static let niceness: Int32 = 10

    let manifest: Manifest
    private let raw: RawChunks
    private let pack: OpenFile
    private let folder: String
    private let state: Monitor<State>

    /// `folder` is that of the image, which holds its manifest, and gets pack and index.
    init(manifest: Manifest, raw: RawChunks, folder: String) throws(ImageError) {
        self.manifest = manifest
        self.raw = raw
        self.folder = folder
        // What was packed in an earlier life is packed anew: nothing says how much of it had reached the disk.
        self.pack = try OpenFile(path: folder + "/" + Names.pack, flags: O_RDWR | O_CREAT | O_TRUNC)
        self.state = Monitor(State(entries: [Entry](repeating: .raw, count: manifest.chunkCount)))
    }

    /// The image was removed; `run` ends.
    func remove() { state.update { $0.isRemoved = true } }

    /// Works on `threads` threads until all is packed and on the disk. Blocks. After a failure,
    /// which leaves all that is packed, it may be run again.
    func run(threads: Int, isCancelled: @escaping @Sendable () -> Bool) throws(ImageError) {
        repeat { try packRest(threads: threads, isCancelled) } while isLacking
        try pack.synchronise()
        try Files.replace(folder + "/" + Names.index, with: index().serialised)
    }

    private func packRest(threads: Int, _ isCancelled: @escaping @Sendable () -> Bool) throws(ImageError) {
        state.withLock { state in
            state.failure = nil
            state.next = 0
        }
        let group = ThreadGroup(maximum: max(1, threads))
        for _ in 0..<max(1, threads) {
            _ = group.start(name: "chunk-pack") { [self] in
                // Nobody waits for it: whoever has other work on this host goes first.
                setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, Self.niceness)
                work(isCancelled)
            }
        }
        group.waitForAll()
        if let failure = state.withLock({ $0.isRemoved ? .cancelled : $0.failure }) { throw failure }
    }

    /// Whether a chunk that somebody asked for is still being packed, or could not be.
    private var isLacking: Bool {
        state.wait { state in
            var isLacking = false
            for (number, entry) in state.entries.enumerated() where !manifest.isZero(number) {
                switch entry {
                case .raw: isLacking = true
                case .underWay: return nil
                case .packed: break
                }
            }
            return isLacking
        } ?? true
    }

    private func index() -> PackIndex {
        var index = PackIndex(count: manifest.chunkCount)
        state.withLock { state in
            for (number, entry) in state.entries.enumerated() {
                if case .packed(let chunk) = entry { index.entries[number] = chunk }
            }
        }
        return index
    }

    /// A chunk to be sent, packed now if it is not yet. Waits where another packs it.
    func chunk(_ number: Int, waitingUpTo limit: Duration) -> ChunkReading {
        enum Turn { case mine, packed(PackedChunk) }
        let turn: Turn? = state.wait(upTo: limit) { state in
            switch state.entries[number] {
            case .raw:
                state.entries[number] = .underWay
                return .mine
            case .underWay: return nil
            case .packed(let chunk): return .packed(chunk)
            }
        }
        switch turn {
        case nil: return .notYet
        case .packed(let chunk): return .chunk(chunk.encoded(in: pack))
        case .mine:
            var data: [UInt8] = []
            do {
                let chunk = try packOne(number, &data, ZstandardPacker())
                return .chunk(chunk.encoded(in: pack))
            } catch .diskFull {
                // It cannot be kept; it can be sent.
                return .chunk(EncodedChunk(encoding: .raw, bytes: data))
            } catch {
                return .failed(error.sentence)
            }
        }
    }

    private func work(_ isCancelled: () -> Bool) {
        let packer = ZstandardPacker(level: Zstandard.thoroughLevel)
        // One buffer and one set of tables for all chunks: new ones would cost each chunk as much as its hash.
        var data: [UInt8] = []
        while let number = take(isCancelled()) {
            do {
                _ = try packOne(number, &data, packer)
            } catch {
                state.update { $0.failure = $0.failure ?? error }
                return
            }
        }
    }

    private func take(_ isCancelled: Bool) -> Int? {
        state.withLock { state in
            if isCancelled { state.failure = state.failure ?? .cancelled }
            while state.failure == nil, !state.isRemoved, state.next < manifest.chunkCount {
                let number = state.next
                state.next += 1
                guard case .raw = state.entries[number], !manifest.isZero(number) else { continue }
                state.entries[number] = .underWay
                return number
            }
            return nil
        }
    }

    private func packOne(
        _ number: Int, _ data: inout [UInt8], _ packer: borrowing ZstandardPacker
    ) throws(ImageError) -> PackedChunk {
        do throws(ImageError) {
            // Read again, from a disk perhaps: nothing is packed that is not what was registered.
            guard try raw.read(number, into: &data), manifest.verifies(data, index: number) else {
                throw .file(path: raw.file.path, reason: "the raw image has changed since it was registered")
            }
            // A frame that saves less than a tenth costs every receiver more time than it saves.
            let frame = packer.compress(data, limit: data.count * 9 / 10)
            let bytes = frame ?? data
            let offset = state.withLock { state in
                defer { state.packBytes += Int64(bytes.count) }
                return state.packBytes
            }
            try pack.write(bytes, at: offset)
            let chunk = PackedChunk(
                offset: offset, length: UInt32(bytes.count), encoding: frame == nil ? .raw : .zstd)
            state.update { $0.entries[number] = .packed(chunk) }
            return chunk
        } catch {
            state.update { $0.entries[number] = .raw }
            throw error
        }
    }
}
