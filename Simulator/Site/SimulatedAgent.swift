import AgentDurability
import AgentLink
import AgentReconcile
import AgentUsage
import ManagerStore
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import ProtocolWire
import SimulatorWorld
import SwiftProtobuf

/// One life of an agent's process: `LinkCore`, `Reconciler` and `UsageRecorder` over a machine's disk and hypervisor, as
/// the daemon runs them.
final class SimulatedAgent {
    /// How often calls of the hypervisor go wrong; shares are 0 to 1.
    struct CallQuality {
        var failure = 0.0
        var hang = 0.0
        var lostEvent = 0.0
    }

    let world: World
    let machine: Machine
    let site: Site
    var calls = CallQuality()
    private(set) var isAlive = true
    private(set) var link: LinkCore
    private(set) var reconciler: Reconciler
    private(set) var recorder: UsageRecorder
    let journal: AssignmentJournal
    let departures: DepartureFile
    let images: ImageFetcher
    let uplink: SimulatedUplink
    private let boot: Int
    private var mailbox: [Event] = []
    private var isDraining = false
    private var wakeAt: Uptime?
    private var probes: [InstanceID: UInt64] = [:]
    private var lastProbe: UInt64 = 0
    private var errands: Set<LinkCore.Errand> = []
    private var usageInterval = Duration.seconds(10)
    private var sampling: UInt64 = 0

    static let data = "/data"

    private static func words(_ sample: Roost_V1_UsageSample) -> String {
        let from = sample.fromMs - World.epoch.milliseconds
        return "\(InstanceID(bytes: sample.instanceID)?.short ?? "") \(from)+\(sample.toMs - sample.fromMs)"
    }

    /// Opens what lies on the disk; throws where the process would end with a sentence.
    init(machine: Machine, site: Site) throws {
        self.machine = machine
        self.site = site
        world = site.world
        boot = site.boots[machine.index]
        machine.disk.processBegins()
        let hostBoot = try HostBoot.read(data: Self.data, source: HostBoot.source, files: machine.disk)
        journal = AssignmentJournal(data: Self.data, files: machine.disk)
        var book = AssignmentBook()
        var bookIsKnown = false
        if case .book(let kept) = try journal.load() { (book, bookIsKnown) = (kept, true) }
        departures = DepartureFile(data: Self.data, files: machine.disk)
        let departure = try departures.load(at: machine.now.timestamp)
        link = LinkCore(book: book, departure: departure, managerHost: site.managers[0].name, usageInterval: nil)
        reconciler = Reconciler(hostRebooted: hostBoot.hostRebooted, seed: world.random.next())
        var random = world.random
        let opened = try UsageSpool.open(
            folder: Self.data + "/usage", files: machine.disk, segmentBytes: 4096,
            newID: .generate(at: machine.now.timestamp, using: &random))
        let countsAgain = site.planted == .countedFromStartAgain
        recorder = UsageRecorder(
            sampler: Sampler(
                state: countsAgain ? nil : opened.state, boot: hostBoot.id,
                at: countsAgain ? Timestamp(milliseconds: 0) : machine.now.timestamp),
            spool: opened.spool)
        images = ImageFetcher(machine: machine, site: site)
        uplink = SimulatedUplink(machine: machine, site: site)
        if machine.disk.isDead { throw FileProblem(operation: "start", path: Self.data, code: 5) }
        if machine.departure?.isKept == false {
            machine.departure = departure.map { _ in
                Machine.Departure(at: world.now, deadline: .minutes(1), isKept: true)
            }
        }
        if let departure, site.planted != .startsAfterDeparture { post(.departed(departure)) }
        images.agent = self
        uplink.agent = self
        for image in machine.images.keys.sorted() where images.holds(image) {
            carryOut(link.handle(.image(images.status(of: image, .held))))
        }
        carryOut(link.handle(.began(bookIsKnown: bookIsKnown)))
        if site.planted == .startsUnheard { post(.managerHeard) }
        if site.planted == .strayBeforeSetIsKnown { post(.assigned(.full([]))) }
        machine.hypervisor.listener = { [weak self] in self?.happened($0) }
        happened(.ready)
        sampleRegularly()
        uplink.dial(after: .zero)
    }

    /// The process is gone; guests run on.
    func kill() {
        guard isAlive else { return }
        isAlive = false
        machine.hypervisor.listener = nil
        uplink.vanish()
        world.trace.note(world, "agent gone", UInt64(machine.index), 0, machine.name)
    }

    /// Ends the process if it died in a call of the disk.
    func checkDisk() -> Bool {
        guard isAlive else { return false }
        guard machine.disk.isDead else { return true }
        site.agentDied(machine)
        return false
    }

    /// Does something later, unless the process is gone by then.
    func after(_ delay: SimulatedTime, _ body: @escaping (SimulatedAgent) -> Void) {
        world.after(delay) { [weak self] in
            guard let self, self.isAlive else { return }
            body(self)
        }
    }

    // MARK: Link

