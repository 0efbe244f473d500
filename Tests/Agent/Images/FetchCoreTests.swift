import ProtocolModel
import ProtocolTransfer
import Testing
import TestsSupportRandomness

@testable import AgentImages

@Suite struct FetchCoreTests {
    let first = ChunkSource(node: NodeID.generate(at: Timestamp(milliseconds: 1)), address: "a:1")
    let second = ChunkSource(node: NodeID.generate(at: Timestamp(milliseconds: 2)), address: "b:1")
    let manager = ChunkSource(node: nil, address: "m:1")

    private func at(_ milliseconds: Int64) -> Uptime { Uptime(sinceStart: .milliseconds(milliseconds)) }
    private func lane(_ number: Int) -> LaneID { LaneID(number: number) }

    private func core(chunks: Int = 20) -> FetchCore {
        FetchCore(sources: [first, second, manager], held: ChunkBitmap(count: chunks), at: at(0))
    }

    private func asks(_ lane: LaneID, _ indexes: some Sequence<Int>) -> [FetchCore.Effect] {
        indexes.map { .ask(lane, $0) }
    }

    /// A core that receives from its first source.
    private func running(chunks: Int = 20) -> FetchCore {
        var core = core(chunks: chunks)
        _ = core.handle(.ticked, at: at(0))
        _ = core.handle(.connected(lane(1)), at: at(1))
        return core
    }

    @Test func asksTheFirstSourceInOrderAndManyAtATime() {
        var core = core()
        #expect(core.handle(.ticked, at: at(0)) == [.connect(lane(1), first)])
        #expect(core.handle(.connected(lane(1)), at: at(1)) == asks(lane(1), 0..<8))
        #expect(core.handle(.received(lane(1), 0), at: at(2)) == asks(lane(1), [8]))
        #expect(core.source == first)
    }

    @Test func fetchesTheManifestFirst() {
        var core = FetchCore(sources: [first], held: nil, at: at(0))
        _ = core.handle(.ticked, at: at(0))
        #expect(core.handle(.connected(lane(1)), at: at(1)) == [.askManifest(lane(1))])
        #expect(core.handle(.refused(lane(1), nil, .notYet), at: at(2)).isEmpty)
        #expect(core.handle(.ticked, at: at(102)) == [.askManifest(lane(1))])
        var held = ChunkBitmap(count: 3)
        held.insert(1)
        #expect(core.handle(.manifest(held: held), at: at(103)) == asks(lane(1), [0, 2]))
    }

    @Test func finishes() {
        var core = running(chunks: 1)
        #expect(core.handle(.received(lane(1), 0), at: at(5)) == [.close(lane(1)), .finished])
        #expect(core.handle(.ticked, at: at(6)).isEmpty)
    }

    /// A silent source is not waited for, and what it was asked for is asked of the next one.
    @Test func silentSource() {
        var core = running()
        #expect(core.handle(.ticked, at: at(900)).isEmpty)
        #expect(core.handle(.ticked, at: at(1001)) == [.complain, .connect(lane(2), second)])
        #expect(core.complaint(at: at(1002)) == SourceComplaint(source: first.node, failure: .silent))
        #expect(core.handle(.connected(lane(2)), at: at(1003)) == asks(lane(2), 0..<8))
        #expect(core.handle(.received(lane(2), 0), at: at(1100)) == [.close(lane(1)), .ask(lane(2), 8)])
        #expect(core.source == second)
        #expect(core.complaint(at: at(5000)) == nil)
    }

    /// What was asked of the stand-in meanwhile is not asked again where the source comes back.
    @Test func silentSourceThatComesBack() {
        var core = running()
        _ = core.handle(.ticked, at: at(1001))
        _ = core.handle(.connected(lane(2)), at: at(1003))
        #expect(core.handle(.took(lane(1), bytes: 10), at: at(1010)) == [.close(lane(2))])
        #expect(core.handle(.received(lane(1), 0), at: at(1020)) == [.ask(lane(1), 8)])
        #expect(core.source == first)
    }

    /// A source that waits itself is alive: its own source is its own matter.
    @Test func waitingSourceIsWaitedFor() {
        var core = running()
        for time in stride(from: Int64(250), through: 20_000, by: 250) {
            #expect(core.handle(.waiting(lane(1), .milliseconds(time)), at: at(time)).isEmpty)
        }
        #expect(core.complaint(at: at(20_000)) == nil)
    }

    @Test func brokenSourceIsLeftAtOnce() {
        var core = running()
        #expect(core.handle(.ended(lane(1), .broken), at: at(10)) == [.complain, .connect(lane(2), second)])
        #expect(core.handle(.ended(lane(2), .broken), at: at(11)) == [.complain, .connect(lane(3), manager)])
        #expect(core.handle(.ended(lane(3), .broken), at: at(12)) == [.complain])
        // None is left: the one whose turn comes first.
        #expect(core.handle(.ticked, at: at(270)) == [.connect(lane(4), first)])
    }

    @Test("P7 a source that lied is not asked again") func liar() {
        var core = FetchCore(sources: [first], held: ChunkBitmap(count: 3), at: at(0))
        _ = core.handle(.ticked, at: at(0))
        #expect(core.handle(.ended(lane(1), .lied), at: at(10)) == [.complain])
        #expect(core.handle(.ticked, at: at(500_000)).isEmpty)
        #expect(core.handle(.ticked, at: at(600_011)) == [.connect(lane(2), first)])
    }

    @Test("a manager whose copy was damaged is asked again soon") func lyingManager() {
        var core = FetchCore(sources: [manager], held: ChunkBitmap(count: 3), at: at(0))
        _ = core.handle(.ticked, at: at(0))
        #expect(core.handle(.ended(lane(1), .lied), at: at(10)) == [.complain])
        #expect(core.handle(.ticked, at: at(29_000)).isEmpty)
        #expect(core.handle(.ticked, at: at(30_011)) == [.connect(lane(2), manager)])
    }

