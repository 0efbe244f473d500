import AgentReconcile
import ProtocolModel
import Synchronization

/// Asks guests whether they are ready.
protocol ReadinessProbing: Sendable {
    func begin(_ assignment: Assignment) -> ReadinessWatch
    func end(_ instance: InstanceID)
}

/// One guest that is asked until it answers or nobody wants to know any more.
struct ReadinessWatch: Sendable {
    /// Whether it answered; false where the asking was ended.
    let answered: @Sendable () async -> Bool
}

/// Asks by `ask`, at growing intervals: a guest that boots in seconds is seen at once, one that never answers costs little.
final class ReadinessProbes: ReadinessProbing {
    typealias Ask = @Sendable (Assignment) async -> Bool

    private let ask: Ask
    private let interval: Duration
    private let longestInterval: Duration
    /// Which asking of an instance is the current one.
    private let current = Mutex<(next: UInt64, of: [InstanceID: UInt64])>((0, [:]))

    init(interval: Duration = .milliseconds(500), longestInterval: Duration = .seconds(5), ask: @escaping Ask) {
        self.ask = ask
        self.interval = interval
        self.longestInterval = longestInterval
    }

    func begin(_ assignment: Assignment) -> ReadinessWatch {
        let number = current.withLock { current in
            current.next += 1
            current.of[assignment.instance] = current.next
            return current.next
        }
        return ReadinessWatch { await self.run(assignment, number) }
    }

    func end(_ instance: InstanceID) {
        current.withLock { $0.of[instance] = nil }
    }

    private func isCurrent(_ instance: InstanceID, _ number: UInt64) -> Bool {
        current.withLock { $0.of[instance] == number }
    }

    private func run(_ assignment: Assignment, _ number: UInt64) async -> Bool {
        var wait = interval
        while !Task.isCancelled, isCurrent(assignment.instance, number) {
            if await ask(assignment) { return isCurrent(assignment.instance, number) }
            try? await Task.sleep(for: wait)
            wait = min(wait * 1.2, longestInterval)
        }
        return false
    }
}
