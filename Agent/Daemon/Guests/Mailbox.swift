import Synchronization

/// A queue with one reader. Messages that may be lost are refused above a bound; the others are bounded by the work that
/// causes them.
final class Mailbox<Message: Sendable>: Sendable {
    private struct State {
        var messages: [Message] = []
        var reader: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())
    private let bound: Int

    init(bound: Int = 4096) { self.bound = bound }

    func post(_ message: Message) {
        let reader = state.withLock { state in
            state.messages.append(message)
            return state.reader.take()
        }
        reader?.resume()
    }

    /// False where the queue is full and the message is not in it.
    func offer(_ message: Message) -> Bool {
        let (accepted, reader) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
            guard state.messages.count < bound else { return (false, nil) }
            state.messages.append(message)
            return (true, state.reader.take())
        }
        reader?.resume()
        return accepted
    }

    func takeAll() -> [Message] {
        state.withLock { state in
            defer { state.messages = [] }
            return state.messages
        }
    }

    /// Returns when there is a message, or when the task is cancelled.
    func wait() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isReady = state.withLock { state in
                    if !state.messages.isEmpty || Task.isCancelled { return true }
                    state.reader = continuation
                    return false
                }
                if isReady { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.reader.take() }?.resume()
        }
    }

    /// Returns when there is a message, when the time has passed, or when the task is cancelled.
    func wait(atMost limit: Duration) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.wait() }
            group.addTask { try? await Task.sleep(for: limit) }
            await group.next()
            group.cancelAll()
        }
    }
}
