import AgentReconcile
import ManagerStore
import SimulatorWorld

/// What goes wrong, and when: each seed has its own choice of faults, so that some runs see many of one kind and none of
/// another.
final class FaultSchedule {
    enum Fault: CaseIterable {
        case managerCrash, managerUpgrade, managerStops, managerStepsDown, managerCutFromRecord, managerCutFromHosts,
            managerClock, allManagersUpgrade, allManagersCrash, recordAway, slowAnswers, agentCrash, agentCrashInCall,
            powerLoss,
            partition, deafDirection,
            badNetwork, hypervisorAway, badCalls, hungCalls, fullDisk, fullStore, slowStore, clockJump, guestTrouble
    }

    private let site: Site
    private let clients: Clients
    private let world: World
    private let chosen: [Fault]
    private let pace: ClosedRange<SimulatedTime>
    private var isOver = false
    /// Of the record while nothing is wrong with it.
    private var usualQuality = Record.Quality()

    init(site: Site, clients: Clients) {
        self.site = site
        self.clients = clients
        let world = site.world
        self.world = world
        let share = [0.15, 0.4, 0.8][world.random.below(3)]
        chosen = Fault.allCases.filter { _ in world.random.chance(share) }
        let slowest = [8.0, 25.0, 60.0][world.random.below(3)]
        pace = .seconds(1)...(.seconds(slowest))
    }

    func start() {
        if world.random.chance(0.5) { clients.lostAnswers = 0.15 }
        if world.random.chance(0.5) { site.badChunks = 0.3 }
        if world.random.chance(0.3) { usualQuality.retry = 0.2 }
        site.record.quality = usualQuality
        if world.random.chance(0.4) {
            for machine in site.machines {
                machine.hypervisor.guests.deaf = 0.15
                machine.hypervisor.guests.mute = 0.05
            }
        }
        next()
    }

    private func next() {
        world.after(world.random.time(pace)) { [self] in
            guard !isOver, let fault = world.random.pick(chosen) else { return }
            happen(fault)
            next()
        }
    }

    /// Faults stop: what is broken is mended, and processes come back by themselves.
    func stop() {
        isOver = true
        world.trace.note(world, "faults stop")
        clients.lostAnswers = 0
        site.badChunks = 0
        site.network.heal()
        site.network.quality = NetworkQuality()
        site.record.quality = Record.Quality()
        for manager in site.managers {
            (manager.isCutOff, manager.isDeaf) = (false, false)
            manager.process?.resume()
        }
        site.calls = SimulatedAgent.CallQuality()
        for agent in site.agents { agent?.calls = site.calls }
        for machine in site.machines {
            machine.disk.setFull(false)
            machine.hypervisor.guests = SimulatedHypervisor.Guests()
            comeBack(machine)
        }
        site.guests = SimulatedHypervisor.Guests()
    }

    private func happen(_ fault: Fault) {
        let random = world.random
        guard let machine = random.pick(site.machines) else { return }
        world.trace.note(world, "fault", UInt64(machine.index), 0, "\(fault) \(machine.name)")
        switch fault {
        case .managerCrash, .managerUpgrade, .managerStops, .managerStepsDown, .managerCutFromRecord,
            .managerCutFromHosts, .managerClock, .allManagersUpgrade, .allManagersCrash, .recordAway:
            happen(fault, to: site.victim)
        case .agentCrash: site.restartAgent(machine, after: random.time(.milliseconds(200)...(.seconds(25))))
        case .agentCrashInCall: machine.disk.dieSoon(random.below(8))
        case .powerLoss: site.reboot(machine, after: random.time(.seconds(2)...(.seconds(30))))
        case .partition: cut(machine, both: true)
        case .deafDirection: cut(machine, both: false)
        case .badNetwork:
            site.network.quality.loss = random.chance(0.5) ? 0.3 : 0.05
            site.network.quality.duplication = 0.2
            site.network.quality.straggling = 0.2
            later { $0.site.network.quality = NetworkQuality() }
        case .hypervisorAway:
            machine.hypervisor.isAway = true
            machine.noteFault(lasting: later { $0.comeBack(machine) })
        case .badCalls:
            setCalls {
                $0.failure = 0.4; $0.lostEvent = 0.2
            }
        case .hungCalls: setCalls { $0.hang = 0.3 }
        case .fullDisk:
            machine.disk.setFull(true)
            machine.noteFault(lasting: later { _ in machine.disk.setFull(false) })
        case .fullStore: setStore { $0.isFull = true }
        case .slowAnswers: setStore { $0.answer = .milliseconds(10)...(.milliseconds(2500)) }
        case .slowStore:
            let slowest = SimulatedTime.seconds(random.chance(0.5) ? 3 : 12)
            setStore { $0.latency = .milliseconds(100)...slowest }
        case .clockJump:
            machine.noteFault()
            let jump = random.time(.seconds(1)...(.minutes(15)))
            // A clock that is off by hours is another matter: the manager does not count what lies far ahead.
            machine.clockError = machine.clockError > .zero ? machine.clockError - jump : machine.clockError + jump
            world.trace.note(
                world, "clock set", UInt64(machine.index), UInt64(bitPattern: machine.clockError.microseconds),
                "\(machine.name) \(machine.clockError.seconds) s off")
        case .guestTrouble:
            machine.hypervisor.guests.crash = 0.3
            machine.hypervisor.guests.shutDown = 0.2
            if let victim = random.pick(machine.hypervisor.running) {
                machine.hypervisor.end(
                    victim.assignment.instance, random.chance(0.5) ? .crashed : .guestShutdown)
            }
        }
    }

