import ManagerModel
import ManagerStore
import ProtocolModel

/// Notes in the event log what somebody tried to change and may not.
struct RefusalAudit: Sendable {
    static let burst = 50

    private let allowance = EventAllowance(burst: Double(burst), perSecond: 1)

    /// - Parameter what: method and pattern of the route; neither query nor body, which may hold secrets (SEC-14).
    func note(_ what: String, by actor: Actor, reason: String, in store: Store, time: any TimeSource) async {
        guard let data = allowance.take(at: time.uptime) else { return }
        let now = time.timestamp
        // Where the record cannot be written, the refusal stands all the same.
        _ = try? await store.write { transaction in
            try transaction.events.append(
                "request.refused", actor: actor, owner: actor.user,
                resource: ResourceReference(kind: "route", id: "", name: what), detail: reason, data: data,
                outcome: .refused, at: now)
        }
    }
}
