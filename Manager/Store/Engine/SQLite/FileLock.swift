import Glibc

/// Keeps a second process from writing an SQLite file, for as long as this value lives (STB-07).
///
/// The lock is on a file beside it: closing any descriptor of the database's own file would drop SQLite's locks.
final class FileLock: Sendable {
    private let descriptor: Int32

    /// - Throws: `StoreError.inUse`, which names the process, or `.cannotOpen`.
    init(of path: String) throws(StoreError) {
        let lockPath = path + "-lock"
        let descriptor = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .cannotOpen(path: lockPath, message: String(cString: strerror(errno))) }
        // Again for a moment: somebody may just be looking who has it.
        var attempts = 0
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0, attempts < 5 {
            attempts += 1
            usleep(20_000)
        }
        guard attempts < 5 else {
            let holder = Self.read(descriptor)
            close(descriptor)
            throw .inUse(path: path, holder: holder.map { "process \($0.process)" } ?? "another process")
        }
        self.descriptor = descriptor
        note(waiting: 0, lastCommit: nil)
    }

    /// What a process that has the file says of itself.
    struct Holder: Equatable {
        var process: Int32
        /// Writes that waited when it last wrote something, and when that was.
        var waiting: Int
        var lastCommit: Int64?
    }

    /// Tells those who ask about the file; only a hint, so that a full disk does not matter.
    func note(waiting: Int, lastCommit: Int64?) {
        let words = [String(getpid()), String(waiting), lastCommit.map(String.init) ?? "-"].joined(separator: " ")
        let text = Array((words + String(repeating: " ", count: max(0, 60 - words.utf8.count)) + "\n").utf8)
        _ = pwrite(descriptor, text, text.count, 0)
    }

    /// Who has the file; `nil` where nobody does.
    static func holder(of path: String) -> Holder? {
        let descriptor = open(path + "-lock", O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        // Taken for a moment, and free again with the descriptor.
        return flock(descriptor, LOCK_SH | LOCK_NB) == 0 ? nil : read(descriptor)
    }

    private static func read(_ descriptor: Int32) -> Holder? {
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        let words = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self).split { $0 == " " || $0 == "\n" }
        guard words.count >= 3, let process = Int32(words[0]), let waiting = Int(words[1]) else { return nil }
        return Holder(process: process, waiting: waiting, lastCommit: Int64(words[2]))
    }

    deinit { close(descriptor) }
}
