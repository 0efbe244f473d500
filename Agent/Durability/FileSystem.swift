/// A file operation that did not work.
public struct FileProblem: Error, Sendable, Equatable, CustomStringConvertible {
    /// What was tried, such as `write`.
    public var operation: String
    public var path: String
    /// The system's error number (`errno`).
    public var code: Int32

    public init(operation: String, path: String, code: Int32) {
        self.operation = operation
        self.path = path
        self.code = code
    }

    public var isDiskFull: Bool { code == FileProblem.noSpace || code == FileProblem.quotaExceeded }

    public var description: String {
        "could not \(operation) \(path): \(FileProblem.sentence(of: code))"
            + (isDiskFull ? "; make room on that file system" : "")
    }
}

/// The few calls that durable files are made of. Each blocks, and each may fail; tests fail them one by one.
public protocol FileSystem: Sendable {
    /// The bytes of a file; `nil` where there is none. A file above the limit is a problem (`EFBIG`).
    func read(_ path: String, limit: Int) throws(FileProblem) -> [UInt8]?
    /// Makes the file anew with these bytes, and returns once they are on the disk.
    func write(_ bytes: [UInt8], to path: String, mode: UInt32) throws(FileProblem)
    /// Adds bytes at the end of a file, made if need be, and returns once they are on the disk.
    func append(_ bytes: [UInt8], to path: String, mode: UInt32) throws(FileProblem)
    /// Cuts a file off, and returns once that is on the disk.
    func truncate(_ path: String, to size: Int) throws(FileProblem)
    func rename(_ path: String, to new: String) throws(FileProblem)
    /// Removing what is not there is no problem.
    func remove(_ path: String) throws(FileProblem)
    /// Makes the names in a folder durable.
    func syncFolder(_ path: String) throws(FileProblem)
    /// Names in a folder, in order.
    func list(_ path: String) throws(FileProblem) -> [String]
    /// Makes a folder and those above it; the mode is set on the last, made or found.
    func makeFolder(_ path: String, mode: UInt32) throws(FileProblem)
}

extension FileSystem {
    /// Replaces a file so that after a crash at any moment there is the old one or the new one, whole.
    public func replace(_ path: String, with bytes: [UInt8], mode: UInt32) throws(FileProblem) {
        let fresh = path + ".new"
        try write(bytes, to: fresh, mode: mode)
        try rename(fresh, to: path)
        try syncFolder(folder(of: path))
    }

    public func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
