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

    private func sight(_ losses: [NodeID: HostLoss]) -> FencingSight {
        FencingSight(candidates: losses, lost: losses.count, inService: 100, heard: 90)
    }

    private func at(_ seconds: Int) -> Uptime { Uptime(sinceStart: .seconds(seconds)) }

    @Test(
        "after the site's time, one at a time, again after longer and longer waits, and not where it is not wanted any more"
    )
    func course() {
        var watch = FencingWatch()
        let loss = HostLoss(since: wall)
        #expect(watch.see(sight([node: loss]), rules, at: at(0)).begun == [])
        #expect(watch.see(sight([node: loss]), rules, at: at(59)).begun == [])
        #expect(watch.see(sight([node: loss]), rules, at: at(60)).begun == [node])
        #expect(watch.see(sight([node: loss]), rules, at: at(500)).begun == [], "it runs")
        var now = 500
        for wait in [10, 20, 40, 80, 160, 320, 600, 600] {
            watch.ended(node, at: at(now))
            #expect(watch.see(sight([node: loss]), rules, at: at(now + wait - 1)).begun == [])
            #expect(watch.see(sight([node: loss]), rules, at: at(now + wait)).begun == [node], "\(wait)")
            now += wait
        }
        watch.ended(node, at: at(now))
        #expect(watch.see(sight([:]), rules, at: at(now + 10_000)).begun == [], "fenced, or heard again")
        // A later loss is another matter.
        #expect(watch.see(sight([node: HostLoss(since: wall + .seconds(9))]), rules, at: at(now + 10_001)).begun == [])
        #expect(
            watch.see(sight([node: HostLoss(since: wall + .seconds(9))]), rules, at: at(now + 10_061)).begun == [node])
    }

    @Test("a new leader waits for a run of another's that may be under way, and counts failures on")
    func takeOver() {
        var loss = HostLoss(since: wall)
        _ = loss.handle(.fencingBegan(term: 4), at: wall)
        var watch = FencingWatch()
        #expect(watch.see(sight([node: loss]), rules, at: at(0)).begun == [])
        #expect(watch.see(sight([node: loss]), rules, at: at(39)).begun == [], "its time limit and ten seconds")
        #expect(watch.see(sight([node: loss]), rules, at: at(40)).begun == [node])
        _ = loss.handle(.fencingEnded(attempt: 1, command: "fence", isFenced: false, outcome: "no route"), at: wall)
        var third = FencingWatch()
        #expect(third.see(sight([node: loss]), rules, at: at(9)).begun == [])
        #expect(third.see(sight([node: loss]), rules, at: at(19)).begun == [node])
    }

    @Test("few run at a time")
    func many() {
        let nodes = (0..<40).map { NodeID("01900000-0000-7000-8000-0000000000\($0 + 10)")! }
        let losses = Dictionary(uniqueKeysWithValues: nodes.map { ($0, HostLoss(since: wall)) })
        var rules = rules
        rules.mostAtOnce = 100
        var watch = FencingWatch()
        _ = watch.see(sight(losses), rules, at: at(0)).begun
        #expect(watch.see(sight(losses), rules, at: at(60)).begun == Array(nodes.prefix(16)))
        watch.ended(nodes[3], at: at(61))
        #expect(watch.see(sight(losses), rules, at: at(61)).begun == [nodes[16]])
    }

    @Test(
        "nothing is fenced where many are lost at once or few are heard; that is said once, and the wait begins anew behind it"
    )
    func withheld() {
        let losses = [node: HostLoss(since: wall)]
        let many = FencingSight(candidates: losses, lost: 4, inService: 100, heard: 96)
        let deaf = FencingSight(candidates: losses, lost: 1, inService: 3, heard: 1)
        for bad in [many, deaf] {
            var watch = FencingWatch()
            _ = watch.see(sight(losses), rules, at: at(0))
            let first = watch.see(bad, rules, at: at(60))
            #expect(first.begun.isEmpty && first.objection != nil)
            #expect(watch.see(bad, rules, at: at(6000)).objection == nil)
            #expect(watch.see(sight(losses), rules, at: at(6001)).begun.isEmpty)
            #expect(watch.see(sight(losses), rules, at: at(6060)).begun.isEmpty)
            #expect(watch.see(sight(losses), rules, at: at(6061)).begun == [node])
            #expect(watch.see(bad, rules, at: at(6062)).objection != nil, "another time")
        }
        #expect(FencingSight(candidates: [:], lost: 9, inService: 9, heard: 0).objection(rules) == nil)
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
                for _ in watch.see(sight([node: loss]), rules, at: at(second)).begun {
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
