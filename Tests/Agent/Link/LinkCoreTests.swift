import AgentReconcile
import AgentUsage
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import ProtocolWire
import SwiftProtobuf
import Testing
import TestsSupportAssignments

@testable import AgentLink

@Suite("The agent's side of a session")
struct LinkCoreTests {
    private func core() -> LinkCore { LinkCore(book: AssignmentBook(), managerHost: "manager", usageInterval: nil) }

    private func words(_ effects: [LinkCore.Effect]) -> [String] {
        effects.map { effect in
            switch effect {
            case .save: "save"
            case .send(.assignmentAcknowledgement, _): "acknowledge"
            case .send(.statusReport, _): "report"
            case .send: "send"
            case .due(let errand): "\(errand) due"
            case .resynchronise: "resynchronise"
            case .reconcile(.assigned): "assigned"
            case .reconcile(.managerHeard): "heard"
            case .reconcile: "reconcile"
            case .hold: "hold"
            case .removeImage: "remove image"
            case .limitTransfers: "limit"
            case .capture: "capture"
            case .setUsageInterval: "interval"
            case .collectInventory: "inventory"
            case .fetchUsage: "fetch"
            case .acknowledgeUsage: "usage acknowledged"
            case .notice(.imageInUse): "in use"
            case .notice: "notice"
            }
        }
    }

