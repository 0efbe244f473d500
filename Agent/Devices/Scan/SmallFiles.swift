import Glibc

/// Reads of the small files and links that a kernel shows. A tree may also be a fixture or hostile: every read has a
/// limit and none waits (P10).
struct SmallFiles: Sendable {
    private static let attributeBytes = 256
    private static let linkBytes = 4096

    let root: String
    /// What the kernel would do upon a write, where the tree is no kernel's.
    var written: (@Sendable (_ path: String, _ text: String) -> Void)?

    init(root: String) { self.root = root }

    /// A file of one line, without the spaces around it; what lies beyond 256 bytes is left out.
    func line(_ path: String) -> String? {
        guard let bytes = bytes(path, limit: Self.attributeBytes), !bytes.isEmpty else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        return String(text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)[0])
            .trimmingSpaces()
    }

    /// The first `limit` bytes of a file; `nil` where it cannot be read.
    func bytes(_ path: String, limit: Int) -> [UInt8]? {
        // Non-blocking: what should be a small file may be a pipe in a hostile tree.
        let descriptor = open("\(root)/\(path)", O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: min(limit, 65_536))
        while bytes.count < limit {
            let count = read(descriptor, &piece, min(piece.count, limit - bytes.count))
            if count < 0 { return bytes.isEmpty ? nil : bytes }
            if count == 0 { break }
            bytes += piece.prefix(count)
        }
        return bytes
    }

    func number(_ path: String) -> Int? { line(path).flatMap { Int($0) } }

    /// `0x` and hexadecimal digits.
    func hexadecimalNumber(_ path: String) -> UInt32? {
        guard let text = line(path), text.hasPrefix("0x"), text.dropFirst(2).first?.isHexDigit == true else {
            return nil
        }
        return UInt32(text.dropFirst(2), radix: 16)
    }

    /// The parts of a link's target; the target itself is not followed.
    func linkParts(_ path: String) -> [Substring]? {
        var target = [UInt8](repeating: 0, count: Self.linkBytes)
        let count = target.withUnsafeMutableBytes { buffer -> Int in
            guard let start = buffer.assumingMemoryBound(to: CChar.self).baseAddress else { return 0 }
            return readlink("\(root)/\(path)", start, buffer.count)
        }
        guard count > 0 else { return nil }
        return String(decoding: target.prefix(count), as: UTF8.self).split(separator: "/")
    }

    /// The last part of a link's target.
    func linkName(_ path: String) -> String? {
        linkParts(path)?.last.flatMap { $0.utf8.count <= 64 ? String($0) : nil }
    }

    /// Writes to a file that is there already. Answers with the error's number; `nil`: it is written.
    func write(_ text: String, to path: String) -> Int32? {
        let descriptor = open("\(root)/\(path)", O_WRONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return errno }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        // In one piece: the kernel takes each write for a whole value.
        let count = Glibc.write(descriptor, bytes, bytes.count)
        if count < 0 { return errno }
        guard count == bytes.count else { return EIO }
        written?(path, text)
        return nil
    }

    func exists(_ path: String) -> Bool { access("\(root)/\(path)", F_OK) == 0 }

    /// Names in a folder, in order; at most `limit`, since a folder may hold anything. `nil` where there is no folder.
    func names(_ path: String, limit: Int) -> [String]? {
        guard let folder = opendir("\(root)/\(path)") else { return nil }
        defer { closedir(folder) }
        var names: [String] = []
        while names.count < limit, let entry = readdir(folder) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}

extension StringProtocol {
    func trimmingSpaces() -> String {
        var rest = Substring(self)
        while rest.first?.isWhitespace == true { rest.removeFirst() }
        while rest.last?.isWhitespace == true { rest.removeLast() }
        return String(rest)
    }
}
