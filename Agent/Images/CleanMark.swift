import Glibc
import ProcessFiles

/// Says whether the last life of the cache ended in order. The mark is there only between two lives: what a crash leaves has
/// none, and is compared with its manifests before it is used (P7).
struct CleanMark: Sendable {
    let path: String

    init(folder: String) { path = folder + "/clean" }

    /// Whether the mark was there; it is gone when this returns, also after a crash that comes next.
    func take() throws(ImageCacheError) -> Bool {
        guard unlink(path) == 0 else {
            if errno == ENOENT { return false }
            throw .last(path)
        }
        try CacheFile.synchroniseFolder(of: path)
        return true
    }

    /// Everything that the cache holds is on the disk.
    func put() throws(ImageCacheError) {
        try CacheFile(path: path, flags: O_WRONLY | O_CREAT | O_TRUNC).synchronise()
        try CacheFile.synchroniseFolder(of: path)
    }
}
