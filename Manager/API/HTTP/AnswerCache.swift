import Synchronization

/// Answers that hold for as long as the record has not changed: many clients ask for the same list again and again. Each commit
/// empties it, so that nobody ever reads what is not so any more.
final class AnswerCache: Sendable {
    /// In all.
    static let maximumBytes = 8 << 20
    /// A longer query is hardly asked twice.
    static let longestQuery = 512

    struct Key: Hashable, Sendable {
        var list: String
        var scope: String
        var query: String

        /// About what it takes, with its place in the table.
        var bytes: Int { list.utf8.count + scope.utf8.count + query.utf8.count + 200 }
    }

    private struct State {
        var revision: UInt64 = 0
        var bodies: [Key: PreparedBody] = [:]
        var bytes = 0
    }

    private let state = Mutex(State())

    /// - Parameter revision: of the record, read before anything else.
    func body(_ key: Key, at revision: UInt64) -> PreparedBody? {
        state.withLock { $0.revision == revision ? $0.bodies[key] : nil }
    }

    /// - Parameter revision: of the record, before the body was made.
    func keep(_ body: PreparedBody, _ key: Key, at revision: UInt64) {
        guard key.query.utf8.count <= Self.longestQuery else { return }
        let bytes = body.count + key.bytes
        state.withLock { state in
            if state.revision < revision { state = State(revision: revision) }
            guard state.revision == revision, state.bodies[key] == nil, state.bytes + bytes <= Self.maximumBytes
            else { return }
            state.bodies[key] = body
            state.bytes += bytes
        }
    }
}
