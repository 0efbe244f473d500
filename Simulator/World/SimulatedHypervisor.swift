public import AgentReconcile
public import AgentUsage
public import ProtocolModel

/// One run of a domain, as it truly was.
public struct DomainRun: Sendable {
    public let instance: InstanceID
    public let host: Int
    public let epoch: Epoch
    public let began: SimulatedTime
    public var ended: SimulatedTime?
}

/// The hypervisor of one host, which outlives agents and dies with the host: domains, disks, guests that boot, answer,
/// ignore, crash and shut down.
public final class SimulatedHypervisor {
    public struct Domain: Sendable {
        public var observation: DomainObservation
        public var assignment: Assignment
        public var startedAt: SimulatedTime
        /// When the guest answers; `nil`: never.
        public var readyAt: SimulatedTime?
        /// The guest does not listen to the power button.
        public var isDeaf: Bool
        /// Which of the runs of the whole site.
        public var run: Int
    }

    /// How guests behave; shares are 0 to 1.
    public struct Guests: Sendable {
        public var crash = 0.0
        public var shutDown = 0.0
        public var deaf = 0.0
        public var mute = 0.0
        public init() {}
    }

    public enum Happening: Sendable {
        case ready
        case started(InstanceID)
        case stopped(InstanceID, StopCause)
    }

    /// What the whole site's hypervisors have run, for those who check.
    public final class Ledger {
        public var runs: [DomainRun] = []
        /// Told of each start, before anything else happens.
        public var started: ((Int, Domain) -> Void)?
        /// Told when an agent that lives ends a run that goes on.
        public var cut: ((Int, Domain) -> Void)?
        public init() {}
    }

    public let host: Int
    public private(set) var domains: [InstanceID: Domain] = [:]
    public private(set) var disks: Set<InstanceID> = []
    public var guests = Guests()
    /// The hypervisor's daemon does not answer.
    public var isAway = false
    /// Told what happens; `nil` while no agent listens.
    public var listener: ((Happening) -> Void)?
    private let world: World
    private let ledger: Ledger
    /// Grows when the host loses power: what was to happen to earlier guests does not.
    private var boot = 0

    public init(host: Int, world: World, ledger: Ledger) {
        self.host = host
        self.world = world
        self.ledger = ledger
    }

    public var running: [Domain] {
        domains.values.filter { $0.observation.isRunning }.sorted { $0.assignment.instance < $1.assignment.instance }
    }

    public func survey() -> Survey { Survey(domains: domains.mapValues(\.observation), disks: disks) }

    /// The power of the host goes: no domain runs any more, and none says so.
    public func losePower() {
        boot += 1
        for id in domains.keys.sorted() {
            if domains[id]?.observation.isRunning == true { end(id, .unknown, tells: false) }
            domains[id] = nil
        }
        isAway = false
    }

    // MARK: Actions

    /// Carries an action out at once.
    ///
    /// - Parameters:
    ///   - isOrphan: the agent that called has died meanwhile.
    ///   - imageIsHeld: whether the image cache has the whole image.
    public func perform(
        _ action: Action, wall: Timestamp, isOrphan: Bool, imageIsHeld: (ImageID) -> Bool
    ) -> Outcome {
        switch action {
        case .makeFiles(let assignment):
            guard imageIsHeld(assignment.image) else {
                return .failed(ActionFailure(code: "image_missing", sentence: "the image is not on this host"))
            }
            disks.insert(assignment.instance)
            return .succeeded
        case .reserveAddress, .releaseAddress: return .succeeded
        case .start(let assignment): return start(assignment, wall: wall)
        case .askToShutDown(let id):
            guard let domain = domains[id], domain.observation.isRunning else { return .failed(Self.noDomain) }
            if !isOrphan { ledger.cut?(host, domain) }
            askToShutDown(id, domain)
            return .succeeded
        case .powerOff(let id):
            guard let domain = domains[id] else { return .succeeded }
            if domain.observation.isRunning {
                if !isOrphan { ledger.cut?(host, domain) }
                end(id, .destroyed)
            }
            return .succeeded
        case .removeDomain(let id):
            guard let domain = domains[id] else { return .succeeded }
            guard !domain.observation.isRunning else {
                return .failed(ActionFailure(code: "domain_running", sentence: "the domain runs"))
            }
            domains[id] = nil
            return .succeeded
        case .removeDisk(let id):
            disks.remove(id)
            return .succeeded
        case .inspect(let id): return .observed(domains[id]?.observation)
        }
    }

