import Glibc

/// An error that trouble with a file can be told as.
public protocol FileFailure: Error {
    static func diskFull(path: String) -> Self
    static func file(path: String, reason: String) -> Self
}

extension FileFailure {
    /// What the last call of this thread failed with (`errno`).
    public static func last(_ path: String) -> Self {
        switch errno {
        case ENOSPC, EDQUOT: diskFull(path: path)
        default: file(path: path, reason: String(cString: strerror(errno)))
        }
    }
}
