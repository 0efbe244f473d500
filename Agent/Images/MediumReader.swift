import CLinuxFiles
import Glibc
import ProcessFiles

/// Reads what is on the medium and not what the page cache remembers of it (`O_DIRECT`), so that a check finds what has
/// rotted there, and does not push the guests' pages out. Where the file system has no such reads, ordinary ones.
///
/// Belongs to one thread.
final class MediumReader {
    private let path: String
    private let descriptor: Int32
    private let buffer: UnsafeMutableRawBufferPointer
    private static let alignment = 4096

    /// - Parameter limit: the most bytes of a read.
    init(path: String, limit: Int) throws(ImageCacheError) {
        let direct = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | linux_direct)
        let descriptor = direct >= 0 || errno != EINVAL ? direct : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { throw .last(path) }
        self.path = path
        self.descriptor = descriptor
        buffer = .allocate(byteCount: Self.rounded(limit), alignment: Self.alignment)
    }

    deinit {
        close(descriptor)
        buffer.deallocate()
    }

    /// Fewer bytes than asked for where the file ends.
    ///
    /// - Parameter offset: a multiple of the block size.
    func read(at offset: Int64, count: Int) throws(ImageCacheError) -> [UInt8] {
        let wanted = Self.rounded(count)
        precondition(wanted <= buffer.count, "the buffer holds a whole chunk")
        var filled = 0
        while filled < count {
            let answer = pread(descriptor, buffer.baseAddress! + filled, wanted - filled, off_t(offset) + filled)
            if answer > 0 {
                filled += answer
                // Only the end of the file is not a whole block.
                if filled % Self.alignment != 0 { break }
            } else if answer == 0 {
                break
            } else if errno != EINTR {
                throw .last(path)
            }
        }
        return Array(buffer.prefix(min(filled, count)))
    }

    private static func rounded(_ count: Int) -> Int { (count + alignment - 1) / alignment * alignment }
}
