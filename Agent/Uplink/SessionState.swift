import ProtocolMessages
import ProtocolModel
import ProtocolWire
import Synchronization

/// The session machine, shared by the tasks of one session.
final class SessionState: Sendable {
    private struct State {
        var machine: AgentSession
        /// A message is with the delegate, and nothing is read.
        var isDelivering = false
    }

    private let state: Mutex<State>
    private let time: any TimeSource

    init(times: SessionTimes, time: any TimeSource) {
        self.state = Mutex(State(machine: AgentSession(times: times)))
        self.time = time
    }

    var end: SessionEnd? {
        state.withLock { state in
            if case .closed(let end) = state.machine.state { end } else { nil }
        }
    }

    var leader: String? { state.withLock { $0.machine.leader } }

    func apply(_ event: (inout AgentSession, Uptime) -> [AgentSession.Action]) -> [AgentSession.Action] {
        let now = time.uptime
        return state.withLock { event(&$0.machine, now) }
    }

    func admit(_ message: Message) throws(SessionRefusal) {
        let refusal: SessionRefusal? = state.withLock { state in
            if case .closed(let end) = state.machine.state { return end.refusal ?? .heartbeatLost }
            return state.machine.admits(message) ? nil : .unexpectedMessage
        }
        if let refusal { throw refusal }
    }

    func tick() -> [AgentSession.Action] {
        let now = time.uptime
        return state.withLock { state in
            // While the delegate works nothing is read, so that silence says nothing about the manager.
            if state.isDelivering { state.machine.resumed(at: now) }
            return state.machine.tick(at: now)
        }
    }

    func delivering(_ value: Bool) {
        let now = time.uptime
        state.withLock { state in
            state.isDelivering = value
            state.machine.resumed(at: now)
        }
    }
}
