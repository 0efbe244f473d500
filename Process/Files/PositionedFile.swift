import CLinuxFiles
public import Glibc

/// Owns one descriptor; closed exactly once. Positioned reads and writes may come from several threads.
public final class PositionedFile<Failure: FileFailure>: Sendable {
    public let path: String
    public let descriptor: Int32

    /// Opens, never through a link, never inherited by a child.
    public init(path: String, flags: Int32, mode: mode_t) throws(Failure) {
        self.path = path
        self.descriptor = open(path, flags | O_CLOEXEC | O_NOFOLLOW, mode)
        guard descriptor >= 0 else { throw .last(path) }
    }

    deinit { close(descriptor) }

    /// What the file system says of it.
    public func status() throws(Failure) -> stat {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .last(path) }
        return status
    }

    /// In bytes.
    public func size() throws(Failure) -> Int64 { Int64(try status().st_size) }

    // MARK: Reading

    /// Up to `count` bytes at `offset`; fewer only at the end of the file.
    public func read(at offset: Int64, count: Int) throws(Failure) -> [UInt8] {
        var failed = false
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            let answer = read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            failed = answer == nil
            filled = answer ?? 0
        }
        if failed { throw .last(path) }
        return bytes
    }

    /// Fills `buffer` from `offset` on, and zeros what lies beyond the end of the file.
    public func read(at offset: Int64, into buffer: inout [UInt8]) throws(Failure) {
        let filled = buffer.withUnsafeMutableBytes { bytes in
            let answer = read(into: bytes, at: offset)
            if let answer { bytes[answer...].initializeMemory(as: UInt8.self, repeating: 0) }
            return answer
        }
        if filled == nil { throw .last(path) }
    }

    /// Fills all of `buffer` from `offset` on; false where that many bytes cannot be read.
    public func fills(_ buffer: UnsafeMutableRawBufferPointer, from offset: Int64) -> Bool {
        read(into: buffer, at: offset) == buffer.count
    }

    /// How many bytes were there; `nil` where reading failed, with the reason in `errno`.
    private func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) -> Int? {
        var filled = 0
        while filled < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
            let answer = pread(descriptor, rest.baseAddress, rest.count, off_t(offset) + off_t(filled))
            if answer > 0 {
                filled += answer
            } else if answer == 0 {
                break
            } else if errno != EINTR {
                return nil
            }
        }
        return filled
    }

    // MARK: Writing

    public func write(_ bytes: [UInt8], at offset: Int64) throws(Failure) { try write(bytes[...], at: offset) }

    /// Writes all bytes.
    public func write(_ bytes: ArraySlice<UInt8>, at offset: Int64) throws(Failure) {
        var position = 0
        var failed = false
        bytes.withUnsafeBytes { buffer in
            while position < buffer.count {
                let rest = UnsafeRawBufferPointer(rebasing: buffer[position...])
                let answer = pwrite(descriptor, rest.baseAddress, rest.count, off_t(offset) + off_t(position))
                if answer > 0 {
                    position += answer
                } else if answer == 0 || errno != EINTR {
                    failed = true
                    break
                }
            }
        }
        if failed { throw .last(path) }
    }

    public func truncate(to size: Int64) throws(Failure) {
        guard ftruncate(descriptor, off_t(size)) == 0 else { throw .last(path) }
    }

    /// Has the disk begin with what was written, so that `synchronise` finds little left to do.
    public func beginWriting(from offset: Int64, count: Int64) {
        // A hint: what it cannot do, `synchronise` does.
        _ = sync_file_range(descriptor, offset, count, linux_begin_writing)
    }

    public func synchronise() throws(Failure) {
        guard fsync(descriptor) == 0 else { throw .last(path) }
    }

    // MARK: Holes

    /// Where the first data from `offset` on begins; `nil` where there is none up to the end.
    public func data(from offset: Int64) -> Int64? {
        let data = lseek(descriptor, off_t(offset), linux_seek_data)
        return data < 0 ? nil : Int64(data)
    }

    /// Whether all of `offset..<offset+count` is a hole, and so reads as zeros. Where the file system cannot tell, it is data.
    public func isHole(at offset: Int64, count: Int) -> Bool {
        let data = lseek(descriptor, off_t(offset), linux_seek_data)
        return data < 0 ? errno == ENXIO : Int64(data) >= offset + Int64(count)
    }

    /// Makes a hole; where the file system knows none, zeros.
    public func punch(at offset: Int64, count: Int) throws(Failure) {
        if fallocate64(descriptor, linux_punch_hole, offset, Int64(count)) == 0 { return }
        guard errno == EOPNOTSUPP || errno == ENOSYS else { throw .last(path) }
        try write([UInt8](repeating: 0, count: count), at: offset)
    }

    /// Makes a part of this file the same blocks on the disk as a part of another (`FICLONERANGE`). False where the file
    /// system cannot, and nothing has changed.
    public func share(_ count: Int, at offset: Int64, of source: PositionedFile, at sourceOffset: Int64) -> Bool {
        linux_clone_range(descriptor, offset, source.descriptor, sourceOffset, Int64(count)) == 0
    }
}
