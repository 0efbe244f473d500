import ManagerModel
import ProtocolModel
import Testing

@testable import ManagerLeadership

@Suite("Leadership")
struct LeadershipTests {
    private let now = SystemTime().timestamp

    private func at(_ seconds: Double) -> Uptime { Uptime(sinceStart: .milliseconds(Int64(seconds * 1000))) }

    private func leading(_ own: ManagerID) -> Leadership {
        var core = Leadership(own: own)
        _ = core.handle(.ticked, at: at(0))
        _ = core.handle(.read(nil), at: at(0))
        #expect(core.handle(.acquired(Term(1)), at: at(0)) == [.lead(Term(1))])
        return core
    }

    @Test("a lease that nobody has, or that was handed back, is taken at once")
    func free() {
        let (own, other) = (ManagerID.generate(at: now), ManagerID.generate(at: now))
        for lease in [nil, Lease(holder: nil, term: Term(4), renewals: 9)] {
            var core = Leadership(own: own)
            #expect(core.handle(.ticked, at: at(0)) == [.read])
            #expect(core.handle(.read(lease), at: at(0.01)) == [.acquire(over: lease)])
        }
        // Its own, of a life before this one: nobody else has its data folder.
        var core = Leadership(own: own)
        let mine = Lease(holder: own, term: Term(4), renewals: 9)
        _ = core.handle(.ticked, at: at(0))
        #expect(core.handle(.read(mine), at: at(0)) == [.acquire(over: mine)])
        var other2 = Leadership(own: other)
        _ = other2.handle(.ticked, at: at(0))
        #expect(other2.handle(.read(mine), at: at(0)) == [])
    }

    @Test("another's lease is taken only after it stood still for its whole length, by this clock")
    func patience() {
        var core = Leadership(own: ManagerID.generate(at: now))
        let other = ManagerID.generate(at: now)
        var renewals: Int64 = 0
        var moment = 0.0
        while moment < 20 {
            if core.handle(.ticked, at: at(moment)) == [.read] {
                if moment < 8 { renewals += 1 }
                let lease = Lease(holder: other, term: Term(1), renewals: renewals)
                let effects = core.handle(.read(lease), at: at(moment))
                if !effects.isEmpty {
                    #expect(effects == [.acquire(over: lease)])
                    break
                }
            }
            moment += 0.125
        }
        #expect((11.5...12.5).contains(moment), "\(moment)")
    }