    /// For `Hello`.
    func introduceHostHold() -> Roost_V1_HostHold { link.introduceHostHold() }

    func handle(_ event: LinkCore.Event) {
        guard isAlive else { return }
        var event = event
        if site.planted == .fullSetTreatedAsDelta, case .received(.assignmentSet(var set)) = event, set.full,
            link.book.revision > 0
        {
            (set.full, set.baseRevision) = (false, link.book.revision)
            event = .received(.assignmentSet(set))
        }
        carryOut(link.handle(event))
    }

    private func carryOut(_ effects: [LinkCore.Effect]) {
        for effect in effects {
            guard isAlive else { return }
            switch effect {
            case .save(let book):
                world.trace.note(
                    world, "assignments", UInt64(machine.index), book.revision,
                    "\(machine.name) \(book.revision): "
                        + book.instances.sorted { $0.key < $1.key }.map {
                            "\($0.key.short) \($0.value.desired) \($0.value.epoch).\($0.value.generation)"
                        }.joined(separator: ", "))
                let isSaved = site.planted == .assignmentNotPersisted || (try? journal.save(book)) != nil
                guard checkDisk() else { return }
                carryOut(link.handle(.saved(isSaved)))
            case .send(let message, _):
                if case .usageBatch(let batch) = message {
                    world.trace.note(
                        world, "usage sent", UInt64(machine.index), batch.number,
                        "\(machine.name): batch \(batch.number): \(batch.samples.map(Self.words))")
                    site.note(batch)
                }
                uplink.send(message)
            case .due(let errand):
                guard errands.insert(errand).inserted else { continue }
                after(.milliseconds(1)) { agent in
                    agent.errands.remove(errand)
                    agent.handle(.ready(errand))
                }
            case .resynchronise:
                var random = world.random
                uplink.endSession()
                uplink.dial(after: SimulatedTime(link.nextResynchronisation(using: &random)))
            case .reconcile(let event): post(event)
            case .limitTransfers: break
            case .hold(let wanted): images.apply(wanted.images)
            case .removeImage(let image): images.remove(image)
            // No simulated client makes images of disks.
            case .capture: break
            case .setUsageInterval(let interval):
                guard interval != usageInterval else { continue }
                usageInterval = interval
                sampleRegularly()
            case .collectInventory: carryOut(link.handle(.inventory(site.inventory(of: machine))))
            case .fetchUsage(let position, let limit, let session):
                let batches = (try? recorder.batches(after: position, limit: limit)) ?? []
                guard checkDisk() else { return }
                carryOut(link.handle(.usage(batches, session: session)))
            case .acknowledgeUsage(let spool, let number):
                world.trace.note(
                    world, "usage acknowledged", UInt64(machine.index), number, "\(machine.name): up to \(number)")
                recorder.acknowledge(spool, upTo: number)
                guard checkDisk() else { return }
            case .notice: break
            }
        }
    }

    // MARK: Reconciler

    func post(_ event: Event) {
        mailbox.append(event)
        guard !isDraining else { return }
        isDraining = true
        after(.zero) { $0.drain() }
    }

    private func drain() {
        isDraining = false
        while !mailbox.isEmpty, isAlive {
            let events = mailbox
            mailbox = []
            for event in events {
                for effect in reconciler.handle(altered(event), at: machine.now) where isAlive { carryOut(effect) }
            }
        }
        guard isAlive, let wake = reconciler.nextWake, wake != wakeAt else { return }
        wakeAt = wake
        after(SimulatedTime(wake - machine.now.uptime) + .milliseconds(1)) { agent in
            guard agent.wakeAt == wake else { return }
            agent.wakeAt = nil
            agent.post(.tick)
        }
    }

    /// What an agent with the planted fault would make of a look at its domains.
    private func altered(_ event: Event) -> Event {
        guard site.planted == .epochCheckLeftOut else { return event }
        func current(_ id: InstanceID, _ seen: DomainObservation) -> DomainObservation {
            var seen = seen
            if let message = link.book.instances[id] { seen.epoch = Epoch(message.epoch) }
            return seen
        }
        switch event {
        case .surveyed(let token, var survey):
            for (id, seen) in survey.domains { survey.domains[id] = current(id, seen) }
            return .surveyed(token, survey)
        case .assigned(.delta(let changed, let removed)):
            // Nothing tells the placements apart.
            let same = changed.map { assignment in
                var assignment = assignment
                assignment.epoch = Epoch(1)
                return assignment
            }
            return .assigned(.delta(changed: same, removed: removed))
        default: return event
        }
    }

    private func carryOut(_ effect: Effect) {
        switch effect {
        case .survey(let token): survey(token)
        case .perform(let id, let action): perform(id, action)
        case .probe(let assignment):
            lastProbe += 1
            probes[assignment.instance] = lastProbe
            ask(assignment, lastProbe, wait: .milliseconds(500))
        case .endProbe(let id): probes[id] = nil
        case .lend: break
        case .report(let full, let statuses): carryOut(link.handle(.statuses(full: full, statuses)))
        case .notice: break
        }
    }

