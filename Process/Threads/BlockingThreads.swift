/// A few threads for calls that block, with a bounded queue: a slow disk never holds up Swift's cooperative threads, and
/// work that nobody can do in time is refused rather than piled up. One thread does its work in order.
public final class BlockingThreads: Sendable {
    public struct Overloaded: Error, CustomStringConvertible {
        public let description: String
    }

    private let name: String
    private let queue: JobQueue<@Sendable () -> Void>
    private let threads: ThreadGroup

    /// - Parameters:
    ///   - threads: At most so many; each is started when it is needed, and stays.
    ///   - limit: Calls that may wait.
    public init(name: String, threads: Int = 1, limit: Int = 256) {
        self.name = name
        queue = JobQueue(limit: limit)
        self.threads = ThreadGroup(maximum: max(1, threads))
    }

    /// Runs `body` on a thread and waits for it without holding a cooperative one.
    ///
    /// - Throws: what `body` throws, or `Overloaded`.
    public func run<Answer: Sendable>(_ body: @escaping @Sendable () throws -> Answer) async throws -> Answer {
        try await withCheckedThrowingContinuation { continuation in
            do throws(JobQueue<@Sendable () -> Void>.Refusal) {
                let isTaken = try queue.add { continuation.resume(with: Result { try body() }) }
                if !isTaken { startThread() }
            } catch {
                continuation.resume(throwing: Overloaded(description: "\(name): too much work is waiting"))
            }
        }
    }

    /// Ends the threads after what is queued.
    public func close() { queue.close() }

    private func startThread() {
        threads.start(name: name) { [queue] in
            while let jobs = queue.take(upTo: 1) {
                for job in jobs { job() }
            }
        }
    }
}
