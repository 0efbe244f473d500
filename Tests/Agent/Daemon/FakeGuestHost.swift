@testable import AgentDaemon
import AgentReconcile
import AgentUsage
import ProtocolModel
import Synchronization

/// A host without a hypervisor: domains are entries of a table.
final class FakeGuestHost: GuestHost {
    struct State {
        var domains: [InstanceID: DomainObservation] = [:]
        var disks: Set<InstanceID> = []
        var done: [Action] = []
        var handler: (@Sendable (HostEvent) -> Void)?
        var isAway = false
    }

    let state = Mutex(State())
    private let time: any TimeSource

    init(time: any TimeSource = SystemTime()) { self.time = time }

    func survey() async throws(ActionFailure) -> Survey {
        let (isAway, survey) = state.withLock { ($0.isAway, Survey(domains: $0.domains, disks: $0.disks)) }
        if isAway { throw ActionFailure(code: "hypervisor_away", sentence: "the hypervisor does not answer") }
        return survey
    }

    func perform(_ action: Action) async -> Outcome {
        let now = time.timestamp
        let (outcome, event) = state.withLock { state -> (Outcome, HostEvent?) in
            if state.isAway {
                return (
                    .failed(ActionFailure(code: "hypervisor_away", sentence: "the hypervisor does not answer")), nil
                )
            }
            state.done.append(action)
            switch action {
            case .makeFiles(let assignment): state.disks.insert(assignment.instance)
            case .reserveAddress, .releaseAddress: break
            case .start(let assignment):
                state.domains[assignment.instance] = DomainObservation(
                    epoch: assignment.epoch, powerCycle: assignment.powerCycle, state: .running, startedAt: now,
                    devices: assignment.guest.devices.map(\.address))
                return (.succeeded, .started(assignment.instance))
            case .askToShutDown(let id): return (.succeeded, Self.stop(id, .guestShutdown, &state))
            case .powerOff(let id): return (.succeeded, Self.stop(id, .destroyed, &state))
            case .removeDomain(let id): state.domains[id] = nil
            case .removeDisk(let id): state.disks.remove(id)
            case .inspect(let id): return (.observed(state.domains[id]), nil)
            }
            return (.succeeded, nil)
        }
        if let event { tell(event) }
        return outcome
    }

    func learn(_ change: AssignmentChange) {}

    func readings() async throws(ActionFailure) -> [UsageReading] {
        let (uptime, domains) = (time.uptime, state.withLock { $0.domains })
        return domains.filter(\.value.isRunning).map { id, domain in
            UsageReading(
                instance: id, powerCycle: domain.powerCycle, startedAt: domain.startedAt, vcpus: 1,
                memoryBytes: 1 << 30,
                counters: UsageCounters(cpuTimeNanoseconds: UInt64(uptime.sinceStart.components.seconds)))
        }
    }

    func watch(_ handler: @escaping @Sendable (HostEvent) -> Void) async {
        state.withLock { $0.handler = handler }
        handler(.ready)
        try? await Task.sleep(for: .seconds(86_400))
    }

    func crash(_ id: InstanceID) {
        if let event = state.withLock({ Self.stop(id, .crashed, &$0) }) { tell(event) }
    }

    private func tell(_ event: HostEvent) { state.withLock { $0.handler }?(event) }

    private static func stop(_ id: InstanceID, _ cause: StopCause, _ state: inout State) -> HostEvent? {
        guard state.domains[id]?.isRunning == true else { return nil }
        state.domains[id]?.state = .stopped(cause)
        return .stopped(id, cause)
    }
}
