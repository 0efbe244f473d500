@testable import AgentReconcile
import ProtocolModel
import Testing

@Suite("Whose guest it is (P1), and guests that must not be touched (P5)")
struct OwnershipTests {
    func domain(epoch: UInt64 = 1, cycle: UInt64 = 1, _ state: DomainObservation.State = .running) -> DomainObservation
    {
        DomainObservation(epoch: Epoch(epoch), powerCycle: PowerCycle(cycle), state: state)
    }

    @Test("an agent that starts beside running guests only looks")
    func restart() {
        var host = Host()
        host.domains[first] = domain()
        host.disks = [first]
        host.send(.assigned(.full([wanted()])))
        host.send(.hypervisorReady)
        host.send(.imageHeld(image))
        host.send(.sessionStarted)
        host.run()
        #expect(host.done.isEmpty)
        #expect(host.statuses[first]?.state == .starting)
        host.answer(first)
        host.run()
        #expect(host.statuses[first]?.state == .running)
    }

    @Test("no guest is a stray before a whole set is known, nor by a delta that does not name it")
    func notStrayYet() {
        var host = Host()
        host.domains[first] = domain()
        host.send(.hypervisorReady)
        host.send(.assigned(.delta(changed: [wanted(.running, second)], removed: [])))
        host.run()
        host.pass(.seconds(120))
        host.run()
        #expect(host.domains[first]?.isRunning == true)
    }

    @Test("a guest outside the whole set is powered off and removed, its disk kept and logged")
    func stray() {
        var host = Host()
        host.domains[first] = domain(epoch: 3)
        host.disks = [first, second]
        host.reserved = [first]
        host.send(.hypervisorReady)
        host.run()
        host.send(.assigned(.full([])))
        host.run()
        #expect(host.domains.isEmpty)
        #expect(host.disks == [first, second])
        #expect(host.reserved.isEmpty)
        #expect(host.notices.contains(.strayDomain(first, epoch: Epoch(3))))
        #expect(host.notices.contains(.strayDisk(second)))
    }

    @Test("an assignment of an older epoch changes nothing")
    func olderEpoch() {
        var host = ReconcilerTests.ready([wanted(epoch: 4)])
        host.send(.assigned(.delta(changed: [wanted(.deleted, epoch: 3, generation: 9)], removed: [])))
        host.run()
        #expect(host.domains[first]?.isRunning == true)
        #expect(host.notices.contains(.olderEpochIgnored(first, offered: Epoch(3), known: Epoch(4))))
        host.send(.assigned(.full([wanted(.stopped, epoch: 3, generation: 9)])))
        host.run()
        #expect(host.domains[first]?.isRunning == true)
    }

    @Test("a domain of a newer epoch than the set knows is left alone")
    func newerDomain() {
        var host = Host()
        host.domains[first] = domain(epoch: 9)
        host.send(.sessionStarted)
        host.send(.assigned(.full([wanted(.deleted, epoch: 2)])))
        host.send(.hypervisorReady)
        host.run()
        #expect(host.done.isEmpty)
        #expect(host.statuses[first]?.code == "epoch_conflict")
    }

    @Test("a domain of an older placement on this host gives way to the new one")
    func olderDomain() {
        var host = Host()
        host.domains[first] = domain(epoch: 1)
        host.disks = [first]
        host.send(.assigned(.full([wanted(epoch: 2)])))
        host.send(.imageHeld(image))
        host.send(.hypervisorReady)
        host.run()
        #expect(host.domains[first]?.epoch == Epoch(2))
        #expect(host.notices.contains(.outdatedDomain(first, running: Epoch(1), assigned: Epoch(2))))
    }

    @Test("after a boot of the host the loaded set brings the right guests back without a manager")
    func hostReboot() {
        var host = Host(hostRebooted: true)
        host.disks = [first, second]
        host.domains[first] = domain(.stopped(.guestShutdown))
        host.send(.assigned(.full([wanted(), wanted(.stopped, second)])))
        host.send(.imageHeld(image))
        host.send(.hypervisorReady)
        host.run()
        #expect(host.domains.keys.sorted() == [first])
        #expect(host.domains[first]?.isRunning == true)
    }

    @Test("a guest that shut itself down while the agent was away stays down")
    func shutDownMeanwhile() {
        var host = Host()
        host.domains[first] = domain(.stopped(.guestShutdown))
        host.disks = [first]
        host.send(.assigned(.full([wanted()])))
        host.send(.imageHeld(image))
        host.send(.sessionStarted)
        host.send(.hypervisorReady)
        host.run()
        #expect(host.starts == 0)
        #expect(host.statuses[first]?.code == "guest_shutdown")
    }

    @Test("a survey that began before an action ended does not undo what the action showed")
    func staleSurvey() throws {
        var host = ReconcilerTests.ready([])
        host.pass(.seconds(60))
        let index = try #require(host.pending.firstIndex { if case .survey = $0 { true } else { false } })
        guard case .survey(let token) = host.pending.remove(at: index) else { return }
        host.send(.assigned(.delta(changed: [wanted()], removed: [])))
        host.run()
        host.send(.surveyed(token, Survey()))
        host.run()
        #expect(host.starts == 1)
        #expect(host.done.last == .reserveAddress(wanted()))
    }

    @Test("a stop event that is out of date does not start a second domain")
    func staleEvent() {
        var host = ReconcilerTests.running()
        host.send(.domainStopped(first, .crashed))
        host.run()
        #expect(host.starts == 1)
        #expect(host.done.last == .inspect(first))
        #expect(host.statuses[first]?.state == .running)
    }

    @Test("only so many starts run at once")
    func bounded() {
        var host = Host(parallelStarts: 2)
        host.send(.hypervisorReady)
        host.send(.imageHeld(image))
        host.run()
        var random = SeededRandom(seed: 1)
        let ids = (0..<12).map { _ in InstanceID.generate(at: host.now.timestamp, using: &random) }
        host.send(.assigned(.full(ids.map { wanted(.running, $0) })))
        var most = 0
        while !host.pending.isEmpty {
            most = max(most, host.reconciler.heavyActions)
            host.carryOutFirst()
        }
        #expect(most == 2)
        #expect(host.domains.count == 12)
    }
}
