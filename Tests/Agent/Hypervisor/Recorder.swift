import Synchronization

@testable import AgentHypervisor

/// What was heard so far.
final class Recorder: Sendable {
    private let events = Mutex<[DomainEvent]>([])

    func add(_ event: DomainEvent) { events.withLock { $0.append(event) } }
    func has(_ event: DomainEvent) -> Bool { events.withLock { $0.contains(event) } }
    func count(_ event: DomainEvent) -> Int { events.withLock { $0.count { $0 == event } } }
}
