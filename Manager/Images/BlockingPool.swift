import Foundation

/// A few threads for calls that block, so that none of them blocks the cooperative pool. Work waits in a queue with an
/// end; beyond it, callers are refused.
final class BlockingPool: @unchecked Sendable {
    // SAFETY: all state is read and written only while `condition` is locked.
    private let condition = NSCondition()
    private var queue: [@Sendable () -> Void] = []
    private var threads = 0
    private var idle = 0
    private let maximumThreads: Int
    private let maximumQueue: Int

    init(threads: Int, queue: Int) {
        self.maximumThreads = max(1, threads)
        self.maximumQueue = queue
    }

    /// Runs `body` on a thread of the pool; `busy` where the queue is full.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable () throws(ImageError) -> Value
    ) async throws(ImageError) -> Value {
        let result: Result<Value, ImageError> = await withCheckedContinuation { continuation in
            let accepted = submit {
                do throws(ImageError) {
                    continuation.resume(returning: .success(try body()))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
            if !accepted { continuation.resume(returning: .failure(.busy)) }
        }
        return try result.get()
    }

    private func submit(_ work: @escaping @Sendable () -> Void) -> Bool {
        condition.lock()
        defer { condition.unlock() }
        guard queue.count < maximumQueue else { return false }
        queue.append(work)
        if idle >= queue.count {
            condition.signal()
        } else if threads < maximumThreads {
            threads += 1
            let thread = Thread { [self] in serveQueue() }
            thread.name = "image-work"
            thread.stackSize = 1 << 20
            thread.start()
        }
        return true
    }

    /// Takes work until none came for a while, so that a quiet store has no threads.
    private func serveQueue() {
        while let work = take() { work() }
    }

    private func take() -> (@Sendable () -> Void)? {
        condition.lock()
        defer { condition.unlock() }
        idle += 1
        defer { idle -= 1 }
        let limit = Date(timeIntervalSinceNow: 10)
        while queue.isEmpty {
            guard condition.wait(until: limit) else { break }
        }
        guard !queue.isEmpty else {
            threads -= 1
            return nil
        }
        return queue.removeFirst()
    }
}
