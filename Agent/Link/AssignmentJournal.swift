public import AgentDurability
import Foundation
import ProtocolMessages
import SwiftProtobuf

/// Keeps the assignment book on the disk, so that the right guests come back with the manager away.
public struct AssignmentJournal: Sendable {
    public enum Loaded: Sendable, Equatable {
        case none
        case book(AssignmentBook)
        /// Treated as none, so that nothing is taken for a stray because of it.
        case damaged(copy: String)
    }

    private let file: CheckedFile

    public init(data: String, files: any FileSystem = HostFileSystem()) {
        file = CheckedFile(path: data + "/assignments", files: files)
    }

    /// Returns once the book is durable; only then may anybody act on it.
    public func save(_ book: AssignmentBook) throws {
        try file.save(try book.message.serializedBytes())
    }

    public func load() throws(FileProblem) -> Loaded {
        switch try file.load() {
        case .absent: return .none
        case .damaged(let copy): return .damaged(copy: copy)
        case .content(let bytes):
            var book = AssignmentBook()
            guard let set = try? Roost_V1_AssignmentSet(serializedBytes: bytes), set.full,
                (try? book.apply(set)) != nil
            else { return .damaged(copy: file.path) }
            return .book(book)
        }
    }
}
