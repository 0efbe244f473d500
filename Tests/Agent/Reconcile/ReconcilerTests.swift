@testable import AgentReconcile
import ProtocolModel
import Testing

@Suite("What the agent does to make guests what they should be")
struct ReconcilerTests {
    /// A host whose image is there, whose hypervisor answers and whose manager listens.
    static func ready(_ assignments: [Assignment], hostRebooted: Bool = false, parallelStarts: Int = 4) -> Host {
        var host = Host(hostRebooted: hostRebooted, parallelStarts: parallelStarts)
        host.send(.hypervisorReady)
        host.send(.sessionStarted)
        host.send(.imageHeld(image))
        host.send(.assigned(.full(assignments)))
        host.run()
        return host
    }

    static func running() -> Host {
        var host = ready([wanted()])
        host.answer(first)
        host.run()
        return host
    }

    @Test("a wanted guest gets disk, seed and address once each, starts, and is ready when it answers")
    func start() {
        var host = Self.ready([wanted()])
        let assignment = wanted()
        #expect(
            host.done == [
                .makeFiles(assignment), .start(assignment), .reserveAddress(assignment),
            ])
        #expect(host.statuses[first]?.state == .starting)
        #expect(host.probing == [first])
        host.answer(first)
        host.run()
        #expect(host.statuses[first]?.state == .running)
        #expect(host.statuses[first]?.powerCycle == PowerCycle(1))
        #expect(host.probing.isEmpty)
    }

    @Test(
        "a guest on an overlay waits for its image at every start, one whose disk is a copy only at the first",
        arguments: [
            false, true,
        ])
    func copies(isCopy: Bool) {
        var host = Host()
        host.makesCopies = isCopy
        for event in [Event.hypervisorReady, .sessionStarted, .assigned(.full([wanted()]))] { host.send(event) }
        host.run()
        #expect(host.starts == 0 && host.statuses[first]?.code == "waiting_for_image")
        host.send(.imageHeld(image))
        host.run()
        #expect(host.starts == 1)
        host.send(.imageMissing(image, reason: "a chunk has rotted"))
        host.stop(first, .crashed)
        host.run()
        host.pass(.seconds(600))
        host.run()
        #expect(host.starts == (isCopy ? 2 : 1))
        if !isCopy { #expect(host.statuses[first]?.reason == "a chunk has rotted") }
        // Another life of the agent knows it from the disks.
        var next = Host()
        (next.makesCopies, next.disks, next.domains) = (isCopy, host.disks, [:])
        for event in [Event.hypervisorReady, .sessionStarted, .assigned(.full([wanted()]))] { next.send(event) }
        next.run()
        #expect(next.starts == (isCopy ? 1 : 0))
    }

    @Test("a guest whose start is under way when it is to stop does not count as stopped yet (P6)")
    func stopDuringStart() {
        var host = Host()
        host.send(.hypervisorReady)
        host.send(.sessionStarted)
        host.send(.imageHeld(image))
        host.send(.assigned(.full([wanted()])))
        func isStart(_ effect: Effect) -> Bool {
            if case .perform(_, .start) = effect { true } else { false }
        }
        while let next = host.pending.first, !isStart(next) { host.carryOutFirst() }
        let start = host.pending.removeFirst()
        host.send(.assigned(.full([wanted(.stopped, generation: 2)])))
        host.run()
        #expect(host.statuses[first]?.state == .stopping)
        host.pending = [start]
        host.run()
        host.pass(.seconds(120))
        host.run()
        #expect(host.statuses[first]?.state == .stopped)
        #expect(host.domains.isEmpty)
    }

    @Test("nothing is made before the image is there, and the report says what is waited for")
    func waitsForImage() {
        var host = Host()
        host.send(.hypervisorReady)
        host.send(.sessionStarted)
        host.send(.assigned(.full([wanted()])))
        host.run()
        #expect(host.done.isEmpty)
        #expect(host.statuses[first]?.code == "waiting_for_image")
        host.send(.imageMissing(image, reason: "no source answers"))
        host.run()
        #expect(host.statuses[first]?.reason == "no source answers")
        host.send(.imageHeld(image))
        host.run()
        #expect(host.starts == 1)
    }

    @Test("without a survey nothing is done, and without assignments nothing is reported")
    func blind() {
        var host = Host()
        host.send(.imageHeld(image))
        host.send(.sessionStarted)
        host.send(.assigned(.full([wanted()])))
        host.run()
        #expect(host.done.isEmpty)
        #expect(host.fullReports == 0)
        host.send(.hypervisorReady)
        host.run()
        #expect(host.starts == 1)
        #expect(host.fullReports == 1)
    }

    @Test("stopping asks the guest, removes the domain and keeps the disk")
    func stop() {
        var host = Self.running()
        host.send(.assigned(.delta(changed: [wanted(.stopped, generation: 2)], removed: [])))
        host.run()
        #expect(host.domains[first] == nil)
        #expect(host.disks == [first])
        #expect(host.statuses[first]?.state == .stopped)
        #expect(host.statuses[first]?.generation == Generation(2))
        #expect(!host.done.contains(.powerOff(first)))
    }

    @Test("a guest that ignores the power button is asked again and forced off in the end")
    func forcedStop() {
        var host = Self.running()
        host.guestsObey = false
        host.send(.assigned(.delta(changed: [wanted(.stopped, generation: 2)], removed: [])))
        host.run()
        #expect(host.statuses[first]?.state == .stopping)
        for _ in 0..<8 {
            host.pass(.seconds(10))
            host.run()
        }
        #expect(host.count { $0 == .askToShutDown(first) } == 9)
        #expect(host.domains[first]?.isRunning == true)
        host.pass(.seconds(10))
        host.run()
        #expect(host.domains[first] == nil)
        #expect(host.statuses[first]?.state == .stopped)
        #expect(host.notices.contains(.forcedOff(first, after: .seconds(90))))
    }

    @Test("without a stop timeout a guest is never forced; with force it is at once")
    func patience() {
        var host = Self.running()
        host.guestsObey = false
        host.send(.assigned(.delta(changed: [wanted(.stopped, generation: 2, stopTimeout: nil)], removed: [])))
        host.run()
        for _ in 0..<200 {
            host.pass(.seconds(10))
            host.run()
        }
        #expect(host.domains[first]?.isRunning == true)
        host.send(.assigned(.delta(changed: [wanted(.stopped, generation: 3, force: true)], removed: [])))
        host.run()
        #expect(host.domains[first] == nil)
    }

    @Test("deleting leaves neither domain nor address nor disk, and says so only then")
    func delete() {
        var host = Self.running()
        host.send(.assigned(.delta(changed: [wanted(.deleted, generation: 2)], removed: [])))
        while !host.pending.isEmpty {
            if host.statuses[first]?.state == .deleted {
                #expect(host.domains.isEmpty && host.disks.isEmpty && host.reserved.isEmpty)
            }
            host.carryOutFirst()
        }
        #expect(host.statuses[first]?.state == .deleted)
        #expect(host.domains.isEmpty && host.disks.isEmpty && host.reserved.isEmpty)
        host.send(.assigned(.delta(changed: [], removed: [first])))
        host.run()
        #expect(host.reconciler.records.isEmpty)
    }

    @Test("an instance that was never here is deleted by looking, not by believing")
    func deleteUnknown() {
        let host = Self.ready([wanted(.deleted)])
        #expect(host.done == [.releaseAddress(first), .removeDisk(first)])
        #expect(host.statuses[first]?.state == .deleted)
    }

    @Test("a newer power cycle reboots the guest once", arguments: [true, false])
    func reboot(obeys: Bool) {
        var host = Self.running()
        host.guestsObey = obeys
        host.send(.assigned(.delta(changed: [wanted(generation: 2, cycle: 2)], removed: [])))
        host.run()
        if !obeys {
            #expect(host.statuses[first]?.code == "rebooting")
            for _ in 0..<10 {
                host.pass(.seconds(10))
                host.run()
            }
        }
        #expect(host.domains[first]?.powerCycle == PowerCycle(2))
        #expect(host.starts == 2)
        #expect(host.statuses[first]?.state == .starting)
        host.answer(first)
        host.run()
        #expect(host.statuses[first]?.powerCycle == PowerCycle(2))
        #expect(host.statuses[first]?.state == .running)
    }

    @Test("an answer of the guest before its reboot does not make the new one ready")
    func staleAnswer() {
        var host = Self.ready([wanted()])
        host.send(.assigned(.delta(changed: [wanted(generation: 2, cycle: 2)], removed: [])))
        host.run()
        host.send(.answered(first, PowerCycle(1)))
        host.run()
        #expect(host.statuses[first]?.state == .starting)
    }

    @Test("a boot that takes too long is reported, and taken back when the guest answers after all")
    func bootTimeout() {
        var host = Self.ready([wanted()])
        host.pass(.seconds(179))
        host.run()
        #expect(host.statuses[first]?.state == .starting)
        host.pass(.seconds(1))
        host.run()
        #expect(host.statuses[first]?.state == .failed)
        #expect(host.statuses[first]?.code == "boot_timeout")
        #expect(host.domains[first]?.isRunning == true)
        #expect(host.probing == [first])
        host.answer(first)
        host.run()
        #expect(host.statuses[first]?.state == .running)
    }

    @Test("a guest that shuts itself down stays down until something else is wanted")
    func guestShutdown() {
        var host = Self.running()
        host.stop(first, .guestShutdown)
        host.run()
        #expect(host.statuses[first]?.state == .stopped)
        #expect(host.statuses[first]?.code == "guest_shutdown")
        host.pass(.seconds(600))
        host.run()
        #expect(host.starts == 1)
        host.send(.assigned(.delta(changed: [wanted(.stopped, generation: 2)], removed: [])))
        host.run()
        #expect(host.domains[first] == nil)
        host.send(.assigned(.delta(changed: [wanted(.running, generation: 3, cycle: 2)], removed: [])))
        host.run()
        #expect(host.starts == 2)
    }

    @Test("a crashed guest is started again at growing intervals, and called a crash loop after five")
    func crashLoop() {
        var host = Self.running()
        for crash in 1...6 {
            host.stop(first, .crashed)
            host.run()
            #expect(host.domains[first]?.isRunning != true)
            #expect(host.statuses[first]?.code == (crash < 5 ? "crashed" : "crash_loop"))
            var waits = 0
            while host.domains[first]?.isRunning != true, waits < 600 {
                host.pass(.milliseconds(500))
                host.run()
                waits += 1
            }
            #expect(host.domains[first]?.isRunning == true)
        }
        #expect(host.statuses[first]?.state == .failed)
        host.pass(.seconds(100))
        host.answer(first)
        host.run()
        #expect(host.statuses[first]?.state == .running)
        host.pass(.seconds(300))
        host.stop(first, .crashed)
        host.run()
        #expect(host.statuses[first]?.code == "crashed")
    }

    @Test("what waiting does not help is told as a failure at once, and tried again all the same")
    func lastingFailure() throws {
        let refusal = ActionFailure(
            code: "device_refused", sentence: "device 0000:3b:00.0 belongs to another", isLasting: true)
        var host = Host()
        host.failing = { if case .start = $0 { refusal } else { nil } }
        host.send(.hypervisorReady)
        host.send(.sessionStarted)
        host.send(.imageHeld(image))
        host.send(.assigned(.full([wanted()])))
        host.run()
        let status = try #require(host.statuses[first])
        #expect(status.state == .failed && status.failureIsFinal)
        #expect(status.code == "device_refused" && status.reason == refusal.sentence)
        host.failing = { _ in nil }
        host.pass(.seconds(60))
        host.run()
        #expect(host.statuses[first]?.state == .starting)
        #expect(host.statuses[first]?.failureIsFinal == false)
    }

    @Test("the manager is told which devices a domain has, for as long as it has them")
    func devices() {
        var assignment = wanted()
        assignment.guest.devices = [AssignedDevice(address: "0000:3b:00.0", alias: "K2_Grid")]
        var host = Self.ready([assignment])
        #expect(host.statuses[first]?.devices == ["0000:3b:00.0"])
        // What a survey shows is what was known: nothing is looked at again because of it.
        let looks = host.count { if case .inspect = $0 { true } else { false } }
        host.pass(.seconds(61))
        host.run()
        #expect(host.count { if case .inspect = $0 { true } else { false } } == looks)
        host.stop(first, .guestShutdown)
        host.run()
        #expect(host.statuses[first]?.devices == [])
    }

    @Test("a failed start is tried again after a while, and reported as failed when it keeps failing")
    func failingStart() {
        var host = Host()
        host.failing = { action in
            if case .start = action { ActionFailure(code: "no_memory", sentence: "not enough memory") } else { nil }
        }
        host.send(.hypervisorReady)
        host.send(.sessionStarted)
        host.send(.imageHeld(image))
        host.send(.assigned(.full([wanted()])))
        host.run()
        #expect(host.statuses[first]?.state == .preparing)
        #expect(host.statuses[first]?.code == "no_memory")
        for _ in 0..<120 {
            host.pass(.seconds(1))
            host.run()
        }
        #expect(host.statuses[first]?.state == .failed)
        #expect(host.statuses[first]?.failureIsFinal == false)
        host.failing = { _ in nil }
        host.pass(.seconds(60))
        host.run()
        #expect(host.statuses[first]?.state == .starting)
    }

    @Test("a change of mind does not wait for a back-off")
    func changeOfMind() {
        var host = Host()
        host.failing = { if case .makeFiles = $0 { ActionFailure(code: "full", sentence: "full") } else { nil } }
        host.send(.hypervisorReady)
        host.send(.sessionStarted)
        host.send(.imageHeld(image))
        host.send(.assigned(.full([wanted()])))
        host.run()
        host.send(.assigned(.delta(changed: [wanted(.deleted, generation: 2)], removed: [])))
        host.run()
        #expect(host.statuses[first]?.state == .deleted)
    }
}

