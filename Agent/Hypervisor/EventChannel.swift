import Synchronization

/// The bounded stream of events from the hypervisor's thread to the one reader.
///
/// The hypervisor cannot be made to wait, so a slow reader loses the oldest events, and is told so by one
/// `.connectionRestored`: look at everything again.
final class EventChannel: Sendable {
    /// Several for each domain of a large host.
    static let capacity = 4096

    let stream: AsyncStream<DomainEvent>
    private let continuation: AsyncStream<DomainEvent>.Continuation
    private let announced = Mutex(false)

    init(capacity: Int = EventChannel.capacity) {
        (stream, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(capacity))
    }

    deinit { continuation.finish() }

    func send(_ event: DomainEvent) {
        announced.withLock { announced in
            switch continuation.yield(event) {
            case .dropped(let oldest):
                // The announcement may itself be the oldest: then it has to be made again.
                guard !announced || oldest == .connectionRestored else { return }
                announced = true
                continuation.yield(.connectionRestored)
            default: announced = false
            }
        }
    }
}
