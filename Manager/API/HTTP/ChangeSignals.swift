import ManagerStore
import ProtocolModel
import Synchronization

/// Wakes those who wait for changes of the record. A signal says only that it is worth reading again, so one that is
/// merged with another loses nothing, and nobody's queue grows.
final class ChangeSignals: Sendable {
    enum Interest: Sendable {
        case events
        case operation(OperationID)
    }
    private struct State {
        var next: UInt64 = 0
        var waiting: [UInt64: (Interest, AsyncStream<Void>.Continuation)] = [:]
    }

    private let state = Mutex(State())

    /// A stream that yields after each change of interest, and a continuation by which its owner can wake or end it.
    func subscribe(_ interest: Interest) -> (stream: AsyncStream<Void>, continuation: AsyncStream<Void>.Continuation) {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let number = state.withLock { state in
            state.next += 1
            state.waiting[state.next] = (interest, continuation)
            return state.next
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { $0.waiting[number] = nil }
        }
        return (stream, continuation)
    }

    /// Called on the store's writing thread.
    func publish(_ changes: [Change]) {
        let continuations = state.withLock { state in
            state.waiting.values.filter { interest, _ in changes.contains { Self.concerns($0, interest) } }.map(\.1)
        }
        for continuation in continuations { continuation.yield() }
    }

    var count: Int { state.withLock { $0.waiting.count } }

    private static func concerns(_ change: Change, _ interest: Interest) -> Bool {
        switch (change, interest) {
        case (.everything, _): true
        case (.events, .events): true
        case (.operation(let changed), .operation(let wanted)): changed == wanted
        default: false
        }
    }
}
