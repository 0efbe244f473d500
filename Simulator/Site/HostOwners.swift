import AgentLink
import AgentReconcile
import ProtocolModel
import SimulatorWorld

/// The hosts' own operators, who take a host back at any moment, whatever else goes wrong, and give it back later.
///
/// Their choices come from a source of their own, so that a run in which none of them does anything goes as it did before
/// there were any.
final class HostOwners {
    private let site: Site
    private let random: Randomness
    private let pace: ClosedRange<SimulatedTime>
    private var isOver = false

    init(site: Site) {
        self.site = site
        random = Randomness(seed: site.world.seed ^ 0x6F77_6E65_7273)
        let slowest = [40.0, 120.0][random.below(2)]
        pace = .seconds(5)...(.seconds(slowest))
    }

    func start() {
        if random.chance(0.4) { next() }
    }

    private func next() {
        site.world.after(random.time(pace)) { [self] in
            guard !isOver, let machine = random.pick(site.machines) else { return }
            if machine.departure == nil {
                leave(machine)
            } else {
                comeBack(machine)
            }
            next()
        }
    }

    private func leave(_ machine: Machine) {
        let deadline = SimulatedTime.seconds(Double(random.number(1...60)))
        // Where no agent runs, the operator asks in vain: nobody stands in for one here.
        site.agents[machine.index]?.leave(within: deadline)
    }

    private func comeBack(_ machine: Machine) { site.agents[machine.index]?.comeBack() }

    /// Nobody takes anything back from now on. Some keep what they have.
    func stop() {
        isOver = true
        for machine in site.machines where machine.departure != nil && random.chance(0.5) { giveBack(machine) }
    }

    /// Its agent may be on its way up.
    private func giveBack(_ machine: Machine) {
        if let agent = site.agents[machine.index], agent.comeBack() { return }
        site.world.after(.seconds(1)) { self.giveBack(machine) }
    }
}

extension SimulatedAgent {
    /// As `roost-agent leave` does it.
    func leave(within deadline: SimulatedTime) {
        guard isAlive else { return }
        let departure = Departure(reason: "needed", since: machine.now.timestamp, deadline: deadline.duration)
        world.trace.note(
            world, "host taken back", UInt64(machine.index), UInt64(deadline.microseconds),
            "\(machine.name) within \(deadline.seconds) s")
        let isKept = site.planted == .departureNotKept || (try? departures.save(departure)) != nil
        machine.departure = Machine.Departure(at: world.now, deadline: deadline, isKept: isKept)
        guard checkDisk() else { return }
        if site.planted != .startsAfterDeparture { post(.departed(departure)) }
        handle(.departed(departure))
    }

    /// As `roost-agent return` does it.
    ///
    /// - Returns: false where it could not be kept, so that the host stays taken back.
    @discardableResult
    func comeBack() -> Bool {
        guard isAlive else { return false }
        let isKept = (try? departures.save(nil)) != nil
        // Half done, it may or may not survive the agent.
        if !isKept { machine.departure?.isKept = false }
        guard checkDisk(), isKept else { return false }
        world.trace.note(world, "host given back", UInt64(machine.index), 0, machine.name)
        machine.departure = nil
        machine.returnedAt = world.now
        post(.returned)
        handle(.departed(nil))
        return true
    }
}
