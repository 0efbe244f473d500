import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerFleet

@Suite("When the queue is gone through")
struct QueueWorkTests {
    private let now = Moment(of: SystemTime())

    private func passes(_ effects: [FleetCore.Effect]) -> Int {
        effects.count { if case .work(.advanceQueue, _) = $0 { true } else { false } }
    }

    @Test("each second while anybody waits, one pass at a time, and again after one that failed")
    func passes() {
        var core = FleetCore(
            settings: .init(chunkAddress: ":7403", lifecycle: LifecycleSettings(), softwareVersion: "0"))
        func look(_ isAnyoneWaiting: Bool) -> Int {
            passes(
                core.handle(
                    .finished(.runningDrains, .success(.drains([], isAnyoneWaiting: isAnyoneWaiting))), at: now))
        }
        #expect(look(false) == 0)
        #expect(look(true) == 1)
        #expect(look(true) == 0, "one is under way")
        #expect(passes(core.handle(.finished(.advanceQueue, .success(.done)), at: now)) == 0)
        #expect(look(true) == 1)
        struct Problem: Error {}
        let effects = core.handle(.finished(.advanceQueue, .failure(Problem())), at: now)
        #expect(effects.contains { if case .notice(.queueNotAdvanced) = $0 { true } else { false } })
        #expect(look(true) == 1)
        #expect(FleetWork.advanceQueue.isWrite, "whoever led before cannot do it any more")
    }
}
