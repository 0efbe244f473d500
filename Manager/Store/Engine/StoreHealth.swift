import Synchronization

/// What the store's threads last met, for those who ask whether it serves.
final class StoreHealth: Sendable {
    private struct State {
        var writing: StoreError?
        var oldReaders: Set<Int> = []
    }

    private let state = Mutex(State())

    /// Why the last batch could not be committed; `nil` if it was.
    var writing: StoreError? { state.withLock { $0.writing } }
    /// Whether any reader is answered by a database node without quorum.
    var readsOld: Bool { state.withLock { !$0.oldReaders.isEmpty } }

    func noteBatch(_ error: StoreError?) { state.withLock { $0.writing = error } }

    func noteReader(_ index: Int, readsOld: Bool) {
        state.withLock { state in
            if readsOld { state.oldReaders.insert(index) } else { state.oldReaders.remove(index) }
        }
    }
}
