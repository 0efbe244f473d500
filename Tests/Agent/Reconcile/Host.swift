@testable import AgentReconcile
import ProtocolModel

/// A host on paper: it does what the reconciler asks, and a test decides when, and what fails.
struct Host {
    var reconciler: Reconciler
    var now = Moment(timestamp: Timestamp(milliseconds: 1_800_000_000_000), uptime: Uptime(sinceStart: .seconds(1000)))
    var domains: [InstanceID: DomainObservation] = [:]
    var disks: Set<InstanceID> = []
    /// Disks that are made depend on no image.
    var makesCopies = false
    var reserved: Set<InstanceID> = []
    /// Effects that nobody has carried out yet.
    var pending: [Effect] = []
    var done: [Action] = []
    var statuses: [InstanceID: Status] = [:]
    var fullReports = 0
    var notices: [Notice] = []
    var probing: Set<InstanceID> = []
    var loans: [DiskLoan] = []
    /// What the guest does when its power button is pressed.
    var guestsObey = true
    var failing: (Action) -> ActionFailure? = { _ in nil }

    init(hostRebooted: Bool = false, parallelStarts: Int = 4) {
        var policy = ReconcilePolicy()
        policy.parallelStarts = parallelStarts
        reconciler = Reconciler(policy: policy, hostRebooted: hostRebooted, seed: 7)
    }

    mutating func send(_ event: Event) {
        pending += reconciler.handle(event, at: now)
    }

    mutating func pass(_ duration: Duration) {
        now.timestamp = now.timestamp + duration
        now.uptime = now.uptime + duration
        send(.tick)
    }

    /// Carries out everything, and what follows from it, until nothing is left to do now.
    mutating func run(limit: Int = 10_000) {
        var steps = 0
        while !pending.isEmpty, steps < limit {
            steps += 1
            carryOutFirst()
        }
    }

    mutating func carryOutFirst() {
        guard !pending.isEmpty else { return }
        switch pending.removeFirst() {
        case .survey(let token):
            let independent = makesCopies ? disks : []
            send(.surveyed(token, Survey(domains: domains, disks: disks, independentDisks: independent)))
        case .perform(let id, let action):
            if let failure = failing(action) {
                send(.finished(id, .failed(failure)))
            } else {
                let outcome = carryOut(action)
                send(.finished(id, outcome))
            }
        case .probe(let assignment): probing.insert(assignment.instance)
        case .endProbe(let id): probing.remove(id)
        case .lend(_, let loan): loans.append(loan)
        case .report(let full, let list):
            if full {
                statuses = [:]
                fullReports += 1
            }
            for status in list { statuses[status.instance] = status }
        case .notice(let notice): notices.append(notice)
        }
    }

    private mutating func carryOut(_ action: Action) -> Outcome {
        done.append(action)
        switch action {
        case .makeFiles(let assignment):
            disks.insert(assignment.instance)
            if makesCopies { return .madeIndependentDisk }
        case .reserveAddress(let assignment): reserved.insert(assignment.instance)
        case .start(let assignment):
            if domains[assignment.instance]?.isRunning == true {
                return .failed(ActionFailure(code: "domain_runs", sentence: "the domain runs already"))
            }
            domains[assignment.instance] = DomainObservation(
                epoch: assignment.epoch, powerCycle: assignment.powerCycle, state: .running, startedAt: now.timestamp,
                devices: assignment.guest.devices.map(\.address))
            send(.domainStarted(assignment.instance))
        case .askToShutDown(let id): if guestsObey { stop(id, .guestShutdown) }
        case .powerOff(let id): if domains[id]?.isRunning == true { stop(id, .destroyed) }
        case .removeDomain(let id): domains[id] = nil
        case .releaseAddress(let id): reserved.remove(id)
        case .removeDisk(let id): disks.remove(id)
        case .inspect(let id): return .observed(domains[id])
        }
        return .succeeded
    }

    /// The domain stops, for whatever cause, and the hypervisor tells.
    mutating func stop(_ id: InstanceID, _ cause: StopCause) {
        guard domains[id]?.isRunning == true else { return }
        domains[id]?.state = .stopped(cause)
        send(.domainStopped(id, cause))
    }

    mutating func answer(_ id: InstanceID) {
        guard let cycle = domains[id]?.powerCycle else { return }
        send(.answered(id, cycle))
    }

    func count(where matches: (Action) -> Bool) -> Int { done.count(where: matches) }

    var starts: Int {
        count { if case .start = $0 { true } else { false } }
    }
}

let image = ImageID("01900000-0000-7000-8000-0000000000aa")!
let first = InstanceID("01900000-0000-7000-8000-000000000001")!
let second = InstanceID("01900000-0000-7000-8000-000000000002")!

func wanted(
    _ desired: Assignment.Desired = .running, _ instance: InstanceID = first, epoch: UInt64 = 1,
    generation: UInt64 = 1, cycle: UInt64 = 1, force: Bool = false, stopTimeout: Duration? = .seconds(90),
    probes: Bool = true
) -> Assignment {
    Assignment(
        instance: instance, epoch: Epoch(epoch), generation: Generation(generation), desired: desired,
        powerCycle: PowerCycle(cycle), force: force, image: image, bootTimeout: .seconds(180),
        stopTimeout: stopTimeout, probesReadiness: probes,
        guest: GuestDescription(
            name: "vm", hostName: "vm", vcpus: 1, memoryBytes: 1 << 30, diskBytes: 1 << 30,
            macAddress: "52:54:00:00:00:01", ipAddress: "192.168.177.10"))
}
