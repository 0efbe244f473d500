import Foundation
import NIOCore
import ProtocolModel
import Synchronization

/// The agents of one thread: one timer goes round them all.
final class FleetLoop: Sendable {
    struct Counts {
        var open = 0
        /// Sessions that ended.
        var lost = 0
        /// Attempts that came to no session.
        var failed = 0
        var heartbeats = 0
        var samples = 0

        static func += (left: inout Self, right: Self) {
            left.open += right.open
            left.lost += right.lost
            left.failed += right.failed
            left.heartbeats += right.heartbeats
            left.samples += right.samples
        }

        /// As the benchmark reads it.
        var line: String { "open \(open) lost \(lost) heartbeats \(heartbeats) failed \(failed) samples \(samples)" }
    }

    let loop: any EventLoop
    let manager: SocketAddress
    let site: SiteID
    private let tally = Mutex(Counts())
    private let agents: NIOLoopBoundBox<[HeldAgent]>

    init(loop: any EventLoop, manager: SocketAddress, site: SiteID) {
        self.loop = loop
        self.manager = manager
        self.site = site
        agents = .makeBoxSendingValue([], eventLoop: loop)
    }

    var counts: Counts { tally.withLock { $0 } }

    func count(_ change: (inout Counts) -> Void) { tally.withLock { change(&$0) } }

    func add(_ identity: HeldAgent.Identity) {
        loop.execute { self.agents.value.append(HeldAgent(identity, of: self)) }
    }

    func start(spread: Double) {
        loop.execute {
            let now = SystemTime().uptime
            for agent in self.agents.value { agent.dial(after: .seconds(Double.random(in: 0...spread)), now: now) }
            // Each agent is looked at once a second; a hundredth of them at a time.
            let turn = NIOLoopBoundBox(0, eventLoop: self.loop)
            self.loop.scheduleRepeatedTask(initialDelay: .milliseconds(10), delay: .milliseconds(10)) { _ in
                let (now, all) = (SystemTime().uptime, self.agents.value)
                for index in stride(from: turn.value, to: all.count, by: 100) { all[index].tick(at: now) }
                turn.value = (turn.value + 1) % 100
            }
        }
    }
}
