import ProtocolModel
import Testing

@testable import ManagerImages

@Suite("How long a copy of a disk is asked for")
struct CapturePatienceTests {
    private let start = Uptime(sinceStart: .seconds(1000))

    /// Seconds until it is given up, of pulls that break off as soon as they begin.
    private func seconds(_ moved: (Int) -> Bool) -> (seconds: Double, tries: Int) {
        var patience = CapturePatience()
        var (now, tries) = (start, 1)
        while !patience.brokeOff(moved: moved(tries), at: now) {
            guard let next = patience.retryAt, next > now, tries < 1000 else { return (.infinity, tries) }
            now = next
            tries += 1
        }
        return (Double((now - start).milliseconds) / 1000, tries)
    }

    @Test("a node that gives nothing is given up after two minutes, and asked ever less often meanwhile")
    func silent() {
        let (seconds, tries) = seconds { _ in false }
        #expect((120..<140).contains(seconds))
        #expect((8..<20).contains(tries))
    }

    @Test("one that gives some each time is asked more often and longer, but not for ever")
    func moving() {
        let (_, tries) = seconds { _ in true }
        #expect(tries == CapturePatience.tries)
        // A single good pull begins the two minutes anew.
        let (seconds, _) = seconds { $0 == 8 }
        #expect(seconds > 140 && seconds < 300)
    }
}