    private static let noDomain = ActionFailure(code: "no_such_domain", sentence: "there is no such domain")

    private func start(_ assignment: Assignment, wall: Timestamp) -> Outcome {
        let id = assignment.instance
        guard domains[id]?.observation.isRunning != true else {
            return .failed(ActionFailure(code: "domain_runs", sentence: "the domain runs already"))
        }
        guard disks.contains(id) else {
            return .failed(ActionFailure(code: "hypervisor_refused", sentence: "the domain has no disk"))
        }
        let bootTime = world.random.time(.seconds(1)...(.seconds(8)))
        let domain = Domain(
            observation: DomainObservation(
                epoch: assignment.epoch, powerCycle: assignment.powerCycle, state: .running, startedAt: wall),
            assignment: assignment, startedAt: world.now,
            readyAt: world.random.chance(guests.mute) ? nil : world.now + bootTime,
            isDeaf: world.random.chance(guests.deaf), run: ledger.runs.count)
        ledger.runs.append(
            DomainRun(instance: id, host: host, epoch: assignment.epoch, began: world.now, ended: nil))
        domains[id] = domain
        world.trace.note(world, "domain started", id.mark, UInt64(host), "\(id.short) on host \(host)")
        ledger.started?(host, domain)
        listener?(.started(id))
        if world.random.chance(guests.crash) { later(id, .seconds(1)...(.seconds(60))) { self.end(id, .crashed) } }
        if world.random.chance(guests.shutDown) {
            later(id, .seconds(5)...(.seconds(120))) { self.end(id, .guestShutdown) }
        }
        return .succeeded
    }

    private func askToShutDown(_ id: InstanceID, _ domain: Domain) {
        // A guest that still boots misses the power button.
        guard !domain.isDeaf, let readyAt = domain.readyAt, readyAt <= world.now else { return }
        later(id, .milliseconds(500)...(.seconds(6))) { self.end(id, .guestShutdown) }
    }

    /// Does something to this run of a domain after a while, if it still runs then.
    private func later(_ id: InstanceID, _ range: ClosedRange<SimulatedTime>, _ body: @escaping () -> Void) {
        guard let run = domains[id]?.run else { return }
        world.after(world.random.time(range)) {
            guard let domain = self.domains[id], domain.run == run, domain.observation.isRunning else { return }
            body()
        }
    }

    /// Ends the run of a domain.
    public func end(_ id: InstanceID, _ cause: StopCause, tells: Bool = true) {
        guard let domain = domains[id], domain.observation.isRunning else { return }
        domains[id]?.observation.state = .stopped(cause)
        domains[id]?.observation.startedAt = nil
        ledger.runs[domain.run].ended = world.now
        world.trace.note(
            world, "domain stopped", id.mark, UInt64(host), "\(id.short) on host \(host): \(cause.rawValue)")
        if tells { listener?(.stopped(id, cause)) }
    }

    // MARK: Looking

    public func readings(now: SimulatedTime) -> [UsageReading] {
        running.map { domain in
            let ran = UInt64(max(0, (now - domain.startedAt).microseconds))
            return UsageReading(
                instance: domain.assignment.instance, powerCycle: domain.observation.powerCycle,
                startedAt: domain.observation.startedAt, vcpus: UInt32(clamping: domain.assignment.guest.vcpus),
                memoryBytes: domain.assignment.guest.memoryBytes,
                counters: UsageCounters(cpuTimeNanoseconds: ran * 500))
        }
    }

    /// Whether the guest of this power cycle would answer now.
    public func answers(_ id: InstanceID, _ cycle: PowerCycle) -> Bool {
        guard let domain = domains[id], domain.observation.isRunning, domain.observation.powerCycle == cycle,
            let readyAt = domain.readyAt
        else { return false }
        return readyAt <= world.now
    }
}
