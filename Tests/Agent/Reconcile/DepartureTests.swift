@testable import AgentReconcile
import ProtocolModel
import Testing

@Suite("A host that its own operator takes back")
struct DepartureTests {
    private func departure(_ host: Host, _ deadline: Duration = .seconds(60)) -> Departure {
        Departure(reason: "lecture", since: host.now.timestamp, deadline: deadline)
    }

    @Test("guests are asked to shut down, none is started whatever is wanted, and both are said")
    func leave() {
        var host = ReconcilerTests.running()
        let starts = host.starts
        host.send(.departed(departure(host)))
        #expect(host.reconciler.departureSight?.isEmpty == false)
        host.run()
        #expect(host.domains.isEmpty && host.disks == [first])
        #expect(host.count { $0 == .askToShutDown(first) } == 1)
        #expect(host.count { $0 == .powerOff(first) } == 0)
        #expect(host.reconciler.departureSight?.isEmpty == true)
        #expect(host.statuses[first]?.state == .stopped && host.statuses[first]?.code == "host_left")
        #expect(host.statuses[first]?.reason.contains("lecture") == true)
        host.send(.assigned(.delta(changed: [wanted(generation: 2, cycle: 2), wanted(.running, second)], removed: [])))
        host.run()
        host.pass(.seconds(3600))
        host.run()
        #expect(host.starts == starts && host.domains.isEmpty)
        #expect(host.statuses[second]?.code == "host_left")
    }

    @Test("what does not shut down is forced off in time for the deadline")
    func force() {
        var host = ReconcilerTests.running()
        host.guestsObey = false
        host.send(.departed(departure(host)))
        host.run()
        for _ in 0..<4 { host.pass(.seconds(10)); host.run() }
        #expect(host.domains[first]?.isRunning == true && host.count { $0 == .askToShutDown(first) } == 5)
        #expect(host.reconciler.departureSight?.remaining.map(\.phase) == [.shuttingDown])
        host.pass(.milliseconds(9_999))
        host.run()
        #expect(host.domains[first]?.isRunning == true)
        host.pass(.milliseconds(1))
        host.run()
        #expect(host.domains.isEmpty && host.count { $0 == .powerOff(first) } == 1)
    }

    @Test("a guest that runs under any placement goes, also one that nobody names")
    func strangers() {
        var host = ReconcilerTests.running()
        host.domains[first]?.epoch = Epoch(9)
        host.send(.hypervisorReady)
        host.run()
        #expect(host.domains[first]?.isRunning == true, "hands off, otherwise")
        host.send(.departed(departure(host)))
        host.run()
        #expect(host.domains[first]?.isRunning != true)

        // No set is known: after a damaged journal, or where no agent runs.
        var other = Host()
        other.guestsObey = false
        other.domains[second] = DomainObservation(
            epoch: Epoch(1), powerCycle: PowerCycle(1), state: .running, startedAt: other.now.timestamp)
        other.send(.departed(departure(other, .seconds(8))))
        other.run()
        #expect(other.reconciler.departureSight?.remaining.map(\.instance) == [second])
        other.pass(.seconds(6))
        other.run()
        #expect(other.domains[second]?.isRunning == false)
        #expect(other.reconciler.departureSight?.isEmpty == true)
    }

    @Test("nobody says that nothing runs before the host was looked at since")
    func complete() {
        var host = ReconcilerTests.running()
        // It started without an event, in place of one that is thought to be stopped.
        host.send(.assigned(.delta(changed: [wanted(.stopped, generation: 2)], removed: [])))
        host.run()
        host.domains[first] = DomainObservation(
            epoch: Epoch(1), powerCycle: PowerCycle(1), state: .running, startedAt: host.now.timestamp)
        host.send(.departed(departure(host)))
        #expect(host.reconciler.departureSight?.isEmpty == false)
        host.carryOutFirst()
        #expect(host.reconciler.departureSight?.isEmpty == false, "it is being looked at")
        host.run()
        #expect(host.domains[first]?.isRunning != true)
        #expect(host.reconciler.departureSight?.isEmpty == true)
    }

    @Test("given back, guests start again, also those that shut down when they were asked")
    func comeBack() {
        var host = ReconcilerTests.running()
        let starts = host.starts
        host.send(.departed(departure(host)))
        host.run()
        host.send(.returned)
        host.run()
        #expect(host.starts == starts + 1 && host.domains[first]?.isRunning == true)
        #expect(host.reconciler.departureSight == nil)
        #expect(host.statuses[first]?.code != "host_left")
    }

    @Test("an agent that comes up on a host that was taken back starts nothing, and takes no guest for one that ended")
    func restart() {
        var host = Host()
        host.domains[first] = DomainObservation(
            epoch: Epoch(1), powerCycle: PowerCycle(1), state: .stopped(.guestShutdown))
        host.send(.departed(Departure(reason: "", since: host.now.timestamp, deadline: .seconds(60))))
        for event in [Event.assigned(.full([wanted()])), .hypervisorReady, .sessionStarted, .imageHeld(image)] {
            host.send(event)
            host.run()
        }
        #expect(host.starts == 0)
        host.send(.returned)
        host.run()
        #expect(host.starts == 1, "it was asked to shut down, and did not do so by itself")
    }

    @Test("what is to be deleted is, and a guest that is to be stopped keeps its own time where that is shorter")
    func others() {
        var host = ReconcilerTests.ready([wanted(), wanted(.running, second, stopTimeout: .seconds(5))])
        host.guestsObey = false
        host.send(
            .assigned(.delta(changed: [wanted(.stopped, second, generation: 2, stopTimeout: .seconds(5))], removed: []))
        )
        host.run()
        host.send(.departed(departure(host)))
        host.run()
        host.pass(.seconds(5))
        host.run()
        #expect(host.domains[second]?.isRunning != true && host.domains[first]?.isRunning == true)
        host.send(.assigned(.delta(changed: [wanted(.deleted, generation: 2)], removed: [])))
        host.run()
        #expect(host.statuses[first]?.state == .deleted && host.disks == [second])
    }

    @Test("a start that is under way is waited for, and its guest ended")
    func underWay() throws {
        var host = Host()
        for event in [Event.hypervisorReady, .imageHeld(image), .assigned(.full([wanted()]))] { host.send(event) }
        while !host.pending.isEmpty {
            if case .perform(_, .start)? = host.pending.first { break }
            host.carryOutFirst()
        }
        host.send(.departed(departure(host)))
        #expect(host.reconciler.departureSight?.remaining.map(\.phase) == [.unclear])
        host.run()
        #expect(host.starts == 1 && host.domains.isEmpty)
        #expect(host.reconciler.departureSight?.isEmpty == true)
    }

    @Test("forcing takes a quarter of a short deadline, and a clock that was set gives no guest longer")
    func deadline() {
        let since = Timestamp(milliseconds: 1_800_000_000_000)
        let departure = Departure(reason: "", since: since, deadline: .seconds(60))
        #expect(departure.asking(at: since) == .seconds(50))
        #expect(departure.asking(at: since + .seconds(20)) == .seconds(30))
        #expect(departure.asking(at: since - .seconds(3600)) == .seconds(50))
        #expect(departure.asking(at: since + .seconds(3600)) < .zero)
        #expect(Departure(reason: "", since: since, deadline: .seconds(4)).asking(at: since) == .seconds(3))
    }
}
