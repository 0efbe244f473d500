import CLinuxFiles
import Foundation
import Glibc

/// Owns one descriptor of the cache; closed exactly once. Positioned calls may come from several threads.
final class CacheFile: Sendable {
    let path: String
    private let descriptor: Int32

    init(path: String, flags: Int32, mode: mode_t = 0o644) throws(ImageCacheError) {
        self.path = path
        self.descriptor = open(path, flags | O_CLOEXEC | O_NOFOLLOW, mode)
        guard descriptor >= 0 else { throw .last(path) }
    }

    deinit { close(descriptor) }

    func size() throws(ImageCacheError) -> Int64 {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .last(path) }
        return Int64(status.st_size)
    }

    func read(at offset: Int64, count: Int) throws(ImageCacheError) -> [UInt8] {
        var failed = false
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            let answer = read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            failed = answer == nil
            filled = answer ?? 0
        }
        if failed { throw .last(path) }
        return bytes
    }

    /// Fills all of `buffer` from `offset` on; false where that many bytes cannot be read.
    func fills(_ buffer: UnsafeMutableRawBufferPointer, from offset: Int64) -> Bool {
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

    func write(_ bytes: ArraySlice<UInt8>, at offset: Int64) throws(ImageCacheError) {
        var position = 0
        var failed = false
        bytes.withUnsafeBytes { buffer in
            guard let start = buffer.baseAddress else { return }
            while position < bytes.count {
                let answer = pwrite(descriptor, start + position, bytes.count - position, off_t(offset) + position)
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

    /// Writes a chunk whose long runs of zeros become holes: they take no space, here and in whatever is copied from it.
    ///
    /// - Parameter punching: whether there may be other bytes where the holes are to be.
    func writeSparse(_ bytes: [UInt8], at offset: Int64, punching: Bool) throws(ImageCacheError) {
        for run in ZeroRuns.pieces(of: bytes) {
            let position = offset + Int64(run.range.lowerBound)
            if !run.isZero {
                try write(bytes[run.range], at: position)
            } else if punching {
                try punch(at: position, count: run.range.count)
            }
        }
    }

    /// Makes a hole; where the file system knows none, zeros.
    func punch(at offset: Int64, count: Int) throws(ImageCacheError) {
        if fallocate64(descriptor, linux_punch_hole, offset, Int64(count)) == 0 { return }
        guard errno == EOPNOTSUPP || errno == ENOSYS else { throw .last(path) }
        try write([UInt8](repeating: 0, count: count)[...], at: offset)
    }

    /// Whether a part of the file takes no space and so reads as zeros. False where the file system cannot tell.
    func isHole(at offset: Int64, count: Int) -> Bool {
        let data = lseek(descriptor, off_t(offset), linux_seek_data)
        return data < 0 ? errno == ENXIO : data >= off_t(offset) + count
    }

    /// Makes a part of this file the same blocks on the disk as a part of another (`FICLONERANGE`). False where the file
    /// system cannot, and nothing has changed.
    func share(_ count: Int, at offset: Int64, of source: CacheFile, at sourceOffset: Int64) -> Bool {
        linux_clone_range(descriptor, offset, source.descriptor, sourceOffset, Int64(count)) == 0
    }

    /// Bytes that the file takes on the disk.
    func allocatedBytes() -> Int64 {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? Int64(status.st_blocks) * 512 : 0
    }

    func truncate(to size: Int64) throws(ImageCacheError) {
        guard ftruncate(descriptor, off_t(size)) == 0 else { throw .last(path) }
    }

    func synchronise() throws(ImageCacheError) {
        guard fsync(descriptor) == 0 else { throw .last(path) }
    }

    /// A whole small file; `nil` where it is not there or larger than `limit`.
    static func contents(_ path: String, limit: Int) -> [UInt8]? {
        guard let file = try? CacheFile(path: path, flags: O_RDONLY), let size = try? file.size(), size <= limit else {
            return nil
        }
        guard let bytes = try? file.read(at: 0, count: Int(size)), bytes.count == Int(size) else { return nil }
        return bytes
    }

    /// Replaces a small file as a whole: after a crash either the old or the new one is there.
    static func replace(_ path: String, with bytes: [UInt8]) throws(ImageCacheError) {
        let temporary = path + ".new"
        let file = try CacheFile(path: temporary, flags: O_WRONLY | O_CREAT | O_TRUNC)
        try file.write(bytes[...], at: 0)
        try file.synchronise()
        guard rename(temporary, path) == 0 else { throw .last(path) }
    }

    static func synchroniseFolder(of path: String) throws(ImageCacheError) {
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        try CacheFile(path: folder, flags: O_RDONLY | O_DIRECTORY).synchronise()
    }
}
