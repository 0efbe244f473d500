/// One file that is replaced as a whole and knows when it is damaged.
///
/// ```
/// magic (8)  length of the content (8)  CRC-32C of the content (4)  content
/// ```
public struct CheckedFile: Sendable {
    public enum Loaded: Sendable, Equatable {
        case absent
        case content([UInt8])
        /// Unreadable; what was found was set aside under this name for a person to look at.
        case damaged(copy: String)
    }

    static let magic = Array("ROOSTF1\n".utf8)
    static let headerBytes = 20

    public let path: String
    private let files: any FileSystem
    private let limit: Int

    /// - Parameter limit: bytes that the content may have.
    public init(path: String, files: any FileSystem = HostFileSystem(), limit: Int = 64 << 20) {
        self.path = path
        self.files = files
        self.limit = limit
    }

    /// Returns once the content is durable; whatever happens meanwhile, there is the old content or the new.
    public func save(_ content: [UInt8]) throws(FileProblem) {
        let header = Self.magic + UInt64(content.count).littleEndianBytes + Checksum.crc32c(content).littleEndianBytes
        try files.replace(path, with: header + content, mode: 0o600)
    }

    /// The content that is returned is durable, whatever the process that wrote it had come to.
    public func load() throws(FileProblem) -> Loaded {
        guard let bytes = try files.read(path, limit: limit + Self.headerBytes) else { return .absent }
        if let content = Self.content(of: bytes) {
            // That process may have died between giving the file its name and making the name durable.
            try files.syncFolder(files.folder(of: path))
            return .content(content)
        }
        let copy = path + ".damaged"
        try files.rename(path, to: copy)
        return .damaged(copy: copy)
    }

    /// The content, for those who only look: nothing is set aside, and what is seen may not be durable yet. `nil` where there
    /// is none that can be read.
    public func peek() throws(FileProblem) -> [UInt8]? {
        try files.read(path, limit: limit + Self.headerBytes).flatMap(Self.content)
    }

    static func content(of bytes: [UInt8]) -> [UInt8]? {
        guard bytes.count >= headerBytes, Array(bytes[..<8]) == magic,
            let length = UInt64(littleEndianBytes: bytes[8..<16]), length == UInt64(bytes.count - headerBytes),
            let checksum = UInt32(littleEndianBytes: bytes[16..<20])
        else { return nil }
        let content = Array(bytes[headerBytes...])
        return Checksum.crc32c(content) == checksum ? content : nil
    }
}
