import Foundation
import Glibc
import ProcessFiles

/// A file of the cache.
typealias CacheFile = PositionedFile<ImageCacheError>

extension PositionedFile where Failure == ImageCacheError {
    /// QEMU, which has a user of its own, may read what the cache holds.
    convenience init(path: String, flags: Int32) throws(ImageCacheError) {
        try self.init(path: path, flags: flags, mode: 0o644)
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

    /// Bytes that the file takes on the disk; 0 where that cannot be told.
    func allocatedBytes() -> Int64 { (try? status()).map { Int64($0.st_blocks) * 512 } ?? 0 }

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