    private func survey(_ token: SurveyToken) {
        let wait = world.random.time(.milliseconds(2)...(.milliseconds(30)))
        after(wait) { agent in
            let failure = ActionFailure(code: "hypervisor_unreachable", sentence: "libvirt does not answer")
            let isAway = agent.machine.hypervisor.isAway || agent.world.random.chance(agent.calls.failure)
            let survey = agent.machine.hypervisor.survey()
            agent.after(wait) { agent in
                agent.post(isAway ? .surveyFailed(token, failure) : .surveyed(token, survey))
            }
        }
    }

    /// A call may fail before or after it had its effect, and may take very long; one that was made goes on without its
    /// caller, since the hypervisor is another process.
    private func perform(_ id: ActionID, _ action: Action) {
        let random = world.random
        var before = random.time(.milliseconds(2)...(.milliseconds(60)))
        var behind = random.time(.milliseconds(1)...(.milliseconds(20)))
        if random.chance(calls.hang) {
            if random.chance(0.5) {
                before = before + random.time(.seconds(1)...(.seconds(40)))
            } else {
                behind = behind + random.time(.seconds(1)...(.seconds(40)))
            }
        }
        let failsBefore = random.chance(calls.failure)
        let failsBehind = random.chance(calls.failure / 2)
        let (machine, site, boot) = (self.machine, self.site, self.boot)
        let isCarriedOn = random.chance(0.5) && before < .milliseconds(100)
        world.after(before) { [weak self] in
            let caller = self.flatMap { $0.isAlive ? $0 : nil }
            guard boot == site.boots[machine.index], caller != nil || isCarriedOn else { return }
            var outcome = Outcome.failed(ActionFailure(code: "hypervisor_refused", sentence: "the call failed"))
            if machine.hypervisor.isAway {
                outcome = .failed(ActionFailure(code: "hypervisor_unreachable", sentence: "libvirt does not answer"))
            } else if !failsBefore {
                let carried = machine.hypervisor.perform(
                    action, wall: machine.now.timestamp, isOrphan: caller == nil
                ) { ImageFetcher.holds($0, machine) }
                if !failsBehind { outcome = carried }
            }
            caller?.after(behind) { $0.post(.finished(id, outcome)) }
        }
    }

    private func ask(_ assignment: Assignment, _ number: UInt64, wait: SimulatedTime) {
        after(.milliseconds(5)) { agent in
            guard agent.probes[assignment.instance] == number else { return }
            if agent.machine.hypervisor.answers(assignment.instance, assignment.powerCycle) {
                return agent.post(.answered(assignment.instance, assignment.powerCycle))
            }
            agent.after(wait) { agent in
                let longer = SimulatedTime(microseconds: min(wait.microseconds * 6 / 5, 5_000_000))
                agent.ask(assignment, number, wait: longer)
            }
        }
    }

    /// What the hypervisor tells by itself, which may come late or not at all.
    private func happened(_ happening: SimulatedHypervisor.Happening) {
        if case .ready = happening { return post(.hypervisorReady) }
        guard !world.random.chance(calls.lostEvent) else { return }
        after(world.random.time(.milliseconds(1)...(.milliseconds(15)))) { agent in
            switch happening {
            case .ready: break
            case .started(let id): agent.post(.domainStarted(id))
            case .stopped(let id, let cause):
                agent.keep { recorder, now throws(SpoolError) in
                    _ = try recorder.stopped(id, at: now.timestamp, now.uptime)
                }
                agent.post(.domainStopped(id, cause))
            }
        }
    }

    // MARK: Usage

    private func sampleRegularly() {
        sampling += 1
        sample(sampling)
    }

    private func sample(_ round: UInt64) {
        guard isAlive, round == sampling else { return }
        let wait = world.random.time(.milliseconds(2)...(.milliseconds(20)))
        after(wait) { agent in
            guard round == agent.sampling else { return }
            let isAway = agent.machine.hypervisor.isAway
            let readings = agent.machine.hypervisor.readings(now: agent.world.now)
            agent.after(wait) { agent in
                if !isAway {
                    agent.keep { recorder, now throws(SpoolError) in
                        _ = try recorder.sample(readings, at: now.timestamp, now.uptime)
                    }
                }
                agent.after(SimulatedTime(agent.usageInterval)) { $0.sample(round) }
            }
        }
    }

    private func keep(_ body: (inout UsageRecorder, Moment) throws(SpoolError) -> Void) {
        let isKept: Bool
        do throws(SpoolError) {
            try body(&recorder, machine.now)
            isKept = true
        } catch {
            isKept = false
        }
        guard checkDisk() else { return }
        if isKept { carryOut(link.handle(.usageKept)) }
    }

    /// Samples that the manager has not acknowledged.
    func unacknowledgedBatches() -> Int { (try? recorder.batches(after: nil, limit: 1000))?.count ?? 0 }
}
