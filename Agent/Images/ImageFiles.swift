import Crypto
import Foundation
import Glibc
public import ProtocolModel

/// Why the cache could not do something.
public enum ImageCacheError: Error, Equatable, Sendable, CustomStringConvertible {
    case diskFull(path: String)
    case file(path: String, reason: String)
    case removed

    public var description: String {
        switch self {
        case .diskFull(let path): "the disk that holds \(path) is full; free space in the image cache of this host"
        case .file(let path, let reason): "\(path): \(reason)"
        case .removed: "the image was removed from the cache"
        }
    }

    static func last(_ path: String) -> Self {
        switch errno {
        case ENOSPC, EDQUOT: .diskFull(path: path)
        default: .file(path: path, reason: String(cString: strerror(errno)))
        }
    }
}

/// Where an image lies in the cache: `_base/<sha1>`, the name that sites know (HLT-41).
public struct ImageFiles: Hashable, Sendable {
    /// The finished raw image.
    public let raw: String
    /// The raw image while it is received.
    var partial: String { raw + ".partial" }
    var manifest: String { raw + ".manifest" }
    /// Which chunks of the partial file are verified and on the disk.
    var bitmap: String { raw + ".bitmap" }

    public init(cache: String, image: ImageID) {
        raw = Self.folder(cache) + "/" + Self.name(of: image)
    }

    static func folder(_ cache: String) -> String { cache + "/_base" }

    /// SHA-1 of the identifier's text in lower case, as the convention wants it. SHA-1 is no protection here: contents
    /// are verified by the manifest's SHA-256.
    public static func name(of image: ImageID) -> String {
        Insecure.SHA1.hash(data: Data("\(image)".utf8)).hexadecimal
    }
}

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
            filled = 0
            guard let start = buffer.baseAddress else { return }
            while filled < count {
                let answer = pread(descriptor, start + filled, count - filled, off_t(offset) + filled)
                if answer > 0 {
                    filled += answer
                } else if answer == 0 {
                    break
                } else if errno != EINTR {
                    failed = true
                    break
                }
            }
        }
        if failed { throw .last(path) }
        return bytes
    }

    func write(_ bytes: [UInt8], at offset: Int64) throws(ImageCacheError) {
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
        try file.write(bytes, at: 0)
        try file.synchronise()
        guard rename(temporary, path) == 0 else { throw .last(path) }
    }

    static func synchroniseFolder(of path: String) throws(ImageCacheError) {
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        try CacheFile(path: folder, flags: O_RDONLY | O_DIRECTORY).synchronise()
    }
}
