@testable import AgentReconcile
import ProtocolModel
import Testing

@Suite("Guests that may run on another host by now")
struct RestartElsewhereTests {
    private func movable(generation: UInt64 = 1) -> Assignment {
        var assignment = wanted()
        assignment.generation = Generation(generation)
        assignment.restartsElsewhere = true
        return assignment
    }

    /// An agent's life that begins with what the disk says.
    private func life(_ kept: [Assignment], rebooted: Bool = false) -> Host {
        var host = Host(hostRebooted: rebooted)
        for event in [Event.hypervisorReady, .imageHeld(image), .assigned(.full(kept))] { host.send(event) }
        host.run()
        return host
    }

    @Test("after a boot with the manager away none is started, however long that lasts; others are (P1)")
    func boot() {
        var host = life([movable()], rebooted: true)
        host.pass(.seconds(86_400))
        host.run()
        #expect(host.starts == 0)
        #expect(life([wanted()], rebooted: true).starts == 1)

        // It is still this host's: it starts.
        host.send(.sessionStarted)
        host.run()
        #expect(host.starts == 0, "a session alone says nothing about it")
        host.send(.assigned(.full([movable()])))
        host.send(.managerHeard)
        host.run()
        #expect(host.starts == 1)
    }

    @Test("it is another host's by now: not a moment's start, and what is left of it is removed")
    func moved() {
        var host = life([movable()], rebooted: true)
        host.disks = [first]
        var removed = movable(generation: 2)
        removed.desired = .deleted
        host.send(.sessionStarted)
        // What follows of each is done before the next, as slowly as a host may be.
        host.send(.assigned(.full([removed])))
        host.run()
        host.send(.managerHeard)
        host.run()
        #expect(host.starts == 0 && host.disks.isEmpty)
        #expect(host.statuses[first]?.state == .deleted)
    }

    @Test("a set that does not name it any more is taken in before the manager counts as heard: it never starts")
    func gone() {
        var host = life([movable()], rebooted: true)
        host.send(.sessionStarted)
        for event in [Event.assigned(.full([])), .managerHeard] {
            host.send(event)
            host.run()
            host.pass(.seconds(60))
            host.run()
        }
        #expect(host.starts == 0)
    }

    @Test(
        "a restart of the agent leaves one that runs alone, also one that was to be rebooted, which follows later (P5)")
    func runs() {
        var before = life([movable()])
        before.send(.managerHeard)
        before.run()
        #expect(before.starts == 1)
        var cycled = movable(generation: 2)
        cycled.powerCycle = PowerCycle(2)
        var next = Host()
        (next.domains, next.disks) = (before.domains, before.disks)
        for event in [Event.hypervisorReady, .imageHeld(image), .assigned(.full([cycled]))] { next.send(event) }
        next.run()
        next.pass(.seconds(600))
        next.run()
        #expect(next.domains[first]?.isRunning == true && next.starts == 0)
        next.send(.managerHeard)
        next.run()
        next.pass(.seconds(600))
        next.run()
        #expect(next.starts == 1)
    }

    @Test("one that ends while the manager is away is started again by the agent that has heard it")
    func crashes() {
        var host = life([movable()])
        host.send(.managerHeard)
        host.run()
        host.send(.sessionEnded)
        host.stop(first, .crashed)
        host.run()
        host.pass(.seconds(60))
        host.run()
        #expect(host.starts == 2)
    }
}
