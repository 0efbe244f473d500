import Foundation

/// One thread of its own for blocking calls, in order, with a bounded queue: a slow disk never holds up Swift's
/// cooperative threads, and work that nobody can do in time is refused rather than piled up.
public final class BlockingThread: Sendable {
    public struct Overloaded: Error, CustomStringConvertible {
        public let description: String
    }

    private struct Queue {
        var jobs: [@Sendable () -> Void] = []
        var isClosed = false
    }

    private let condition = NSCondition()
    // SAFETY: only touched while `condition` is held.
    private nonisolated(unsafe) var queue = Queue()
    private let name: String
    private let limit: Int

    public init(name: String, threads: Int = 1, limit: Int = 256) {
        self.name = name
        self.limit = limit
        for _ in 0..<threads {
            let thread = Thread { [self] in
                work()
            }
            thread.name = name
            thread.stackSize = 1 << 20
            thread.start()
        }
    }

    /// Runs `body` on the thread and waits for it without holding a cooperative thread. Throws what it throws, or
    /// `Overloaded`.
    public func run<Answer: Sendable>(_ body: @escaping @Sendable () throws -> Answer) async throws -> Answer {
        try await withCheckedThrowingContinuation { continuation in
            let accepted = condition.withLock {
                guard !queue.isClosed, queue.jobs.count < limit else { return false }
                queue.jobs.append { continuation.resume(with: Result { try body() }) }
                condition.signal()
                return true
            }
            if !accepted {
                continuation.resume(throwing: Overloaded(description: "\(name): too much work is waiting"))
            }
        }
    }

    /// Ends the threads after what is queued.
    public func close() {
        condition.withLock {
            queue.isClosed = true
            condition.broadcast()
        }
    }

    private func work() {
        while let job = next() { job() }
    }

    private func next() -> (@Sendable () -> Void)? {
        condition.lock()
        defer { condition.unlock() }
        while queue.jobs.isEmpty {
            if queue.isClosed { return nil }
            condition.wait()
        }
        return queue.jobs.removeFirst()
    }
}
