import DequeModule

/// A bounded queue between those who ask and the threads that do: what does not fit is refused at once, so that a slow
/// disk shows as a refusal and not as memory.
public final class JobQueue<Job: Sendable>: Sendable {
    public enum Refusal: Error, Sendable, Equatable {
        case full, closed
    }

    private struct Content: Sendable {
        /// Those that come before all others.
        var urgent: Deque<Job> = []
        var jobs: Deque<Job> = []
        /// Those that may come after others.
        var patient: Deque<Job> = []
        var isClosed = false
        /// Threads in `take`.
        var takers = 0

        var count: Int { urgent.count + jobs.count + patient.count }

        mutating func next(_ limit: Int) -> [Job]? {
            guard count > 0 else { return nil }
            let next = nextUrgent(limit)
            let limit = limit - next.count
            // A quarter is for the patient ones, so that they are never left behind for good.
            let first = min(jobs.count, limit - min(patient.count, limit / 4))
            let second = min(patient.count, limit - first)
            defer {
                jobs.removeFirst(first)
                patient.removeFirst(second)
            }
            return next + jobs.prefix(first) + patient.prefix(second)
        }

        mutating func nextUrgent(_ limit: Int) -> [Job] {
            let count = min(urgent.count, limit)
            defer { urgent.removeFirst(count) }
            return Array(urgent.prefix(count))
        }
    }

    private let content = Monitor(Content())
    private let limit: Int
    private let patientLimit: Int

    /// - Parameters:
    ///   - limit: how many jobs may wait.
    ///   - patientLimit: how many of those that others may overtake; they take no place from the others.
    public init(limit: Int, patientLimit: Int? = nil) {
        self.limit = limit
        self.patientLimit = patientLimit ?? limit
    }

    /// Jobs that no thread has taken yet.
    public var count: Int { content.withLock { $0.count } }

    /// Adds a job. False where more jobs than threads are waiting: another thread would find work.
    ///
    /// - Parameters:
    ///   - isPatient: it may come after others that were added later; a quarter of what is taken is kept for such.
    ///   - isUrgent: it comes before all others. For few, since they are never made to wait.
    @discardableResult
    public func add(_ job: Job, isPatient: Bool = false, isUrgent: Bool = false) throws(Refusal) -> Bool {
        try content.update(waking: .one) { content throws(Refusal) in
            if content.isClosed { throw .closed }
            if isUrgent {
                guard content.urgent.count < limit else { throw .full }
                content.urgent.append(job)
            } else if isPatient {
                guard content.patient.count < patientLimit else { throw .full }
                content.patient.append(job)
            } else {
                guard content.jobs.count < limit else { throw .full }
                content.jobs.append(job)
            }
            return content.takers >= content.count
        }
    }

    /// Urgent jobs that have come; none where there are none. Does not block: for a thread that has others in hand.
    public func takeUrgent() -> [Job] { content.withLock { $0.nextUrgent(.max) } }

    /// The next jobs in the order of their arrival, urgent ones before and patient ones behind the others, at most `count`;
    /// `nil` once the queue is closed and empty. Blocks.
    public func take(upTo count: Int) -> [Job]? {
        content.withLock { $0.takers += 1 }
        let next: [Job]?? = content.wait { content in
            guard content.count > 0 || content.isClosed else { return nil }
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
