import AgentReconcile
import ProtocolModel

/// Tells somebody who waits what becomes of the guests, until none runs or the deadline has passed. A value: looks go in,
/// answers come out.
struct DepartureProgress {
    private let endsAt: Uptime
    private var shown: [InstanceID: RemainingGuest]
    private let problem: String?

    /// - Parameters:
    ///   - guests: those that ran when the host was taken back; some may be gone before anybody looks.
    ///   - problem: why the departure was not kept.
    init(endsAt: Uptime, guests: [RemainingGuest] = [], problem: String? = nil) {
        self.endsAt = endsAt
        shown = Dictionary(guests.map { ($0.instance, $0) }, uniquingKeysWith: { $1 })
        self.problem = problem
    }

    /// - Parameter sight: `nil`: nothing is known yet.
    /// - Returns: what is new; `.left` is the last answer.
    mutating func look(_ sight: DepartureSight?, hasSession: Bool, at now: Uptime) -> [ControlAnswer] {
        var answers: [ControlAnswer] = []
        if let sight {
            let remaining = Dictionary(uniqueKeysWithValues: sight.remaining.map { ($0.instance, $0) })
            for guest in sight.remaining where shown[guest.instance]?.phase != guest.phase {
                answers.append(.guest(.init(guest), phase: guest.phase.rawValue))
            }
            for guest in shown.values.sorted(by: { $0.instance < $1.instance })
            where remaining[guest.instance] == nil {
                answers.append(.guest(.init(guest), phase: ControlAnswer.stopped))
            }
            shown = remaining
        }
        let isEmpty = sight?.isEmpty ?? false
        guard isEmpty || now >= endsAt else { return answers }
        return answers + [
            .left(
                remaining: sight?.remaining.map { .init($0) } ?? [], isComplete: sight?.isComplete ?? false,
                hasSession: hasSession, problem: problem)
        ]
    }
}
