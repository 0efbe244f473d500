import Glibc

/// A disk is never filled to its last byte: the record may lie on it, and a manager that cannot write answers nobody.
extension Files {
    /// A twentieth of the disk, at most 1 GiB, is left alone.
    private static let largestReserve: UInt64 = 1 << 30

    /// Whether `bytes` more fit beside the reserve. Where the file system does not say, they are tried.
    static func hasSpace(_ path: String, for bytes: Int64 = 0) -> Bool {
        var status = statvfs()
        let folder = path[..<(path.lastIndex(of: "/") ?? path.endIndex)]
        guard statvfs(String(folder), &status) == 0, status.f_blocks > 0 else { return true }
        let block = UInt64(status.f_frsize)
        let reserve = min(largestReserve, UInt64(status.f_blocks) * block / 20)
        let free = UInt64(status.f_bavail) * block
        return free >= reserve && free - reserve >= UInt64(max(0, bytes))
    }

    /// Does something that writes to `folder`, and stops it where the disk runs full: a few kilobytes that were sent may
    /// become terabytes when they are converted.
    static func whileSpaceLasts<Value: Sendable>(
        in folder: String, _ body: @escaping @Sendable () async throws(ImageError) -> Value
    ) async throws(ImageError) -> Value {
        let outcome = await withTaskGroup(of: Result<Value, ImageError>?.self) { group in
            group.addTask {
                do throws(ImageError) { return .success(try await body()) } catch { return .failure(error) }
            }
            group.addTask {
                while hasSpace(folder + "/") {
                    do { try await Task.sleep(for: .milliseconds(250)) } catch { return nil }
                }
                return .failure(.diskFull(path: folder))
            }
            var first: Result<Value, ImageError>?
            // What is stopped has cleaned up when it ends, so the group is left only then.
            for await outcome in group {
                if first == nil { first = outcome }
                group.cancelAll()
            }
            return first
        }
        guard let outcome else { throw .cancelled }
        return try outcome.get()
    }
}
