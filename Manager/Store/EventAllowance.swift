public import ProtocolModel
import Synchronization

/// How many events of a kind that anybody can cause may be written: whoever goes on and on must not push everything else out of
/// the event log. What was passed over is counted, for the next event that is written to tell.
public final class EventAllowance: Sendable {
    private struct State {
        var room: Double
        var filledAt: Uptime?
        var passedOver = 0
    }

    private let burst: Double
    private let perSecond: Double
    private let state: Mutex<State>

    public init(burst: Double, perSecond: Double) {
        self.burst = burst
        self.perSecond = perSecond
        state = Mutex(State(room: burst))
    }

    /// Asks for one event.
    ///
    /// - Returns: what its data tells of those passed over since the last one; `nil` where it is passed over as well.
    public func take(at now: Uptime) -> [String: String]? {
        state.withLock { state in
            let elapsed = state.filledAt.map { max(0, Double((now - $0).milliseconds) / 1000) } ?? 0
            state.room = min(burst, state.room + elapsed * perSecond)
            state.filledAt = now
            guard state.room >= 1 else {
                state.passedOver += 1
                return nil
            }
            state.room -= 1
            defer { state.passedOver = 0 }
            return state.passedOver > 0 ? ["passed_over": "\(state.passedOver)"] : [:]
        }
    }
}