    @Test("a leader that cannot renew stops before anybody may take over")
    func stops() {
        var core = leading(ManagerID.generate(at: now))
        #expect(core.handle(.ticked, at: at(1)) == [.renew(Term(1))])
        // The record hangs: the question is never answered.
        for tenth in 11..<30 { #expect(core.handle(.ticked, at: at(Double(tenth) / 10)) == []) }
        #expect(core.handle(.ticked, at: at(3)).first == .stop(Term(1)))
        #expect(core.term == nil)
        // The answer that comes after all changes nothing.
        #expect(core.handle(.renewed(Term(1), true, resign: false), at: at(3.1)) == [])
        #expect(core.term == nil)
    }

    @Test("a lease counts from the moment at which its renewal was asked for, not answered")
    func slowAnswers() {
        var core = leading(ManagerID.generate(at: now))
        #expect(core.handle(.ticked, at: at(1)) == [.renew(Term(1))])
        #expect(core.handle(.renewed(Term(1), true, resign: false), at: at(2.9)) == [])
        #expect(core.handle(.ticked, at: at(2.95)) == [.renew(Term(1))])
        #expect(core.handle(.ticked, at: at(4)).first == .stop(Term(1)), "three seconds after the first was begun")
        // An acquisition that took too long is handed back unused.
        var late = Leadership(own: ManagerID.generate(at: now))
        _ = late.handle(.ticked, at: at(0))
        _ = late.handle(.read(nil), at: at(0))
        #expect(late.handle(.acquired(Term(7)), at: at(3.5)) == [.release(Term(7))])
        #expect(late.term == nil)
    }

    @Test("what fails late answers no newer question")
    func lateFailure() {
        let own = ManagerID.generate(at: now)
        var core = leading(own)
        #expect(core.handle(.ticked, at: at(1)) == [.renew(Term(1))])
        _ = core.handle(.ticked, at: at(3))
        let mine = Lease(holder: own, term: Term(1), renewals: 1)
        #expect(core.handle(.read(mine), at: at(3)) == [.acquire(over: mine)])
        #expect(core.handle(.acquired(Term(2)), at: at(3)) == [.lead(Term(2))])
        #expect(core.handle(.ticked, at: at(4)) == [.renew(Term(2))])
        // Were it taken for the newer one's, that would be put again at 5, and its answer counted from there.
        #expect(core.handle(.failed(.renew(Term(1))), at: at(4.5)) == [])
        #expect(core.handle(.ticked, at: at(5)) == [])
        #expect(core.handle(.renewed(Term(2), true, resign: false), at: at(5.5)) == [])
        #expect(core.handle(.ticked, at: at(5.6)) == [.renew(Term(2))])
        #expect(core.handle(.ticked, at: at(7)) == [.stop(Term(2)), .read], "three seconds after 4")
    }

    @Test("a leader that was overtaken, or is asked to resign, stops at once and lets others come first")
    func overtaken() {
        let own = ManagerID.generate(at: now)
        var core = leading(own)
        _ = core.handle(.ticked, at: at(1))
        #expect(core.handle(.renewed(Term(1), false, resign: false), at: at(1)) == [.stop(Term(1))])

        core = leading(own)
        _ = core.handle(.ticked, at: at(1))
        #expect(core.handle(.renewed(Term(1), true, resign: true), at: at(1)) == [.stop(Term(1)), .release(Term(1))])
        let free = Lease(holder: nil, term: Term(1), renewals: 3)
        for second in 2..<11 {
            _ = core.handle(.ticked, at: at(Double(second)))
            #expect(core.handle(.read(free), at: at(Double(second))) == [], "\(second)")
        }
        _ = core.handle(.ticked, at: at(11.5))
        #expect(core.handle(.read(free), at: at(11.5)) == [.acquire(over: free)], "nobody else wants it")
    }

    @Test("one whose process ends hands the lease back, and takes none any more")
    func retires() {
        var core = leading(ManagerID.generate(at: now))
        #expect(core.handle(.retire, at: at(1)) == [.stop(Term(1)), .release(Term(1))])
        #expect(core.handle(.ticked, at: at(2)) == [])
        var waiting = Leadership(own: ManagerID.generate(at: now))
        _ = waiting.handle(.ticked, at: at(0))
        _ = waiting.handle(.read(nil), at: at(0))
        #expect(waiting.handle(.retire, at: at(0.1)) == [])
        #expect(waiting.handle(.acquired(Term(3)), at: at(0.2)) == [.release(Term(3))], "it was on its way")
    }

    @Test("who lives is told by counts that grow, not by clocks")
    func watch() {
        func record(_ id: ManagerID, _ renewals: Int64) -> ManagerRecord {
            ManagerRecord(
                id: id, name: "m", apiAddress: "", agentAddress: "", chunkAddress: "", version: "", startedAt: now,
                renewals: renewals)
        }
        let (one, two) = (ManagerID.generate(at: now), ManagerID.generate(at: now))
        var watch = ManagerWatch(patience: .seconds(6))
        for second in 0..<7 {
            watch.observe([record(one, Int64(second)), record(two, 5)], at: at(Double(second)))
            #expect(watch.liveness(of: two, at: at(Double(second))) == (second < 6 ? .unknown : .silent))
        }
        #expect(watch.liveness(of: one, at: at(6)) == .alive)
        #expect(watch.liveness(of: one, at: at(12)) == .silent)
        #expect(watch.liveness(of: ManagerID.generate(at: now), at: at(6)) == .unknown)
    }
}