extension ReconcilerTests {
    @Test("a guest that stops while its address is being reserved is not taken to run")
    func stopDuringReservation() throws {
        var host = Host()
        host.send(.hypervisorReady)
        host.send(.sessionStarted)
        host.send(.imageHeld(image))
        host.send(.assigned(.full([wanted()])))
        func reserving(_ effect: Effect) -> Bool {
            if case .perform(_, .reserveAddress) = effect { true } else { false }
        }
        while !host.pending.contains(where: reserving) { host.carryOutFirst() }
        host.stop(first, .crashed)
        host.run()
        #expect(host.statuses[first]?.code == "crashed")
        host.pass(.seconds(2))
        host.run()
        #expect(host.starts == 2)
    }

    @Test("an address that cannot be reserved is tried again while the guest runs, and said")
    func failingReservation() {
        var host = Host()
        host.failing = { action in
            if case .reserveAddress = action { ActionFailure(code: "no_network", sentence: "no network") } else { nil }
        }
        host.send(.hypervisorReady)
        host.send(.sessionStarted)
        host.send(.imageHeld(image))
        host.send(.assigned(.full([wanted()])))
        host.run()
        #expect(host.statuses[first]?.state == .starting)
        #expect(host.statuses[first]?.code == "no_network")
        host.failing = { _ in nil }
        host.pass(.seconds(2))
        host.run()
        #expect(host.reserved == [first])
        #expect(host.statuses[first]?.code == "booting")
        #expect(host.starts == 1)
    }
}
