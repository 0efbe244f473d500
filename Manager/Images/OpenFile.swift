import Foundation
import Glibc
import ProcessFiles

/// A file of the store.
typealias OpenFile = PositionedFile<ImageError>

extension PositionedFile where Failure == ImageError {
    /// Nobody but the manager reads what it makes.
    convenience init(path: String, flags: Int32) throws(ImageError) {
        try self.init(path: path, flags: flags, mode: 0o600)
    }

    /// Whether it is a file and nothing else, by one name.
    func isPlain() throws(ImageError) -> Bool {
        let status = try status()
        return status.st_mode & S_IFMT == S_IFREG && status.st_nlink == 1
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
        guard rename(from, to) == 0 else { throw .last(to) }
        try synchroniseFolder(URL(fileURLWithPath: to).deletingLastPathComponent().path)
    }

    static func synchroniseFolder(_ path: String) throws(ImageError) {
        let folder = try OpenFile(path: path, flags: O_RDONLY | O_DIRECTORY)
        try folder.synchronise()
    }
}
