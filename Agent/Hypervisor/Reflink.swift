import CLinuxFiles
import Foundation
import Glibc

/// How an instance's root disk is made from its image.
public enum RootDiskKind: String, CaseIterable, Sendable {
    /// A qcow2 file on top of the cached image, which it needs for as long as it lives.
    case overlay
    /// A raw file that shares the image's blocks until one of the two changes them (XFS, Btrfs): it needs the image no more
    /// once it is made.
    case reflink
}

/// Copies of files that share their blocks on the disk.
public enum Reflink {
    public struct Unsupported: Error, Sendable, Equatable, CustomStringConvertible {
        public let source: String
        public let target: String

        public var description: String {
            "\(target) cannot be a copy that shares the blocks of \(source) (reflink): both must lie on one XFS or Btrfs file "
                + "system; move images.cache or the data folder there, or set images.root_disk to overlay"
        }
    }

    /// Copies a whole file and makes the copy longer, closed to others. What was half made is removed.
    static func copy(_ source: String, to target: String, sizeBytes: UInt64) throws {
        let from = open(source, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard from >= 0 else { throw failure("cannot open", source) }
        defer { close(from) }
        let to = open(target, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard to >= 0 else { throw failure("cannot make", target) }
        defer { close(to) }
        guard linux_clone(to, from) == 0 else {
            let code = errno
            unlink(target)
            switch code {
            case EOPNOTSUPP, ENOTTY, ENOSYS, EXDEV, EINVAL: throw Unsupported(source: source, target: target)
            default:
                errno = code
                throw failure("cannot copy to", target)
            }
        }
        guard ftruncate(to, off_t(clamping: sizeBytes)) == 0 else {
            let problem = failure("cannot lengthen", target)
            unlink(target)
            throw problem
        }
    }

    /// Tries it with a small file, so that a host that cannot do it says so when it starts and not at its first guest.
    ///
    /// - Throws: `Unsupported`, or what is wrong with a folder.
    public static func prove(from source: String, to target: String) throws {
        for folder in [source, target] {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        }
        let (probe, copied) = (source + "/reflink-probe", target + "/reflink-probe-copy")
        for path in [probe, copied] { unlink(path) }
        defer { for path in [probe, copied] { unlink(path) } }
        try Data(repeating: 1, count: 65_536).write(to: URL(fileURLWithPath: probe))
        do {
            try copy(probe, to: copied, sizeBytes: 65_536)
        } catch is Unsupported {
            throw Unsupported(source: source, target: target)
        }
    }

    /// To be made at once, while `errno` is the call's own.
    private static func failure(_ what: String, _ name: String) -> InstanceFolder.Failure {
        .files("\(what) \(name): \(String(cString: strerror(errno)))")
    }
}
