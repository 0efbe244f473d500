import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization

/// Notes in the event log what somebody tried to change and may not. Bounded, since whoever is refused can go on trying: what
/// was not written for that reason is counted in the next that is.
final class RefusalAudit: Sendable {
    static let burst = 50
    static let interval = Duration.seconds(1)

    private struct State {
        var room = RefusalAudit.burst
        var filledAt: Uptime?
        var passedOver = 0
    }

    private let state = Mutex(State())

    /// - Parameter what: method and pattern of the route; neither query nor body, which may hold secrets (SEC-14).
    func note(_ what: String, by actor: Actor, reason: String, in store: Store, time: any TimeSource) async {
        guard let passedOver = take(at: time.uptime) else { return }
        let now = time.timestamp
        // Where the record cannot be written, the refusal stands all the same.
        _ = try? await store.write { transaction in
            try transaction.events.append(
                "request.refused", actor: actor, owner: actor.user,
                resource: ResourceReference(kind: "route", id: "", name: what), detail: reason,
                data: passedOver > 0 ? ["passed_over": "\(passedOver)"] : [:], outcome: .refused, at: now)
        }
    }

    /// - Returns: how many were passed over since the last one; `nil` where this is one of them.
    private func take(at now: Uptime) -> Int? {
        state.withLock { state in
            let elapsed = state.filledAt.map { (now - $0) / Self.interval } ?? 0
            if state.filledAt == nil || elapsed >= 1 {
                state.room = min(Self.burst, state.room + Int(min(elapsed, Double(Self.burst))))
                state.filledAt = now
            }
            guard state.room > 0 else {
                state.passedOver += 1
                return nil
            }
            state.room -= 1
            defer { state.passedOver = 0 }
            return state.passedOver
        }
    }
}
