import ManagerLifecycle
import ManagerModel
import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerFleet

@Suite("When lost hosts are fenced")
struct FencingWatchTests {
    private let node = NodeID("01900000-0000-7000-8000-000000000001")!
    private let rules = FencingRules(command: "fence", after: .seconds(60), timeLimit: .seconds(30))
    private let wall = Timestamp(milliseconds: 1_800_000_000_000)

    private func at(_ seconds: Int) -> Uptime { Uptime(sinceStart: .seconds(seconds)) }

    @Test(
        "after the site's time, one at a time, again after longer and longer waits, and not where it is not wanted any more"
    )
    func course() {
        var watch = FencingWatch()
        let loss = HostLoss(since: wall)
        #expect(watch.see([node: loss], rules, at: at(0)) == [])
        #expect(watch.see([node: loss], rules, at: at(59)) == [])
        #expect(watch.see([node: loss], rules, at: at(60)) == [node])
        #expect(watch.see([node: loss], rules, at: at(500)) == [], "it runs")
        var now = 500
        for wait in [10, 20, 40, 80, 160, 320, 600, 600] {
            watch.ended(node, at: at(now))
            #expect(watch.see([node: loss], rules, at: at(now + wait - 1)) == [])
            #expect(watch.see([node: loss], rules, at: at(now + wait)) == [node], "\(wait)")
            now += wait
        }
        watch.ended(node, at: at(now))
        #expect(watch.see([:], rules, at: at(now + 10_000)) == [], "fenced, or heard again")
        // A later loss is another matter.
        #expect(watch.see([node: HostLoss(since: wall + .seconds(9))], rules, at: at(now + 10_001)) == [])
        #expect(watch.see([node: HostLoss(since: wall + .seconds(9))], rules, at: at(now + 10_061)) == [node])
    }

    @Test("a new leader waits for a run of another's that may be under way, and counts failures on")
    func takeOver() {
        var loss = HostLoss(since: wall)
        _ = loss.handle(.fencingBegan(term: 4), at: wall)
        var watch = FencingWatch()
        #expect(watch.see([node: loss], rules, at: at(0)) == [])
        #expect(watch.see([node: loss], rules, at: at(39)) == [], "its time limit and ten seconds")
        #expect(watch.see([node: loss], rules, at: at(40)) == [node])
        _ = loss.handle(.fencingEnded(attempt: 1, command: "fence", isFenced: false, outcome: "no route"), at: wall)
        var third = FencingWatch()
        #expect(third.see([node: loss], rules, at: at(9)) == [])
        #expect(third.see([node: loss], rules, at: at(19)) == [node])
    }

    @Test("few run at a time")
    func many() {
        let nodes = (0..<40).map { NodeID("01900000-0000-7000-8000-0000000000\($0 + 10)")! }
        let losses = Dictionary(uniqueKeysWithValues: nodes.map { ($0, HostLoss(since: wall)) })
        var watch = FencingWatch()
        _ = watch.see(losses, rules, at: at(0))
        #expect(watch.see(losses, rules, at: at(60)) == Array(nodes.prefix(16)))
        watch.ended(nodes[3], at: at(61))
        #expect(watch.see(losses, rules, at: at(61)) == [nodes[16]])
    }

    @Test("over leaders that crash and take over at any moment, no two runs for one host are under way at once")
    func property() {
        for seed in 0..<300 as Range<UInt64> {
            var random = SeededNumbers(state: seed)
            var loss = HostLoss(since: wall)
            var watch = FencingWatch()
            var term: Int64 = 1
            // Ends of runs; one whose leader is gone may go on until its time limit.
            var running: [(end: Int, attempt: Int, isOwn: Bool)] = []
            for second in 0..<3000 {
                for run in running where run.end <= second && run.isOwn {
                    let isFenced = Int.random(in: 0..<20, using: &random) == 0
                    _ = loss.handle(
                        .fencingEnded(attempt: run.attempt, command: "f", isFenced: isFenced, outcome: ""),
                        at: wall + .seconds(second))
                    watch.ended(node, at: at(second))
                }
                running.removeAll { $0.end <= second }
                if Int.random(in: 0..<60, using: &random) == 0 {
                    (watch, term) = (FencingWatch(), term + 1)
                    for index in running.indices { running[index].isOwn = false }
                }
                guard second % 3 == 0, loss.certainty == nil else { continue }
                for _ in watch.see([node: loss], rules, at: at(second)) {
                    guard
                        case .beginFencing(let attempt)? = loss.handle(
                            .fencingBegan(term: term), at: wall + .seconds(second)
                        ).first
                    else { continue }
                    running.append((second + Int.random(in: 1...30, using: &random), attempt, true))
                }
                #expect(running.count <= 1, "seed \(seed), second \(second)")
                if running.count > 1 { return }
            }
        }
    }
}
