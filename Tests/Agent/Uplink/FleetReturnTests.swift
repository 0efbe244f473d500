import AgentManagers
import AgentUplink
import Foundation
import Logging
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import SwiftProtobuf
import Synchronization
import Testing
import TestsSupportRandomness
import TestsSupportWaiting

/// After a restart of the manager every agent comes back, and none is left behind (SEC-20).
@Suite("The return of a fleet", .timeLimit(.minutes(3)))
struct FleetReturnTests {
    /// Simulated time, a whole fleet, the back-off that agents have: a manager that takes 800 sessions a second, for which 128
    /// wait in the listener and 512 in the kernel. Who finds no place there, or waits too long in it, tries again.
    @Test("25,000 agents are all back within a minute, whatever the dice say", arguments: [1, 2, 3, 4] as [UInt64])
    func everybody(seed: UInt64) {
        var random = SeededNumbers(state: seed)
        let (agents, places, perSecond, patience) = (25_000, 128 + 512, 800.0, 10_000)
        var backoffs = Array(
            repeating: Uplink.Configuration(managers: [], softwareVersion: "").backoff, count: agents)
        func wait(of agent: Int) -> Int { Int(backoffs[agent].next(using: &random).milliseconds) }
        // Who dials at which millisecond; who waits for the manager, and until when.
        var due: [Int: [Int]] = [:]
        for agent in 0..<agents { due[wait(of: agent), default: []].append(agent) }
        var queue: [(agent: Int, until: Int)] = []
        var (next, back, now, credit) = (0, 0, 0, 0.0)
        while back < agents, now < 300_000 {
            for agent in due.removeValue(forKey: now) ?? [] {
                if queue.count - next < places {
                    queue.append((agent, now + patience))
                } else {
                    due[now + patience + wait(of: agent), default: []].append(agent)
                }
            }
            credit += perSecond / 1000
            while credit >= 1, next < queue.count {
                let (agent, until) = queue[next]
                next += 1
                if until > now {
                    back += 1
                    credit -= 1
                } else {
                    due[now + 1 + wait(of: agent), default: []].append(agent)
                }
            }
            credit = min(credit, 1)
            now += 1
        }
        #expect(back == agents, "\(agents - back) are stranded")
        #expect(now < 60_000, "the last is back after \(now) ms")
    }

    @Test("64 real sessions are back after the manager restarted, twice")
    func realSessions() async throws {
        let count = 64
        let now = SystemTime().timestamp
        let manager = ManagerDouble(authority: try SiteAuthority.create(site: .generate(at: now), at: now))
        let times = SessionTimes(heartbeatInterval: .seconds(5))
        let key = NodeKey()
        let request = try key.certificateRequest(name: "x")
        let open = Sessions()
        let port = try await manager.serve(times: times) { $0 }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<count {
                let issued = try manager.authority.signNode(
                    requestDER: request, node: .generate(at: now), at: now)
                let identity = try EnrolledIdentity(
                    keyPEM: key.pem, certificatePEM: issued.pem, authorityPEM: manager.authority.certificatePEM)
                let uplink = try Uplink(
                    configuration: .init(
                        managers: [ManagerAddress(host: "127.0.0.1", port: port)], softwareVersion: "0.1", times: times,
                        backoff: Backoff(first: .milliseconds(200), maximum: .seconds(2), jitter: 1)),
                    identity: identity, delegate: open,
                    logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
                group.addTask { await uplink.run() }
            }
            for round in 1...2 {
                try await manager.serve(port: port, times: times) { _ in
                    try await eventually("all \(count) are there, round \(round)") { open.count == count }
                }
                try await eventually("all have noticed, round \(round)") { open.count == 0 }
            }
            group.cancelAll()
        }
    }

    /// How many sessions stand.
    private final class Sessions: UplinkDelegate {
        private let state = Mutex(0)
        var count: Int { state.withLock { $0 } }

        func hello() async -> Roost_V1_Hello {
            .with {
                $0.bootID = Data(repeating: 1, count: 16)
                $0.processID = Data(repeating: 2, count: 16)
            }
        }
        func sessionStarted(_ welcome: Roost_V1_Welcome, send: UplinkSender) async { state.withLock { $0 += 1 } }
        func received(_ message: ProtocolWire.Message) async {}
        func heartbeat() async -> Roost_V1_Heartbeat { .init() }
        func sessionEnded(_ end: SessionEnd) async { state.withLock { $0 -= 1 } }
        func certificateRenewed(_ identity: EnrolledIdentity) async throws {}
    }
}
