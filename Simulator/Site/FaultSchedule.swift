import AgentReconcile
import SimulatorWorld

/// What goes wrong, and when: each seed has its own choice of faults, so that some runs see many of one kind and none of
/// another.
final class FaultSchedule {
    enum Fault: CaseIterable {
        case managerCrash, managerUpgrade, agentCrash, agentCrashInCall, powerLoss, partition, deafDirection,
            badNetwork, hypervisorAway, badCalls, hungCalls, fullDisk, fullStore, slowStore, clockJump, guestTrouble
    }

    private let site: Site
    private let clients: Clients
    private let world: World
    private let chosen: [Fault]
    private let pace: ClosedRange<SimulatedTime>
    private var isOver = false

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
        if world.random.chance(0.3) { site.storeQuality.retry = 0.2 }
        site.manager?.quality = site.storeQuality
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
        site.storeQuality = SimulatedManager.StoreQuality()
        site.manager?.quality = site.storeQuality
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
        case .managerCrash:
            site.restartManager(gracefully: false, after: random.time(.milliseconds(300)...(.seconds(20))))
        case .managerUpgrade: site.restartManager(gracefully: true, after: random.time(.seconds(1)...(.seconds(5))))
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
        case .slowStore: setStore { $0.latency = .milliseconds(100)...(.seconds(3)) }
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

    private func cut(_ machine: Machine, both: Bool) {
        let other: Place =
            world.random.chance(0.8)
            ? .manager : .host(world.random.pick(site.machines)?.index ?? 0)
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

    private func setStore(_ change: (inout SimulatedManager.StoreQuality) -> Void) {
        let usual = site.storeQuality
        change(&site.storeQuality)
        site.manager?.quality = site.storeQuality
        later {
            $0.site.storeQuality = usual
            $0.site.manager?.quality = usual
        }
    }

    /// - Returns: the time after which it is done.
    @discardableResult
    private func later(_ body: @escaping (FaultSchedule) -> Void) -> SimulatedTime {
        let length = world.random.time(.seconds(2)...(.seconds(45)))
        world.after(length) {
            // Mended already where faults have stopped.
            if !self.isOver { body(self) }
        }
        return length
    }
}
