@testable import AgentReconcile
import ProtocolModel
import Testing

@Suite("Disks that somebody else reads")
struct DiskLoanTests {
    @Test(
        "the disk of a guest that runs is its own; that of one that is stopped is lent; where there is none, that is said"
    )
    func loans() {
        var running = ReconcilerTests.running()
        running.send(.diskWanted(first))
        running.run()
        #expect(running.loans == [.running])

        var stopped = ReconcilerTests.running()
        stopped.send(.assigned(.delta(changed: [wanted(.stopped, generation: 2)], removed: [])))
        stopped.run()
        stopped.send(.diskWanted(first))
        stopped.run()
        #expect(stopped.loans == [.stopped])

        stopped.send(.diskWanted(second))
        stopped.run()
        #expect(stopped.loans == [.stopped, .absent])
    }

    @Test("a guest whose disk is lent starts when it is returned, and says what it waits for")
    func start() {
        var host = Self.lent()
        let starts = host.starts
        host.send(.assigned(.delta(changed: [wanted(.running, generation: 3, cycle: 2)], removed: [])))
        host.run()
        #expect(host.starts == starts)
        #expect(host.statuses[first]?.state == .preparing)
        #expect(host.statuses[first]?.code == "disk_being_copied")
        host.pass(.seconds(600))
        host.run()
        #expect(host.starts == starts, "however long it takes")
        host.send(.diskReturned(first))
        host.run()
        #expect(host.starts == starts + 1)
        #expect(host.statuses[first]?.state == .starting)
    }

    @Test("a lent disk is not removed before it is returned")
    func removal() {
        var host = Self.lent()
        host.send(.assigned(.delta(changed: [wanted(.deleted, generation: 3)], removed: [])))
        host.run()
        #expect(host.disks == [first] && host.statuses[first]?.state == .stopping)
        host.send(.diskReturned(first))
        host.run()
        #expect(host.disks.isEmpty && host.statuses[first]?.state == .deleted)
    }

    @Test("an instance that leaves the set while its disk is lent is not taken up again before it is returned")
    func withdrawn() {
        var host = Self.lent()
        let starts = host.starts
        host.send(.assigned(.full([])))
        host.run()
        host.send(.assigned(.full([wanted(.running, generation: 3, cycle: 2)])))
        host.run()
        #expect(host.starts == starts)
        host.send(.diskReturned(first))
        host.run()
        #expect(host.starts == starts + 1)
    }

    @Test("what an instance does just now is waited for, before anything is said of its disk")
    func patience() {
        var host = Host()
        host.send(.diskWanted(first))
        host.run()
        #expect(host.loans.isEmpty, "nobody has looked at the host yet")
        host.send(.hypervisorReady)
        host.run()
        #expect(host.loans.isEmpty, "nobody has said what belongs to it")
        host.send(.imageHeld(image))
        host.send(.assigned(.full([wanted()])))
        #expect(host.loans.isEmpty, "its disk is being made")
        host.run()
        #expect(host.loans == [.running])
    }

    @Test("a wish that is taken back is not answered")
    func takenBack() {
        var host = Host()
        host.send(.diskWanted(first))
        host.send(.diskReturned(first))
        for event in [Event.hypervisorReady, .imageHeld(image), .assigned(.full([wanted()]))] { host.send(event) }
        host.run()
        #expect(host.loans.isEmpty)
    }

    private static func lent() -> Host {
        var host = ReconcilerTests.running()
        host.send(.assigned(.delta(changed: [wanted(.stopped, generation: 2)], removed: [])))
        host.run()
        host.send(.diskWanted(first))
        host.run()
        return host
    }
}
