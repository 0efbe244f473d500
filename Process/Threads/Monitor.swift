import Dispatch
import Synchronization

/// A value that several threads share, and on whose changes they can wait.
///
/// A semaphore for each waiting thread, and no condition variable: so that the lock is Swift's `Mutex`, and the compiler
/// sees that the value is only reached while it is held.
public final class Monitor<Value: Sendable>: Sendable {
    /// How many of the waiting threads look at the value again.
    public enum Wake: Sendable { case one, all }

    private struct Guarded: Sendable {
        var value: Value
        var waiting: [DispatchSemaphore] = []
    }

    private let guarded: Mutex<Guarded>

    public init(_ value: Value) {
        guarded = Mutex(Guarded(value: value))
    }

    /// Looks at the value, or changes it in a way that nobody waits for.
    public func withLock<Answer: Sendable, Failure>(
        _ body: (inout Value) throws(Failure) -> Answer
    ) throws(Failure) -> Answer {
        try guarded.withLock { guarded throws(Failure) in try body(&guarded.value) }
    }

    /// Changes the value; those who wait look at it again.
    public func update<Answer: Sendable, Failure>(
        waking wake: Wake = .all, _ body: (inout Value) throws(Failure) -> Answer
    ) throws(Failure) -> Answer {
        try guarded.withLock { guarded throws(Failure) in
            defer {
                let woken = wake == .all ? guarded.waiting.count : min(1, guarded.waiting.count)
                for semaphore in guarded.waiting.prefix(woken) { semaphore.signal() }
                guarded.waiting.removeFirst(woken)
            }
            return try body(&guarded.value)
        }
    }

    /// Asks `body` after each update until it has an answer; `nil` where it had none within `limit`.
    ///
    /// Blocks the thread: not for Swift's cooperative ones.
    public func wait<Answer: Sendable>(
        upTo limit: Duration? = nil, for body: (inout Value) -> Answer?
    ) -> Answer? {
        let deadline = limit.map { DispatchTime.now() + .nanoseconds(Self.nanoseconds($0)) } ?? .distantFuture
        var isLate = false
        while true {
            let semaphore = DispatchSemaphore(value: 0)
            let answer = guarded.withLock { guarded in
                let answer = body(&guarded.value)
                if answer == nil, !isLate { guarded.waiting.append(semaphore) }
                return answer
            }
            if answer != nil || isLate { return answer }
            isLate = semaphore.wait(timeout: deadline) == .timedOut
            if isLate { guarded.withLock { guarded in guarded.waiting.removeAll { $0 === semaphore } } }
        }
    }

    private static func nanoseconds(_ duration: Duration) -> Int {
        let (seconds, attoseconds) = duration.components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? .max : Int(max(0, product + attoseconds / 1_000_000_000))
    }
}
