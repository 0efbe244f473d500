@testable import AgentReconcile
import ProtocolModel
import Testing

/// Random histories: whatever comes in whatever order, nothing traps, the promises hold at each step, and when the noise
/// ends the host becomes what was wanted.
@Suite("Random histories")
struct ReconcilerPropertyTests {
    @Test("the promises hold at each step and the host converges", arguments: UInt64(0)..<200)
    func history(seed: UInt64) {
        var history = History(seed: seed)
        for _ in 0..<300 { history.step() }
        history.calm()
        for (id, assignment) in history.wanted {
            let domain = history.host.domains[id]
            switch assignment.desired {
            case .running:
                let staysDown = history.host.statuses[id]?.code == "guest_shutdown"
                #expect(domain?.isRunning == true || staysDown, "seed \(seed): \(id) should run")
                if domain?.isRunning == true {
                    #expect(domain?.powerCycle == assignment.powerCycle, "seed \(seed)")
                    #expect(history.host.statuses[id]?.state == .running, "seed \(seed)")
                }
            case .stopped:
                #expect(domain == nil, "seed \(seed)")
                #expect(history.host.statuses[id]?.state == .stopped, "seed \(seed)")
            case .deleted:
                #expect(domain == nil && !history.host.disks.contains(id), "seed \(seed)")
                #expect(history.host.statuses[id]?.state == .deleted, "seed \(seed)")
            }
        }
        for id in history.host.domains.keys { #expect(history.wanted[id] != nil, "seed \(seed): a stray is left") }
        #expect(history.violations.isEmpty, "seed \(seed): \(history.violations)")
    }
}

private struct History {
    var host = Host()
    var random: SeededRandom
    var wanted: [InstanceID: Assignment] = [:]
    var violations: [String] = []
    let ids: [InstanceID]

    init(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        ids = (0..<5).map { _ in InstanceID.generate(at: Timestamp(milliseconds: 0), using: &random) }
        self.random = random
        host.send(.hypervisorReady)
        host.send(.imageHeld(image))
        host.send(.assigned(.full([])))
    }

    mutating func step() {
        let id = ids.randomElement(using: &random)!
        switch Int.random(in: 0..<20, using: &random) {
        case 0...2: change(id)
        case 3: withdraw(id)
        case 4: host.send(.assigned(.full(Array(wanted.values))))
        case 5: host.stop(id, StopCause.allCases.randomElement(using: &random)!)
        case 6: host.send(.domainStopped(id, .crashed))
        case 7: host.send(.domainStarted(id))
        case 8: host.answer(id)
        case 9: restart()
        case 10: host.send(Bool.random(using: &random) ? .sessionStarted : .sessionEnded)
        case 11: host.send(Bool.random(using: &random) ? .imageHeld(image) : .imageMissing(image, reason: "gone"))
        case 12: host.guestsObey.toggle()
        case 13: host.send(.finished(ActionID(number: 1 << 40), .succeeded))
        case 14: host.pass(.seconds(Int.random(in: 1...200, using: &random)))
        default: work()
        }
        check()
    }

    private mutating func change(_ id: InstanceID) {
        let before = wanted[id]
        if before?.desired == .deleted { return }
        let next = AgentReconcileTests.wanted(
            Assignment.Desired.allCases.randomElement(using: &random)!, id,
            epoch: (before?.epoch.value ?? 1) + (Int.random(in: 0..<10, using: &random) == 0 ? 1 : 0),
            generation: (before?.generation.value ?? 0) + 1,
            cycle: (before?.powerCycle.value ?? 1) + (Bool.random(using: &random) ? 1 : 0),
            force: Int.random(in: 0..<4, using: &random) == 0)
        wanted[id] = next
        host.send(.assigned(.delta(changed: [next], removed: [])))
        if Bool.random(using: &random) { host.send(.assigned(.delta(changed: [next], removed: []))) }
    }

    private mutating func withdraw(_ id: InstanceID) {
        guard wanted[id]?.desired == .deleted, host.domains[id] == nil, !host.disks.contains(id) else { return }
        wanted[id] = nil
        host.send(.assigned(.delta(changed: [], removed: [id])))
    }

    /// The agent dies with whatever it was doing; some of what it asked for still happens.
    private mutating func restart() {
        host.pending = []
        host.reconciler = Reconciler(seed: random.next())
        host.send(.hypervisorReady)
        host.send(.imageHeld(image))
        host.send(.assigned(.full(Array(wanted.values))))
        host.send(.sessionStarted)
    }

    /// Carries out one effect out of turn; sometimes it fails, sometimes it works and is said to have failed.
    private mutating func work() {
        guard !host.pending.isEmpty else { return }
        let index = Int.random(in: 0..<host.pending.count, using: &random)
        let effect = host.pending.remove(at: index)
        if case .perform(let id, let action) = effect, Int.random(in: 0..<5, using: &random) == 0 {
            let failure = ActionFailure(code: "lost", sentence: "no answer came")
            if Bool.random(using: &random) {
                host.pending.insert(effect, at: 0)
                host.carryOutFirst()
                _ = action
            } else {
                host.send(.finished(id, .failed(failure)))
            }
            return
        }
        host.pending.insert(effect, at: 0)
        host.carryOutFirst()
    }

    private mutating func check() {
        var inFlight: [InstanceID: Int] = [:]
        for effect in host.pending {
            guard case .perform(_, let action) = effect else { continue }
            inFlight[action.instance, default: 0] += 1
        }
        for (id, count) in inFlight where count > 1 { violations.append("\(count) actions at once for \(id)") }
        if host.reconciler.heavyActions > 4 { violations.append("too many starts at once") }
        for (id, record) in host.reconciler.records {
            guard case .start(let assignment)? = record.inFlight?.action else { continue }
            if record.touched == host.reconciler.sequence, assignment.desired != .running {
                violations.append("a start for \(assignment.desired) of \(id)")
            }
        }
    }

    mutating func calm() {
        host.guestsObey = true
        host.send(.imageHeld(image))
        host.send(.sessionStarted)
        host.send(.assigned(.full(Array(wanted.values))))
        host.run()
        for _ in 0..<60 {
            host.pass(.seconds(30))
            host.run()
            for id in host.probing.sorted() { host.answer(id) }
            host.run()
        }
        host.send(.sessionStarted)
        host.run()
    }
}
