import AgentDurability
import AgentReconcile
import Foundation
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import ProtocolWire
import SwiftProtobuf
import Testing
import TestsSupportAssignments
import TestsSupportFiles

@testable import AgentLink

@Suite("That a host was taken back, kept and told")
struct DepartureTests {
    private let now = Timestamp(milliseconds: 1_800_000_000_000)
    private var departure: Departure { Departure(reason: "lecture", since: now, deadline: .seconds(60)) }

    @Test("it is kept until the host is given back; a damaged file counts as taken back, at the next start, too")
    func file() throws {
        let folder = ScratchFolder()
        let file = DepartureFile(data: folder.path)
        #expect(try file.load(at: now) == nil)
        try file.save(departure)
        #expect(try DepartureFile(data: folder.path).load(at: now + .seconds(9)) == departure)
        try file.save(nil)
        try file.save(nil)
        #expect(try file.load(at: now) == nil)

        try file.save(departure)
        try Data("nonsense".utf8).write(to: URL(fileURLWithPath: folder.path + "/departure"))
        for _ in 0..<2 {
            let kept = try #require(try file.load(at: now))
            #expect(kept.reason.contains("damaged"))
        }
    }

    @Test("Hello says it, a session that began before is told at once and by itself, and a manager hears it first")
    func told() {
        var core = LinkCore(book: AssignmentBook(), managerHost: "manager", usageInterval: nil)
        #expect(core.introduceHostHold() == .init())
        _ = core.handle(.sessionStarted(.init()))
        #expect(reports(&core).isEmpty, "Hello has said it")
        _ = core.handle(
            .statuses(
                full: false,
                [Status(instance: firstInstance, epoch: Epoch(1), generation: Generation(1), state: .stopping, at: now)]
            ))
        let effects = core.handle(.departed(departure))
        #expect(effects.contains { if case .due(.statuses) = $0 { true } else { false } })
        let told = reports(&core)
        #expect(told.map(\.hasHostHold) == [true, false])
        #expect(told[0].instances.isEmpty && told[0].hostHold.left && told[0].hostHold.reason == "lecture")
        #expect(told[0].hostHold.sinceMs == now.milliseconds)

        _ = core.handle(.sessionEnded)
        #expect(core.introduceHostHold().left)
        _ = core.handle(.departed(nil))
        _ = core.handle(.sessionStarted(.init()))
        let next = reports(&core)
        #expect(next.first?.hasHostHold == true && next.first?.hostHold.left == false, "it changed after Hello")
    }

    @Test("an agent that comes up says it in its first Hello, and a host that was taken back fetches no image")
    func images() throws {
        var core = LinkCore(book: AssignmentBook(), departure: departure, managerHost: "manager", usageInterval: nil)
        #expect(core.introduceHostHold().left)
        _ = core.handle(.sessionStarted(.init()))
        _ = core.handle(.received(.assignmentSet(fullSet(3, []))))
        #expect(held(core.handle(.saved(true))) == [true])
        #expect(held(core.handle(.departed(nil))) == [false])
        #expect(held(core.handle(.departed(departure))) == [true])
    }

    /// All that there is to tell.
    private func reports(_ core: inout LinkCore) -> [Roost_V1_StatusReport] {
        var found: [Roost_V1_StatusReport] = []
        var isDue = true
        while isDue {
            isDue = false
            for effect in core.handle(.ready(.statuses)) {
                if case .send(.statusReport(let report), _) = effect { found.append(report) }
                if case .due(.statuses) = effect { isDue = true }
            }
        }
        return found
    }

    /// Whether the images that are wanted are paused.
    private func held(_ effects: [LinkCore.Effect]) -> [Bool] {
        effects.flatMap { effect -> [Bool] in
            if case .hold(let wanted) = effect { wanted.images.map(\.isPaused) } else { [] }
        }
    }
}
