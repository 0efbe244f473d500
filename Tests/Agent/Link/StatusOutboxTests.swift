import AgentReconcile
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import Testing
import TestsSupportAssignments

@testable import AgentLink

@Suite("Reports that wait")
struct StatusOutboxTests {
    func status(_ id: InstanceID, _ state: Status.State) -> Status {
        Status(
            instance: id, epoch: Epoch(1), generation: Generation(1), state: state, at: Timestamp(milliseconds: 1))
    }

    @Test("of each instance only the newest is told, and a full report stays full")
    func coalesced() {
        var outbox = StatusOutbox()
        outbox.begin()
        outbox.add(full: true, [status(firstInstance, .preparing), status(secondInstance, .stopped)])
        outbox.add(full: false, [status(firstInstance, .starting)])
        outbox.add(full: false, [status(firstInstance, .running)])
        let report = outbox.take()
        #expect(report?.full == true)
        #expect(report?.instances.map(\.state) == [.running, .stopped])
        #expect(outbox.take() == nil)
        outbox.add(full: false, [status(firstInstance, .failed)])
        #expect(outbox.take()?.full == false)
    }

    @Test("a full report of the instances does not swallow that an image is gone")
    func removedImage() {
        var outbox = StatusOutbox()
        outbox.begin()
        outbox.add(ImageStatusValue(image: someImage, state: .held), isWanted: true)
        outbox.add(ImageStatusValue(image: someImage, state: .removed), isWanted: false)
        outbox.add(full: true, [])
        #expect(outbox.take()?.images.map(\.state) == [.removed])
        outbox.add(full: true, [])
        #expect(outbox.take()?.images.isEmpty == true)
    }

    @Test("without a session nothing piles up, and a new one begins with every image")
    func sessions() {
        var outbox = StatusOutbox()
        outbox.add(ImageStatusValue(image: someImage, state: .held), isWanted: true)
        outbox.add(full: false, [status(firstInstance, .running)])
        #expect(outbox.take() == nil)
        outbox.begin()
        let report = outbox.take()
        #expect(report?.instances.isEmpty == true)
        #expect(report?.images.map(\.state) == [.held])
        outbox.end()
        outbox.add(ImageStatusValue(image: someImage, state: .removed), isWanted: false)
        outbox.begin()
        #expect(outbox.take() == nil)
    }

    @Test("that a wanted image was evicted is told in every session, until the manager asks for it or lets it go")
    func evicted() {
        var outbox = StatusOutbox()
        outbox.add(ImageStatusValue(image: someImage, state: .removed, reason: "evicted"), isWanted: true)
        for _ in 1...2 {
            outbox.begin()
            #expect(outbox.take()?.images.map(\.reason) == ["evicted"])
        }
        // A whole set that names it says nothing new.
        outbox.repeatStatus(of: someImage, isRenewed: false)
        #expect(outbox.take()?.images.map(\.state) == [.removed])
        outbox.repeatStatus(of: someImage, isRenewed: true)
        #expect(outbox.take() == nil)
        outbox.begin()
        #expect(outbox.take() == nil)
    }
}
