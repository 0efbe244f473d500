public import AgentDurability
public import AgentReconcile
import Foundation
public import ProtocolModel

/// Keeps on the disk that the host's own operator has taken it back, so that neither a restart of the agent nor a boot of
/// the host starts a guest before it is given back.
public struct DepartureFile: Sendable {
    /// What is written; numbers are milliseconds.
    private struct Content: Codable {
        var reason: String
        var since: Int64
        var deadline: Int64
    }

    private let file: CheckedFile
    private let files: any FileSystem

    public init(data: String, files: any FileSystem = HostFileSystem()) {
        file = CheckedFile(path: data + "/departure", files: files, limit: 1 << 16)
        self.files = files
    }

    /// Returns once it is durable that the host was taken back, or given back (`nil`).
    public func save(_ departure: Departure?) throws(FileProblem) {
        guard let departure else {
            try files.remove(file.path)
            try files.remove(damagedCopy)
            return try files.syncFolder(files.folder(of: file.path))
        }
        let content = Content(
            reason: departure.reason, since: departure.since.milliseconds, deadline: departure.deadline.milliseconds)
        guard let bytes = try? JSONEncoder().encode(content) else {
            throw FileProblem(operation: "write", path: file.path, code: EINVAL)
        }
        try file.save(Array(bytes))
    }

    /// What was kept. A file that cannot be read says that there was a departure, and its owner is not to be surprised by
    /// guests: the host counts as taken back.
    public func load(at now: Timestamp) throws(FileProblem) -> Departure? {
        switch try file.load() {
        case .absent:
            // A process that set a damaged file aside may have ended before it wrote another.
            guard try files.read(damagedCopy, limit: 1 << 20) != nil else { return nil }
            return try damaged(damagedCopy, at: now)
        case .content(let bytes):
            if let content = try? JSONDecoder().decode(Content.self, from: Data(bytes)) {
                return Departure(
                    reason: content.reason, since: Timestamp(milliseconds: content.since),
                    deadline: .milliseconds(max(0, content.deadline)))
            }
            return try damaged(file.path, at: now)
        case .damaged(let copy): return try damaged(copy, at: now)
        }
    }

    /// Where `CheckedFile` sets aside what it cannot read.
    private var damagedCopy: String { file.path + ".damaged" }

    private func damaged(_ path: String, at now: Timestamp) throws(FileProblem) -> Departure {
        let departure = Departure(
            reason: "\(path), which says since when, is damaged", since: now, deadline: .seconds(60))
        try save(departure)
        return departure
    }
}
