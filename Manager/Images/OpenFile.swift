import CLinuxFiles
import Foundation
import Glibc

/// Owns one descriptor; closed exactly once. Positioned reads and writes may come from several threads.
final class OpenFile: Sendable {
    let path: String
    let descriptor: Int32

    /// Opens, never through a link, never inherited by a child.
    init(path: String, flags: Int32, mode: mode_t = 0o600) throws(ImageError) {
        self.path = path
        self.descriptor = open(path, flags | O_CLOEXEC | O_NOFOLLOW, mode)
        guard descriptor >= 0 else { throw Self.failure(path) }
    }

    deinit { close(descriptor) }

    static func failure(_ path: String) -> ImageError {
        switch errno {
        case ENOSPC, EDQUOT: .diskFull(path: path)
        default: .file(path: path, reason: String(cString: strerror(errno)))
        }
    }

    func size() throws(ImageError) -> Int64 {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.failure(path) }
        return Int64(status.st_size)
    }

    /// Whether it is a file and nothing else, by one name.
    func isPlain() throws(ImageError) -> Bool {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.failure(path) }
        return status.st_mode & S_IFMT == S_IFREG && status.st_nlink == 1
    }

    /// Up to `count` bytes at `offset`; fewer only at the end of the file.
    func read(at offset: Int64, count: Int) throws(ImageError) -> [UInt8] {
        var failed = false
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            let answer = read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            failed = answer == nil
            filled = answer ?? 0
        }
        if failed { throw Self.failure(path) }
        return bytes
    }

    /// Fills `buffer` from `offset` on, and zeros what lies beyond the end of the file.
    func read(at offset: Int64, into buffer: inout [UInt8]) throws(ImageError) {
        let filled = buffer.withUnsafeMutableBytes { bytes in
            let answer = read(into: bytes, at: offset)
            if let answer { bytes[answer...].initializeMemory(as: UInt8.self, repeating: 0) }
            return answer
        }
        if filled == nil { throw Self.failure(path) }
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

    func write(_ bytes: [UInt8], at offset: Int64) throws(ImageError) {
        var position = 0
        var failed = false
        bytes.withUnsafeBytes { buffer in
            while position < bytes.count {
                let answer = pwrite(
                    descriptor, buffer.baseAddress! + position, bytes.count - position, off_t(offset) + position)
                if answer > 0 {
                    position += answer
                } else if answer == 0 || errno != EINTR {
                    failed = true
                    break
                }
            }
        }
        if failed { throw Self.failure(path) }
    }

    func truncate(to size: Int64) throws(ImageError) {
        guard ftruncate(descriptor, off_t(size)) == 0 else { throw Self.failure(path) }
    }

    /// Has the disk begin with what was written, so that `synchronise` finds little left to do.
    func beginWriting(from offset: Int64, count: Int64) {
        // A hint: what it cannot do, `synchronise` does.
        _ = sync_file_range(descriptor, offset, count, linux_begin_writing)
    }

    func synchronise() throws(ImageError) {
        guard fsync(descriptor) == 0 else { throw Self.failure(path) }
    }

    /// Where the first data from `offset` on begins; `nil` where there is none up to the end.
    func data(from offset: Int64) -> Int64? {
        let data = lseek(descriptor, off_t(offset), linux_seek_data)
        return data < 0 ? nil : Int64(data)
    }

    /// Whether all of `offset..<offset+count` is a hole. Where the file system cannot tell, it is data.
    func isHole(at offset: Int64, count: Int) -> Bool {
        let data = lseek(descriptor, off_t(offset), linux_seek_data)
        if data < 0 { return errno == ENXIO }
        return Int64(data) >= offset + Int64(count)
    }
}

/// Folders and files of the store.
enum Files {
    static func makeFolder(_ path: String) throws(ImageError) {
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw .file(path: path, reason: error.localizedDescription)
        }
    }

    /// Removes a file or a folder with all in it; nothing there is no error.
    static func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }

    static func names(in folder: String) -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    }

    /// Writes a whole file and has it on the disk before it returns.
    static func write(_ bytes: [UInt8], to path: String) throws(ImageError) {
        let file = try OpenFile(path: path, flags: O_WRONLY | O_CREAT | O_TRUNC)
        try file.write(bytes, at: 0)
        try file.synchronise()
    }

    /// Puts a whole file in place of another, so that after a crash it is either.
    static func replace(_ path: String, with bytes: [UInt8]) throws(ImageError) {
        try write(bytes, to: path + ".part")
        try publish(path + ".part", as: path)
    }

    /// Renames and makes the new name survive a crash of the host.
    static func publish(_ from: String, as to: String) throws(ImageError) {
        guard rename(from, to) == 0 else { throw OpenFile.failure(to) }
        try synchroniseFolder(URL(fileURLWithPath: to).deletingLastPathComponent().path)
    }

    static func synchroniseFolder(_ path: String) throws(ImageError) {
        let folder = try OpenFile(path: path, flags: O_RDONLY | O_DIRECTORY)
        try folder.synchronise()
    }
}