    private func happen(_ fault: Fault, to manager: ManagerHost) {
        let random = world.random
        world.trace.note(world, "to", UInt64(manager.index), 0, manager.name)
        switch fault {
        case .managerCrash:
            site.restart(manager, gracefully: false, after: random.time(.milliseconds(600)...(.seconds(20))))
        case .managerUpgrade: site.restart(manager, gracefully: true, after: random.time(.seconds(1)...(.seconds(5))))
        case .managerStops:
            let process = manager.process
            process?.pause()
            later(.milliseconds(200)...(.seconds(25))) { _ in process?.resume() }
        case .managerStepsDown: manager.process?.write({ try $0.leadership.askToResign() }) { _ in }
        case .managerCutFromRecord where site.record.isShared:
            // First the answers are lost, then the questions, too; at times either alone.
            manager.isDeaf = random.chance(0.7)
            later(.milliseconds(1)...(.milliseconds(2500))) {
                manager.isDeaf = false
                manager.isCutOff = random.chance(0.8)
                $0.later(.milliseconds(500)...(.seconds(20))) { _ in manager.isCutOff = false }
            }
        case .managerCutFromHosts:
            for machine in site.machines { cut(machine, from: manager.place) }
        case .managerClock:
            if random.chance(0.5) { manager.skew() }
            manager.clockError = random.time(SimulatedTime.zero - .minutes(2)...(.minutes(2)))
        case .allManagersUpgrade: upgradeAll(site.managers[...])
        case .allManagersCrash:
            for manager in site.managers {
                site.restart(manager, gracefully: false, after: random.time(.milliseconds(600)...(.seconds(8))))
            }
        case .recordAway where site.record.isShared: setStore { $0.isAway = true }
        default: break
        }
    }

    /// One after another, as an operator does it.
    private func upgradeAll(_ rest: ArraySlice<ManagerHost>) {
        guard let host = rest.first, !isOver else { return }
        site.restart(host, gracefully: true, after: world.random.time(.seconds(1)...(.seconds(4))))
        world.after(world.random.time(.seconds(5)...(.seconds(20)))) { self.upgradeAll(rest.dropFirst()) }
    }

    private func cut(_ machine: Machine, from place: Place) {
        let host = Place.host(machine.index)
        site.network.block(from: host, to: place, true)
        site.network.block(from: place, to: host, true)
        later {
            $0.site.network.block(from: host, to: place, false)
            $0.site.network.block(from: place, to: host, false)
        }
    }

    private func cut(_ machine: Machine, both: Bool) {
        let other: Place =
            world.random.chance(0.8)
            ? site.victim.place : .host(world.random.pick(site.machines)?.index ?? 0)
        let host = Place.host(machine.index)
        let isOutward = world.random.chance(0.5)
        if both || isOutward { site.network.block(from: host, to: other, true) }
        if both || !isOutward { site.network.block(from: other, to: host, true) }
        later {
            $0.site.network.block(from: host, to: other, false)
            $0.site.network.block(from: other, to: host, false)
        }
    }

    private func comeBack(_ machine: Machine) {
        guard machine.hypervisor.isAway else { return }
        machine.hypervisor.isAway = false
        machine.hypervisor.listener?(.ready)
    }

    private func setCalls(_ change: (inout SimulatedAgent.CallQuality) -> Void) {
        change(&site.calls)
        for agent in site.agents { agent?.calls = site.calls }
        let length = later {
            $0.site.calls = SimulatedAgent.CallQuality()
            for agent in $0.site.agents { agent?.calls = $0.site.calls }
        }
        for machine in site.machines { machine.noteFault(lasting: length) }
    }

    private func setStore(_ change: (inout Record.Quality) -> Void) {
        change(&site.record.quality)
        later { $0.site.record.quality = $0.usualQuality }
    }

    /// - Returns: the time after which it is done.
    @discardableResult
    private func later(
        _ range: ClosedRange<SimulatedTime> = .seconds(2)...(.seconds(45)), _ body: @escaping (FaultSchedule) -> Void
    ) -> SimulatedTime {
        let length = world.random.time(range)
        world.after(length) {
            // Mended already where faults have stopped.
            if !self.isOver { body(self) }
        }
        return length
    }
}