    @Test("a set is kept before it is followed and acknowledged (P1)")
    func keptFirst() {
        var core = core()
        _ = core.handle(.sessionStarted(.init()))
        let set = fullSet(3, [instanceMessage(firstInstance)])
        #expect(words(core.handle(.received(.assignmentSet(set)))) == ["save"])
        #expect(core.book.revision == 0)
        #expect(
            words(core.handle(.saved(true))) == [
                "notice", "acknowledge", "hold", "assigned", "heard", "capture", "statuses due",
            ])
        #expect(core.book.revision == 3)
    }

    @Test("limits of transfers are followed once they are kept, told once, and hold after a restart")
    func limits() {
        var core = core()
        _ = core.handle(.sessionStarted(.init()))
        var set = fullSet(3, [])
        set.transferLimits.sendBytesPerSecond = 5 << 20
        _ = core.handle(.received(.assignmentSet(set)))
        #expect(
            words(core.handle(.saved(true))) == [
                "notice", "acknowledge", "limit", "hold", "assigned", "heard", "capture", "statuses due",
            ])
        set.revision = 4
        _ = core.handle(.received(.assignmentSet(set)))
        #expect(
            words(core.handle(.saved(true))) == [
                "notice", "acknowledge", "hold", "assigned", "capture", "statuses due",
            ])
        // A manager that knows no limits changes none.
        set.clearTransferLimits()
        set.revision = 5
        _ = core.handle(.received(.assignmentSet(set)))
        _ = core.handle(.saved(true))
        #expect(core.book.transferLimits?.sendBytesPerSecond == 5 << 20)
        var book = AssignmentBook()
        _ = try? book.apply(core.book.message)
        var restarted = LinkCore(book: book, managerHost: "manager", usageInterval: nil)
        #expect(words(restarted.handle(.began(bookIsKnown: true))) == ["assigned", "limit", "hold", "capture"])
    }

    @Test(
        "images of disks are made as the last set that names any says, also after a restart, and told until they are not"
    )
    func captures() throws {
        var core = core()
        _ = core.handle(.sessionStarted(.init()))
        let capture = CaptureAssignmentValue(image: someImage, instance: firstInstance)
        func follow(_ set: Roost_V1_AssignmentSet) -> [[CaptureAssignmentValue]] {
            _ = core.handle(.received(.assignmentSet(set)))
            return core.handle(.saved(true)).compactMap { effect -> [CaptureAssignmentValue]? in
                if case .capture(let wanted) = effect { wanted } else { nil }
            }
        }
        var set = fullSet(3, [instanceMessage(firstInstance)])
        set.captures.captures = [capture.message]
        #expect(follow(set) == [[capture]])
        let other = Roost_V1_AssignmentSet.with {
            $0.revision = 4; $0.baseRevision = 3
        }
        #expect(follow(other).isEmpty, "a change that does not speak of them changes none")

        var book = AssignmentBook()
        _ = try book.apply(core.book.message)
        var restarted = LinkCore(book: book, managerHost: "manager", usageInterval: nil)
        let resumed = restarted.handle(.began(bookIsKnown: true)).compactMap { effect -> [CaptureAssignmentValue]? in
            if case .capture(let wanted) = effect { wanted } else { nil }
        }
        #expect(resumed == [[capture]])

        let status = CaptureStatusValue(image: someImage, state: .copying(percent: 7))
        func told() -> [Roost_V1_CaptureStatus] {
            core.handle(.ready(.statuses)).flatMap { effect -> [Roost_V1_CaptureStatus] in
                if case .send(.statusReport(let report), _) = effect { report.captures } else { [] }
            }
        }
        #expect(words(core.handle(.capture(status))) == ["statuses due"])
        #expect(told().map(\.percent) == [7])
        #expect(told().isEmpty)
        _ = core.handle(.sessionEnded)
        _ = core.handle(.sessionStarted(.init()))
        #expect(told().map(\.percent) == [7], "each session is told anew")

        var last = other
        (last.revision, last.baseRevision) = (5, 4)
        last.captures = .init()
        #expect(follow(last) == [[]])
        #expect(core.handle(.capture(status)).isEmpty, "nobody wants to know any more")
        _ = core.handle(.sessionEnded)
        _ = core.handle(.sessionStarted(.init()))
        #expect(told().isEmpty)
        #expect(core.book.captures.isEmpty)
    }

    @Test("a set that cannot be kept is not followed, and the session begins anew")
    func notKept() {
        var core = core()
        _ = core.handle(.sessionStarted(.init()))
        _ = core.handle(.received(.assignmentSet(fullSet(3, []))))
        #expect(words(core.handle(.saved(false))) == ["notice", "resynchronise"])
        #expect(core.book == AssignmentBook())
    }

    @Test("a delta on another set than ours begins the session anew, later and later until one can be followed")
    func otherBase() {
        var core = core()
        _ = core.handle(.sessionStarted(.init()))
        let delta = Roost_V1_AssignmentSet.with {
            $0.revision = 9; $0.baseRevision = 8
        }
        #expect(words(core.handle(.received(.assignmentSet(delta)))) == ["notice", "resynchronise"])
        var random = SystemRandomNumberGenerator()
        let first = core.nextResynchronisation(using: &random)
        #expect(core.nextResynchronisation(using: &random) > first)
        _ = core.handle(.received(.assignmentSet(fullSet(3, []))))
        _ = core.handle(.saved(true))
        #expect(core.nextResynchronisation(using: &random) <= .seconds(1))
    }

    @Test("an image that guests of the set are made from stays; one of a deleted guest goes")
    func images() {
        for (desired, last) in [(Roost_V1_DesiredState.stopped, "in use"), (.deleted, "remove image")] {
            var core = core()
            _ = core.handle(.received(.assignmentSet(fullSet(3, [instanceMessage(firstInstance)]))))
            _ = core.handle(.saved(true))
            let delta = Roost_V1_AssignmentSet.with {
                $0.revision = 4
                $0.baseRevision = 3
                $0.instances = [instanceMessage(firstInstance, desired, generation: 2)]
                $0.removedImages = [someImage.bytes]
            }
            _ = core.handle(.received(.assignmentSet(delta)))
            #expect(words(core.handle(.saved(true))).contains(last))
        }
    }

    @Test(
        "usage goes out as far as the window has room, and what belongs to an earlier session is not sent in this one")
    func usage() {
        var core = core()
        #expect(core.handle(.ready(.usage)).isEmpty, "there is no session")
        _ = core.handle(.sessionStarted(.init()))
        guard case .fetchUsage(nil, let limit, let session)? = core.handle(.ready(.usage)).first else {
            Issue.record("nothing is fetched")
            return
        }
        #expect(limit == 8)
        _ = core.handle(.sessionEnded)
        _ = core.handle(.sessionStarted(.init()))
        #expect(core.session == session + 1)
        #expect(core.handle(.usage([], session: session)).isEmpty)
    }

    @Test("news of an image goes to the guests at once, and to the manager when it reads")
    func news() {
        var core = core()
        _ = core.handle(.sessionStarted(.init()))
        let held = ImageStatusValue(image: someImage, state: .held, chunksHeld: 1, chunksTotal: 1)
        #expect(words(core.handle(.image(held))) == ["reconcile", "statuses due"])
        #expect(words(core.handle(.ready(.statuses))) == ["report"])
        #expect(core.handle(.ready(.statuses)).isEmpty)
    }

    @Test("an image that is wanted anew and held already is told again")
    func heldBefore() {
        var core = core()
        _ = core.handle(.image(ImageStatusValue(image: someImage, state: .held, chunksHeld: 1, chunksTotal: 1)))
        _ = core.handle(.sessionStarted(.init()))
        _ = core.handle(.ready(.statuses))
        _ = core.handle(.received(.assignmentSet(fullSet(3, []))))
        _ = core.handle(.saved(true))
        guard case .send(.statusReport(let report), _)? = core.handle(.ready(.statuses)).first else {
            Issue.record("nothing is told")
            return
        }
        #expect(report.images.map(\.state) == [.held])
    }
}
