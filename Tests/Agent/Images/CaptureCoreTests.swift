import ProtocolModel
import ProtocolTransfer
import Testing

@testable import AgentImages

@Suite("Which disks are copied when")
struct CaptureCoreTests {
    private static let start = Timestamp(milliseconds: 1_800_000_000_000)
    private let images = (0..<3).map { _ in ImageID.generate(at: start) }.sorted()
    private let instances = (0..<3).map { _ in InstanceID.generate(at: start) }
    private var now = Uptime(sinceStart: .seconds(100))

    private func capture(_ number: Int) -> CaptureAssignmentValue {
        CaptureAssignmentValue(image: images[number], instance: instances[number])
    }

    private func sealed(_ number: Int) -> SealedCapture {
        SealedCapture(
            image: images[number], manifestDigest: ContentDigest(bytes: Array(repeating: 3, count: 32))!,
            sizeBytes: 4096)
    }

    private func copying(_ number: Int, _ percent: Int = 0) -> CaptureCore.Effect {
        .report(CaptureStatusValue(image: images[number], state: .copying(percent: percent)))
    }

    private func ready(_ number: Int) -> CaptureCore.Effect {
        .report(
            CaptureStatusValue(
                image: images[number], state: .ready(manifestDigest: sealed(number).manifestDigest, sizeBytes: 4096)))
    }

    @Test("a disk is borrowed, copied, given back as soon as it is read, and the copy told when it is whole")
    func stopped() {
        var core = CaptureCore()
        #expect(core.handle(.wanted([capture(0)]), at: now) == [copying(0), .borrow(instances[0])])
        #expect(core.handle(.lent(instances[0], running: false), at: now) == [.begin(capture(0), running: false)])
        #expect(core.handle(.progressed(images[0], percent: 30), at: now) == [copying(0, 30)])
        #expect(core.handle(.copied(images[0]), at: now) == [.giveBack(instances[0])])
        #expect(core.handle(.ended(images[0], .success(sealed(0))), at: now) == [ready(0)])
        #expect(core.handle(.wanted([capture(0)]), at: now) == [ready(0)], "a set that says it again is answered again")
        #expect(core.handle(.wanted([]), at: now) == [.remove(images[0])])
        #expect(core.nextWake == nil)
    }

    @Test("a guest that runs keeps its disk")
    func running() {
        var core = CaptureCore()
        _ = core.handle(.wanted([capture(0)]), at: now)
        #expect(core.handle(.lent(instances[0], running: true), at: now) == [.begin(capture(0), running: true)])
        #expect(core.handle(.copied(images[0]), at: now).isEmpty)
        #expect(core.handle(.ended(images[0], .success(sealed(0))), at: now) == [ready(0)])
    }

    @Test("one disk at a time, in the order in which they were asked for")
    func turns() {
        var core = CaptureCore()
        let effects = core.handle(.wanted([capture(2), capture(0), capture(1)]), at: now)
        #expect(effects.filter { if case .borrow = $0 { true } else { false } } == [.borrow(instances[0])])
        _ = core.handle(.lent(instances[0], running: true), at: now)
        #expect(core.handle(.ended(images[0], .success(sealed(0))), at: now) == [ready(0), .borrow(instances[1])])
    }

    @Test("what is not wanted any more is stopped, and what it had is given back and removed once nothing runs for it")
    func unwanted() {
        for (isLent, isCopied) in [(false, false), (true, false), (true, true)] {
            var core = CaptureCore()
            _ = core.handle(.wanted([capture(0)]), at: now)
            guard isLent else {
                #expect(core.handle(.wanted([]), at: now) == [.giveBack(instances[0]), .remove(images[0])])
                // The answer was on its way.
                #expect(core.handle(.lent(instances[0], running: false), at: now) == [.giveBack(instances[0])])
                continue
            }
            _ = core.handle(.lent(instances[0], running: false), at: now)
            if isCopied { _ = core.handle(.copied(images[0]), at: now) }
            #expect(core.handle(.wanted([]), at: now) == [.stop(images[0])])
            #expect(core.handle(.wanted([]), at: now).isEmpty, "it is stopped once")
            let end = core.handle(.ended(images[0], nil), at: now)
            #expect(end == (isCopied ? [] : [.giveBack(instances[0])]) + [.remove(images[0])])
        }
    }

    @Test("one that is wanted again while it is being stopped begins anew")
    func again() {
        var core = CaptureCore()
        _ = core.handle(.wanted([capture(0)]), at: now)
        _ = core.handle(.lent(instances[0], running: false), at: now)
        _ = core.handle(.wanted([]), at: now)
        #expect(core.handle(.wanted([capture(0)]), at: now).isEmpty)
        #expect(
            core.handle(.ended(images[0], nil), at: now) == [
                .giveBack(instances[0]), .remove(images[0]), .borrow(instances[0]),
            ])
    }

    @Test("a failure with hope is tried again, later and later, so many times; one without is told at once")
    func failures() {
        var core = CaptureCore()
        var now = now
        let hopeless = CaptureFailure(code: "disk_full", sentence: "full", hope: .none)
        _ = core.handle(.wanted([capture(0)]), at: now)
        _ = core.handle(.lent(instances[0], running: true), at: now)
        #expect(
            core.handle(.ended(images[0], .failure(hopeless)), at: now) == [
                .remove(images[0]),
                .report(CaptureStatusValue(image: images[0], state: .failed, code: "disk_full", reason: "full")),
            ])
        #expect(core.nextWake == nil)

        let ended = CaptureFailure(code: "domain_stopped", sentence: "it ended", hope: .afterAFewTries)
        _ = core.handle(.wanted([capture(1)]), at: now)
        var waits: [Duration] = []
        for number in 1...CaptureCore.tries {
            _ = core.handle(.lent(instances[1], running: true), at: now)
            let effects = core.handle(.ended(images[1], .failure(ended)), at: now)
            guard number < CaptureCore.tries else {
                #expect(
                    effects.last
                        == .report(
                            CaptureStatusValue(
                                image: images[1], state: .failed, code: "domain_stopped", reason: "it ended")))
                break
            }
            #expect(
                effects.last
                    == .report(
                        CaptureStatusValue(
                            image: images[1], state: .copying(percent: 0), code: "domain_stopped", reason: "it ended")))
            let wake = core.nextWake!
            waits.append(wake - now)
            #expect(core.handle(.tick, at: now).isEmpty, "not before its time")
            now = wake
            #expect(core.handle(.tick, at: now) == [.borrow(instances[1])])
        }
        #expect(waits == waits.sorted() && waits.first! < waits.last!)
    }

    @Test("what is in the way for reasons of its own is waited for without end")
    func patience() {
        var core = CaptureCore()
        var now = now
        let away = CaptureFailure(code: "hypervisor_unreachable", sentence: "away", hope: .always)
        _ = core.handle(.wanted([capture(0)]), at: now)
        for _ in 0..<(3 * CaptureCore.tries) {
            _ = core.handle(.lent(instances[0], running: true), at: now)
            _ = core.handle(.ended(images[0], .failure(away)), at: now)
            now = core.nextWake!
            #expect(core.handle(.tick, at: now) == [.borrow(instances[0])])
        }
    }

    @Test("after a restart a whole copy is told without reading the disk again, and one that nobody wants is removed")
    func found() {
        var core = CaptureCore(found: [sealed(0), sealed(1)])
        #expect(core.handle(.wanted([capture(0)]), at: now) == [ready(0), .remove(images[1])])
    }
}
