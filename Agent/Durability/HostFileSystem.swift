import Foundation

/// The host's own files.
public struct HostFileSystem: FileSystem {
    public init() {}

    public func read(_ path: String, limit: Int) throws(FileProblem) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        if descriptor < 0 {
            if errno == ENOENT { return nil }
            throw FileProblem(operation: "open", path: path, code: errno)
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = buffer.withUnsafeMutableBytes { Foundation.read(descriptor, $0.baseAddress, $0.count) }
            if count == 0 { return bytes }
            if count < 0 {
                if errno == EINTR { continue }
                throw FileProblem(operation: "read", path: path, code: errno)
            }
            bytes += buffer[..<count]
            if bytes.count > limit { throw FileProblem(operation: "read", path: path, code: EFBIG) }
        }
    }

    public func write(_ bytes: [UInt8], to path: String, mode: UInt32) throws(FileProblem) {
        try put(bytes, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
    }

    public func append(_ bytes: [UInt8], to path: String, mode: UInt32) throws(FileProblem) {
        try put(bytes, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, mode)
    }

    private func put(_ bytes: [UInt8], _ path: String, _ flags: Int32, _ mode: UInt32) throws(FileProblem) {
        let descriptor = open(path, flags, mode_t(mode))
        guard descriptor >= 0 else { throw FileProblem(operation: "open", path: path, code: errno) }
        defer { close(descriptor) }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                throw FileProblem(operation: "write", path: path, code: errno)
            }
            rest = rest.dropFirst(count)
        }
        guard fsync(descriptor) == 0 else { throw FileProblem(operation: "sync", path: path, code: errno) }
    }

    public func truncate(_ path: String, to size: Int) throws(FileProblem) {
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileProblem(operation: "open", path: path, code: errno) }
        defer { close(descriptor) }
        guard ftruncate(descriptor, off_t(size)) == 0 else {
            throw FileProblem(operation: "truncate", path: path, code: errno)
        }
        guard fsync(descriptor) == 0 else { throw FileProblem(operation: "sync", path: path, code: errno) }
    }

    public func rename(_ path: String, to new: String) throws(FileProblem) {
        guard Foundation.rename(path, new) == 0 else {
            throw FileProblem(operation: "rename", path: path, code: errno)
        }
    }

    public func remove(_ path: String) throws(FileProblem) {
        guard unlink(path) == 0 || errno == ENOENT else {
            throw FileProblem(operation: "remove", path: path, code: errno)
        }
    }

    public func syncFolder(_ path: String) throws(FileProblem) {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileProblem(operation: "open", path: path, code: errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw FileProblem(operation: "sync", path: path, code: errno) }
    }

    public func list(_ path: String) throws(FileProblem) -> [String] {
        guard let folder = opendir(path) else { throw FileProblem(operation: "list", path: path, code: errno) }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    public func makeFolder(_ path: String, mode: UInt32) throws(FileProblem) {
        var built = path.hasPrefix("/") ? "" : "."
        for part in path.split(separator: "/") {
            built += "/" + part
            guard mkdir(built, 0o755) == 0 || errno == EEXIST else {
                throw FileProblem(operation: "make the folder", path: built, code: errno)
            }
        }
        guard chmod(path, mode_t(mode)) == 0 else {
            throw FileProblem(operation: "set the mode of", path: path, code: errno)
        }
    }
}

extension FileProblem {
    static let noSpace = ENOSPC
    static let quotaExceeded = EDQUOT

    static func sentence(of code: Int32) -> String { String(cString: strerror(code)) }
}