    @Test func unwillingSourceIsWaitedForAMoment() {
        var core = running()
        #expect(core.handle(.refused(lane(1), 0, .unwilling), at: at(10)).isEmpty)
        #expect(core.handle(.ticked, at: at(111)) == asks(lane(1), [0]))
        for time in stride(from: Int64(120), through: 1400, by: 110) {
            _ = core.handle(.refused(lane(1), 0, .unwilling), at: at(time))
            _ = core.handle(.ticked, at: at(time + 105))
        }
        #expect(core.handle(.ticked, at: at(1511)).contains(.connect(lane(2), second)))
    }

    /// All have failed before, and the one that answers again does not give: the others are tried all the same.
    @Test func unwillingSourceWhereTheOthersHaveFailed() {
        var core = running()
        for (number, time) in [(1, 10), (2, 11), (3, 12)] {
            _ = core.handle(.ended(lane(number), .broken), at: at(Int64(time)))
        }
        #expect(core.handle(.ticked, at: at(300)) == [.connect(lane(4), first)])
        _ = core.handle(.connected(lane(4)), at: at(301))
        var effects: [FetchCore.Effect] = []
        for time in stride(from: Int64(310), through: 2000, by: 110) {
            effects += core.handle(.refused(lane(4), 0, .unwilling), at: at(time))
            effects += core.handle(.ticked, at: at(time + 105))
        }
        #expect(effects.contains(.connect(lane(5), second)))
    }

    /// The plan's new source takes over at once, and the old one is not closed before.
    @Test func newSourcesOfThePlan() {
        var core = running()
        let third = ChunkSource(node: NodeID.generate(at: Timestamp(milliseconds: 3)), address: "c:1")
        #expect(core.handle(.assigned([third, manager]), at: at(100)) == [.connect(lane(2), third)])
        #expect(core.handle(.received(lane(1), 0), at: at(110)).isEmpty)
        #expect(
            core.handle(.connected(lane(2)), at: at(120)) == [.close(lane(1))] + asks(lane(2), 1..<9))
        #expect(core.source == third)
    }

    /// Most of a chunk is here: it is not thrown away for a moment's sake.
    @Test func chunkUnderWayMayEnd() {
        var core = running()
        _ = core.handle(.took(lane(1), bytes: 100), at: at(50))
        _ = core.handle(.received(lane(1), 0), at: at(51))
        _ = core.handle(.took(lane(1), bytes: 80), at: at(90))
        _ = core.handle(.assigned([second, manager]), at: at(100))
        #expect(core.handle(.connected(lane(2)), at: at(110)) == asks(lane(2), 2..<10))
        _ = core.handle(.took(lane(1), bytes: 20), at: at(115))
        #expect(core.handle(.received(lane(1), 1), at: at(116)) == [.close(lane(1))])
    }

    @Test func silentOnlySourceIsConnectedAnew() {
        var core = FetchCore(sources: [manager], held: ChunkBitmap(count: 3), at: at(0))
        _ = core.handle(.ticked, at: at(0))
        _ = core.handle(.connected(lane(1)), at: at(1))
        #expect(core.handle(.ticked, at: at(1100)) == [.complain, .close(lane(1))])
        #expect(core.handle(.ticked, at: at(1400)) == [.connect(lane(2), manager)])
    }

    /// Any events in any order: a chunk that is held is asked for no more, each lane is closed once, all is finished once.
    @Test(arguments: 0..<200) func anyCourseOfEvents(seed: UInt64) {
        var random = SeededNumbers(state: seed &* 0x9E37_79B9_7F4A_7C15)
        var core = core(chunks: 30)
        var open: Set<LaneID> = []
        var asked: [(LaneID, Int)] = []
        var now: Int64 = 0
        var isFinished = false
        for _ in 0..<3000 where !isFinished {
            now += Int64.random(in: 0...300, using: &random)
            let lane = open.sorted().randomElement(using: &random) ?? LaneID(number: 0)
            let mine = asked.filter { $0.0 == lane }
            let event: FetchCore.Event
            switch Int.random(in: 0..<12, using: &random) {
            case 0: event = .connected(lane)
            case 1: event = .took(lane, bytes: 1000)
            case 2: event = .waiting(lane, .milliseconds(250))
            case 3, 4, 5, 6:
                guard let next = mine.first else { continue }
                asked.removeAll { $0 == next }
                event = .received(lane, next.1)
            case 7:
                guard let next = mine.first else { continue }
                asked.removeAll { $0 == next }
                event = .refused(lane, next.1, Bool.random(using: &random) ? .notYet : .unwilling)
            case 8 where Int.random(in: 0..<5, using: &random) == 0:
                open.remove(lane)
                asked.removeAll { $0.0 == lane }
                event = .ended(lane, .broken)
            case 9: event = .assigned([first, second, manager].shuffled(using: &random))
            default: event = .ticked
            }
            for effect in core.handle(event, at: at(now)) {
                switch effect {
                case .connect(let lane, _): #expect(open.insert(lane).inserted)
                case .ask(let lane, let index):
                    #expect(open.contains(lane))
                    #expect(core.held?.contains(index) == false)
                    #expect(!asked.contains { $0 == (lane, index) })
                    asked.append((lane, index))
                case .close(let lane):
                    #expect(open.remove(lane) != nil)
                    asked.removeAll { $0.0 == lane }
                case .finished:
                    isFinished = true
                    #expect(open.isEmpty)
                case .askManifest, .complain: break
                }
            }
            #expect(open.count <= 2)
        }
    }
}
