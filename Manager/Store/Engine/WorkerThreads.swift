import Foundation

/// A bounded queue of blocking jobs and the threads that run them, apart from Swift's cooperative pool.
///
/// A job that finds the queue full is refused at once, so
/// that a slow disk shows as `busy` and not as memory.
final class WorkerThreads<Job: Sendable>: Sendable {
    private struct Queue {
        var jobs: [Job] = []
        var closed = false
        var running = 0
    }

    // SAFETY: NSCondition is a lock that many threads may use; `queue` is only touched while it is held.
    private let condition = NSCondition()
    private nonisolated(unsafe) var queue = Queue()
    private let limit: Int

    init(limit: Int) {
        self.limit = limit
    }

    /// Starts one thread; `work` is given up to `batch` jobs at a time, in the order of their arrival.
    func startThread(named name: String, batch: Int, work: @escaping @Sendable ([Job]) -> Void) {
        condition.withLock { queue.running += 1 }
        let thread = Thread { [self] in
            while let jobs = next(batch) { work(jobs) }
            condition.withLock {
                queue.running -= 1
                condition.broadcast()
            }
        }
        thread.name = name
        thread.stackSize = 1 << 20
        thread.start()
    }

    /// - Throws: `StoreError.busy` or `.closed`.
    func submit(_ job: Job) throws(StoreError) {
        let problem: StoreError? = condition.withLock {
            if queue.closed { return .closed }
            if queue.jobs.count >= limit { return .busy }
            queue.jobs.append(job)
            condition.signal()
            return nil
        }
        if let problem { throw problem }
    }

    /// Runs what is queued, then ends the threads; returns when they have ended.
    func close() {
        condition.lock()
        queue.closed = true
        condition.broadcast()
        while queue.running > 0 { condition.wait() }
        condition.unlock()
    }

    private func next(_ batch: Int) -> [Job]? {
        condition.lock()
        defer { condition.unlock() }
        while queue.jobs.isEmpty {
            if queue.closed { return nil }
            condition.wait()
        }
        let jobs = Array(queue.jobs.prefix(batch))
        queue.jobs.removeFirst(jobs.count)
        return jobs
    }
}
