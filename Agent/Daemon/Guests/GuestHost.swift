import AgentReconcile
import AgentUsage
import ProtocolModel

/// Something that the hypervisor told by itself.
enum HostEvent: Sendable, Hashable {
    /// It answers, for the first time or after it was away.
    case ready
    case started(InstanceID)
    case stopped(InstanceID, StopCause)
}

/// What the reconciler's effects are carried out on: domains, disks and addresses of this host.
protocol GuestHost: Sendable {
    /// Everything of ours on this host.
    func survey() async throws(ActionFailure) -> Survey
    func perform(_ action: Action) async -> Outcome
    /// What is wanted from now on, before anything is done about it.
    func learn(_ change: AssignmentChange)
    /// A look at every running domain.
    func readings() async throws(ActionFailure) -> [UsageReading]
    /// Gives events to `handler` until its task is cancelled.
    func watch(_ handler: @escaping @Sendable (HostEvent) -> Void) async
}
