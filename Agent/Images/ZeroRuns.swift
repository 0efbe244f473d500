import Glibc

/// Finds the runs of zeros in a chunk that are worth a hole.
enum ZeroRuns {
    struct Piece: Equatable {
        var range: Range<Int>
        var isZero: Bool
    }

    /// What file systems allocate at least.
    static let block = 4096
    /// Shorter runs are written: each hole costs the file an extent more.
    static let shortestHole = 65_536

    /// The whole of `bytes` in pieces, in order: what is to be written, and runs of zeros that begin and end at a block.
    static func pieces(of bytes: [UInt8]) -> [Piece] {
        var pieces: [Piece] = []
        var dataStart = 0
        var zeroStart: Int?
        func end(of zeros: Int, at position: Int) {
            guard position - zeros >= shortestHole else { return }
            if zeros > dataStart { pieces.append(Piece(range: dataStart..<zeros, isZero: false)) }
            pieces.append(Piece(range: zeros..<position, isZero: true))
            dataStart = position
        }
        bytes.withUnsafeBytes { buffer in
            for start in stride(from: 0, to: buffer.count, by: block) {
                let isZero = isZero(UnsafeRawBufferPointer(rebasing: buffer[start..<min(start + block, buffer.count)]))
                if isZero {
                    zeroStart = zeroStart ?? start
                } else if let zeros = zeroStart {
                    end(of: zeros, at: start)
                    zeroStart = nil
                }
            }
        }
        if let zeros = zeroStart { end(of: zeros, at: bytes.count) }
        if dataStart < bytes.count { pieces.append(Piece(range: dataStart..<bytes.count, isZero: false)) }
        return pieces
    }

    /// Compares a block with itself, one word further on: as fast as memory.
    private static func isZero(_ block: UnsafeRawBufferPointer) -> Bool {
        guard let start = block.baseAddress, block.count > 8 else { return block.allSatisfy { $0 == 0 } }
        return start.loadUnaligned(as: UInt64.self) == 0 && memcmp(start, start + 8, block.count - 8) == 0
    }
}
