import DequeModule

/// A bounded queue between those who ask and the threads that do: what does not fit is refused at once, so that a slow
/// disk shows as a refusal and not as memory.
public final class JobQueue<Job: Sendable>: Sendable {
    public enum Refusal: Error, Sendable, Equatable {
        case full, closed
    }

    private struct Content: Sendable {
        var jobs: Deque<Job> = []
        var isClosed = false
        /// Threads in `take`.
        var takers = 0

        mutating func next(_ count: Int) -> [Job]? {
            guard !jobs.isEmpty else { return nil }
            let next = Array(jobs.prefix(count))
            jobs.removeFirst(next.count)
            return next
        }
    }

    private let content = Monitor(Content())
    private let limit: Int

    public init(limit: Int) { self.limit = limit }

    /// Jobs that no thread has taken yet.
    public var count: Int { content.withLock { $0.jobs.count } }

    /// Adds a job. False where more jobs than threads are waiting: another thread would find work.
    @discardableResult
    public func add(_ job: Job) throws(Refusal) -> Bool {
        try content.update(waking: .one) { content throws(Refusal) in
            if content.isClosed { throw .closed }
            guard content.jobs.count < limit else { throw .full }
            content.jobs.append(job)
            return content.takers >= content.jobs.count
        }
    }

    /// The next jobs in the order of their arrival, at most `count`; `nil` once the queue is closed and empty. Blocks.
    public func take(upTo count: Int) -> [Job]? {
        content.withLock { $0.takers += 1 }
        let next: [Job]?? = content.wait { content in
            guard !content.jobs.isEmpty || content.isClosed else { return nil }
            content.takers -= 1
            return .some(content.next(count))
        }
        return next ?? nil
    }

    /// No more jobs are taken in; `take` hands out what is there, then `nil`.
    public func close() {
        content.update { $0.isClosed = true }
    }
}
